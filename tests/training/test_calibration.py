"""Scores become expected areas, keep their order, and are judged by scales that did not see them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ultraread.models.card import ClassCalibration, ClassOfModel
from ultraread.training.calibration import (
    Scale,
    brier,
    calibration_error,
    class_calibration,
    cross_fitted,
    fit_scale,
    rescaled,
    set_scales,
)
from ultraread.training.class_maps import ClassMaps
from ultraread.training.config import TrainingConfig
from ultraread.training.metrics import Scored, Values
from ultraread.training.network import make_network

MITO = ClassOfModel(code="UR-MITO", name="mitochondria", label="Mitochondria")


def sigmoid(logits: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-logits)))


def drawn(seed: int, temperature: float = 1.0, bias: float = 0.0, side: int = 60) -> tuple[Values, Values]:
    """Scores (side, side), and what is true where they are too sure by `temperature` and off by `bias`."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(0, 2, (side, side))
    true = chance.random((side, side)) < sigmoid(logits / temperature + bias)
    return sigmoid(logits), true.astype(np.float64)


def maps_of(*groups: tuple[Values, Values]) -> ClassMaps:
    """Each group one field."""
    return ClassMaps(
        MITO, tuple((scores,) for scores, _ in groups), tuple((true,) for _, true in groups), "fields"
    )


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (2.0, 0.0), (0.5, 1.0), (3.0, -1.5)])
def test_a_known_temperature_and_bias_are_found_again(temperature: float, bias: float) -> None:
    scale = fit_scale(maps_of(drawn(1, temperature, bias, side=200)).scored())
    assert scale.temperature == pytest.approx(temperature, rel=0.05)
    assert scale.bias == pytest.approx(bias, abs=0.05)


def test_area_fractions_are_fitted_as_well_as_yes_and_no() -> None:
    scores, _ = drawn(2)
    scale = fit_scale(Scored([scores.ravel()], [Scale(2.5, -0.5)(scores).ravel()]))
    assert scale.temperature == pytest.approx(2.5, rel=1e-3)
    assert scale.bias == pytest.approx(-0.5, abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(
    scores=hnp.arrays(np.float64, 20, elements=st.floats(0, 1)),
    temperature=st.floats(0.2, 5),
    bias=st.floats(-3, 3),
)
def test_scores_keep_their_order_and_stay_between_0_and_1(
    scores: Values, temperature: float, bias: float
) -> None:
    scaled = Scale(temperature, bias)(np.sort(scores))
    assert (np.diff(scaled) >= 0).all()
    assert ((scaled >= 0) & (scaled <= 1)).all()


def test_even_scores_that_rank_the_wrong_way_round_keep_their_order() -> None:
    scores, true = drawn(3)
    scale = fit_scale(Scored([scores.ravel()], [1 - true.ravel()]))
    assert scale.temperature > 1e2, "flattened, and not turned round"


def test_no_group_is_scaled_by_what_it_says_itself() -> None:
    """Whatever is true of a group, its own scores come out alike; those of the others do not."""
    groups = [drawn(seed, temperature=2) for seed in range(3)]
    turned = [(groups[0][0], 1 - groups[0][1]), *groups[1:]]
    one, other = cross_fitted(maps_of(*groups)), cross_fitted(maps_of(*turned))
    np.testing.assert_array_equal(one.predicted[0], other.predicted[0])
    assert np.abs(one.predicted[1][0] - other.predicted[1][0]).max() > 0.01
    np.testing.assert_array_equal(one.true[1], maps_of(*groups).true[1])


def test_calibration_takes_the_error_away() -> None:
    maps = maps_of(*(drawn(seed, 2.5, -1) for seed in range(4)))
    said = class_calibration(maps, fit_scale(maps.scored()))
    assert said.code == "UR-MITO"
    assert said.ece_before > 0.1
    assert said.ece_after < 0.02
    assert said.brier_after < said.brier_before - 0.02
    scaled = rescaled(maps, Scale(said.temperature, said.bias)).scored()
    assert calibration_error(scaled) == pytest.approx(said.ece_after, abs=0.005)
    assert brier(scaled) == pytest.approx(said.brier_after, abs=0.001)


def test_the_network_gives_what_the_scale_says(tiny: TrainingConfig) -> None:
    network = make_network(tiny).eval()
    tiles = torch.randn((2, 1, 128, 128), generator=torch.Generator().manual_seed(0))
    scales = [Scale(2.0, 0.5), Scale(0.7, -1.0), Scale()]
    unused = {"ece_before": 0, "ece_after": 0, "brier_before": 0, "brier_after": 0}
    pairs = zip(tiny.codes, scales, strict=True)
    said = [
        ClassCalibration(code=code, temperature=one.temperature, bias=one.bias, **unused)
        for code, one in pairs
    ]
    with torch.inference_mode():
        before = network(tiles).patch_map.double().numpy()
    set_scales(network, said)
    with torch.inference_mode():
        after = network(tiles).patch_map.numpy()
    for number, scale in enumerate(scales):
        np.testing.assert_allclose(after[:, number], scale(before[:, number]), atol=1e-5)


def test_brier_is_the_mean_squared_difference() -> None:
    assert brier(Scored([np.array([0.5, 1.0])], [np.array([0.0, 1.0])])) == 0.125


def test_rescaled_maps_are_scaled_and_otherwise_the_same() -> None:
    maps = maps_of(drawn(0), drawn(1))
    scaled = rescaled(maps, Scale(2.0, 0.0))
    assert replace(scaled, predicted=maps.predicted) == maps
    np.testing.assert_allclose(scaled.predicted[1][0], sigmoid(np.log(drawn(1)[0] / (1 - drawn(1)[0])) / 2))
