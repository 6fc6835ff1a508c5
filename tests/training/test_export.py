"""What is exported answers as torch does, for any batch, and holds nothing that is not served."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from made_run import Ran

from ultraread.errors import ModelExternalData, ModelOperatorNotAllowed, ModelParityFailed
from ultraread.training.config import TrainingConfig, changed
from ultraread.training.export import PARITY_TOLERANCE, check_parity, check_servable, export_onnx
from ultraread.training.network import PatchNetwork, make_network
from ultraread.training.onnx_session import OUTPUTS, open_onnx, run_onnx
from ultraread.training.release import MODEL_FILE, trained_network


@pytest.fixture(scope="module")
def network(ran: Ran) -> PatchNetwork:
    """As trained; the shared folder's model is calibrated, this one is not."""
    return trained_network(ran.recipe, ran.runs)


@pytest.fixture(scope="module")
def exported(network: PatchNetwork, tiny: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(network, tiny, file)
    return file


def noise(count: int) -> torch.Tensor:
    return torch.randn((count, 1, 128, 128), generator=torch.Generator().manual_seed(1)).clamp(-4, 4)


def test_onnx_answers_as_torch_does(network: PatchNetwork, exported: Path) -> None:
    assert 0 <= check_parity(network, exported, noise(6), batch_size=4) <= PARITY_TOLERANCE


@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_takes_any_batch_and_a_probability_is_the_mean_of_its_patches(ran: Ran, batch: int) -> None:
    found = run_onnx(open_onnx(ran.folder / MODEL_FILE), noise(batch).numpy())
    probabilities, patch_map, out_of_domain = found
    assert patch_map.shape == (batch, 3, 4, 4)
    assert out_of_domain.shape == (batch,)
    np.testing.assert_allclose(probabilities, patch_map.mean(axis=(2, 3)), atol=1e-6)
    assert ((patch_map >= 0) & (patch_map <= 1)).all()


def test_another_network_is_not_what_was_exported(exported: Path, tiny: TrainingConfig) -> None:
    other = make_network(changed(tiny, optimisation=changed(tiny.optimisation, seed=1)))
    with pytest.raises(ModelParityFailed, match=r"model\.onnx differs from torch by"):
        check_parity(other, exported, noise(1), batch_size=4)


def test_answers_that_are_no_numbers_are_no_parity(network: PatchNetwork, exported: Path) -> None:
    with pytest.raises(ModelParityFailed, match="nan"):
        check_parity(network, exported, torch.full((1, 1, 128, 128), float("nan")), batch_size=4)


def test_the_file_has_the_names_that_the_card_states(exported: Path) -> None:
    graph = onnx.load(str(exported)).graph
    assert [one.name for one in graph.input] == ["image"]
    assert tuple(one.name for one in graph.output) == OUTPUTS


def test_operators_of_another_domain_are_refused(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(str(exported))
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(ModelOperatorNotAllowed):
        check_servable(tmp_path / "model.onnx")


def test_weights_in_another_file_are_refused(exported: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "model.onnx")
    onnx.save(onnx.load(str(exported)), file, save_as_external_data=True, size_threshold=0)
    with pytest.raises(ModelExternalData):
        check_servable(tmp_path / "model.onnx")
