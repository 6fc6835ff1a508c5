"""The out-of-domain score is low on what was learned, high on what was not, and travels with the model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from ultraread.training.config import TrainingConfig
from ultraread.training.export import export_onnx
from ultraread.training.fields import Field
from ultraread.training.model_view import ModelView, view_of_recipe
from ultraread.training.network import PatchNetwork, make_network
from ultraread.training.onnx_session import of_session
from ultraread.training.predict import field_tiles
from ultraread.training.strangeness import false_alarm_threshold, fit_strangeness


@pytest.fixture(scope="module")
def view(tiny: TrainingConfig) -> ModelView:
    return view_of_recipe(tiny)


@pytest.fixture(scope="module")
def network(tiny: TrainingConfig, fields: list[Field], view: ModelView) -> PatchNetwork:
    """Fitted on four of the sections."""
    made = make_network(tiny).eval()
    fit_strangeness(made, fields[:4], view, components=8)
    return made


def strangeness(network: PatchNetwork, tiles: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(tiles).out_of_domain


def tiles_of(fields: list[Field], view: ModelView) -> Tensor:
    return torch.cat([field_tiles(field.grey, view)[0] for field in fields])


def noise_tiles(count: int) -> Tensor:
    return torch.randn((count, 1, 128, 128), generator=torch.Generator().manual_seed(0)).clamp(-4, 4)


def test_tiles_that_it_was_fitted_on_score_1_on_average_any_way_up(
    network: PatchNetwork, fields: list[Field], view: ModelView
) -> None:
    tiles = tiles_of(fields[:4], view)
    turned = torch.cat([tiles, tiles.flip(2), tiles.flip(3), tiles.mT])
    assert float(strangeness(network, turned).mean()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_no_more_of_the_fitted_tiles_are_flagged_than_said(
    network: PatchNetwork, fields: list[Field], view: ModelView, rate: float
) -> None:
    found = strangeness(network, tiles_of(fields[:4], view)).numpy()
    flagged = (found > false_alarm_threshold(found, rate)).mean()
    assert rate - 1 / len(found) <= flagged <= rate


@settings(deadline=None)
@given(scores=hnp.arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([0.5, 1.0, 2.0])))
def test_equal_scores_raise_no_more_false_alarms(scores: np.ndarray) -> None:
    assert (scores > false_alarm_threshold(scores, 0.05)).mean() <= 0.05


def test_noise_is_stranger_than_a_section_that_it_was_not_fitted_on(
    tiny: TrainingConfig, fields: list[Field], view: ModelView
) -> None:
    seeing = make_network(tiny).eval()
    fit_strangeness(seeing, fields[:4], view, components=16)
    section = strangeness(seeing, tiles_of(fields[4:], view))
    noise = strangeness(seeing, noise_tiles(8))
    assert float(noise.min()) > float(section.max())


def test_fewer_tiles_bear_fewer_components(
    tiny: TrainingConfig, fields: list[Field], view: ModelView
) -> None:
    few = make_network(tiny).eval()
    fit_strangeness(few, fields[:1], view, components=100)
    assert few.strangeness.whitening.shape[1] == 16, "a quarter of sixteen tiles in four turns"


def test_the_exported_model_gives_what_torch_gives(
    network: PatchNetwork, tiny: TrainingConfig, tmp_path: Path
) -> None:
    export_onnx(network, tiny, tmp_path / "model.onnx")
    tiles = noise_tiles(3)
    exported = of_session(tmp_path / "model.onnx")(tiles).out_of_domain
    torch.testing.assert_close(exported, strangeness(network, tiles), rtol=1e-4, atol=1e-4)
    assert float(exported.min()) > 1
