from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ultraread.datasets.digest import sha256_of_file
from ultraread.errors import ModelInvalid, ModelOperatorNotAllowed
from ultraread.models.card import load_card
from ultraread.training.config import TrainingConfig
from ultraread.training.export import check_parity, check_servable
from ultraread.training.golden import open_onnx, run_onnx, simulated_tiles
from ultraread.training.network import make_network
from ultraread.training.release import train_recipe


@pytest.fixture(scope="module")
def folder(tiny: TrainingConfig, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of two steps of training."""
    base = tmp_path_factory.mktemp("release")
    train_recipe(tiny_recipe, base / "1.0.0", base / "no-results", base / "runs", lambda steps, loss: None)
    return base / "1.0.0"


def test_the_folder_holds_a_model_a_golden_pair_and_a_card_that_names_their_bytes(folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == ["card.json", "golden.npz", "model.onnx"]
    card = load_card(folder)
    assert card.sha256 == sha256_of_file(folder / "model.onnx")
    assert card.golden_pair.sha256 == sha256_of_file(folder / "golden.npz")


def test_without_cross_validation_no_class_is_ever_called_present_or_not_seen(folder: Path) -> None:
    card = load_card(folder)
    assert card.metrics == ()
    assert {(one.present, one.not_seen) for one in card.thresholds} == {(1.0, 0.0)}


@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_takes_any_batch_and_a_probability_is_the_mean_of_its_patches(folder: Path, batch: int) -> None:
    tiles = simulated_tiles(batch, 128, clip=4, seed=1)
    probabilities, patch_map = run_onnx(open_onnx(folder / "model.onnx"), tiles)
    assert patch_map.shape == (batch, 3, 8, 8)
    np.testing.assert_allclose(probabilities, patch_map.mean(axis=(2, 3)), atol=1e-6)
    assert ((patch_map >= 0) & (patch_map <= 1)).all()


def test_the_golden_pair_is_what_the_model_answers(folder: Path) -> None:
    with np.load(folder / "golden.npz") as golden:
        pair = dict(golden)
    assert {one.dtype for one in pair.values()} == {np.dtype(np.float32)}
    answered = run_onnx(open_onnx(folder / "model.onnx"), pair["input"])
    assert all(
        np.array_equal(one, pair[name])
        for one, name in zip(answered, ("probabilities", "patch_map"), strict=True)
    )


def test_an_export_that_differs_from_the_network_is_refused(folder: Path, tiny: TrainingConfig) -> None:
    untrained = make_network(tiny)
    with pytest.raises(ModelInvalid, match="differs from torch"):
        check_parity(
            untrained, folder / "model.onnx", torch.from_numpy(simulated_tiles(1, 128, 4, seed=1)), 8
        )


def test_operators_of_another_domain_are_refused(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(ModelOperatorNotAllowed):
        check_servable(tmp_path / "model.onnx")


def test_simulated_tiles_are_the_same_every_time() -> None:
    tiles = simulated_tiles(2, 64, clip=4, seed=3)
    assert np.array_equal(tiles, simulated_tiles(2, 64, clip=4, seed=3))
    assert np.abs(tiles).max() <= 4
