"""An int8 model runs where the service runs it, and is refused where it ranks otherwise than its twin."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from made_run import Ran
from made_tissue import write_recipe

from ultraread.datasets.digest import sha256_of_file
from ultraread.errors import ModelParityFailed
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.golden import GOLDEN_TOLERANCE
from ultraread.models.registry import ModelFolder, find_model
from ultraread.training import quantise as quantising
from ultraread.training.quantise import (
    AUC_TOLERANCE,
    TileBatches,
    check_auc,
    digest_of_tiles,
    kept_in_float,
    quantise,
)
from ultraread.training.release import INT8_TOLERANCE, MODEL_FILE, TWIN_FILE, export_recipe


@pytest.fixture(scope="module")
def int8_recipe(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("int8") / "int8.toml", manifest, int8="true")


@pytest.fixture(scope="module")
def int8(int8_recipe: Path, ran: Ran) -> ModelFolder:
    """The shared weights as an int8 model folder; four steps rank too loosely for the gate."""
    out = int8_recipe.parent / "1.0.0"
    with pytest.MonkeyPatch.context() as gate:
        gate.setattr(quantising, "AUC_TOLERANCE", 1.0)
        export_recipe(int8_recipe, out, ran.as_if_of(int8_recipe), ran.runs, lambda said: None)
    return find_model(str(out))


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 1, 128, 128)).clip(-4, 4).astype(np.float32)


def test_the_int8_model_is_served_and_answers_nearly_as_its_twin(int8: ModelFolder) -> None:
    served = OnnxClassifier(int8, threads=1)
    assert served.golden_difference <= INT8_TOLERANCE
    twin = quantising.onnx.load(str(int8.path / TWIN_FILE))
    assert twin.graph.output[0].name == "probabilities"
    from ultraread.training.onnx_session import open_onnx, run_onnx

    tiles = noise(4)
    expected = run_onnx(open_onnx(int8.path / TWIN_FILE), tiles)
    found = served(tiles)
    difference = np.abs(found.probabilities - expected[0]).max()
    assert 0 < difference < 0.15


def test_its_weights_are_bytes_and_its_last_layers_are_not(int8: ModelFolder) -> None:
    graph = onnx.load(str(int8.onnx)).graph
    kinds = [tensor.data_type for tensor in graph.initializer if tensor.name.endswith("_quantized")]
    assert onnx.TensorProto.INT8 in kinds
    sigmoid = next(node for node in graph.node if node.output[0] == "patch_map")
    feeds = {name: node.op_type for node in graph.node for name in node.output}
    assert feeds[sigmoid.input[0]] == "Add"
    assert int8.onnx.stat().st_size < (int8.path / TWIN_FILE).stat().st_size * 1.5


def test_each_variant_has_a_golden_pair_with_a_tolerance_of_its_own(int8: ModelFolder) -> None:
    card = int8.card
    assert card.precision == "int8"
    assert card.golden_pair.golden_tolerance == INT8_TOLERANCE
    assert card.fp32_twin is not None
    assert card.fp32_twin.golden_pair.golden_tolerance == GOLDEN_TOLERANCE
    named = {card.golden_pair, card.fp32_twin.golden_pair}
    assert {pair.sha256 for pair in named} == {sha256_of_file(int8.path / pair.file) for pair in named}
    assert card.fp32_twin.sha256 == sha256_of_file(int8.path / TWIN_FILE)
    with np.load(int8.path / "golden.npz") as one, np.load(int8.path / "golden-fp32.npz") as other:
        assert np.array_equal(one["input"], other["input"])
        assert not np.array_equal(one["patch_map"], other["patch_map"])


def test_the_card_says_what_int8_costs_and_on_which_tiles_it_was_made(int8: ModelFolder) -> None:
    said = int8.card.quantisation
    assert said is not None
    assert set(said.auc_difference) == {"UR-MITO", "UR-SYN", "UR-MEM"}
    assert said.calibration_tiles == 4
    assert said.calibration_set == "one"
    assert "6 fields" in said.measured_on


def test_an_int8_model_that_fails_its_gate_leaves_no_folder(
    int8_recipe: Path, ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is within a tolerance below 0."""
    monkeypatch.setattr(quantising, "AUC_TOLERANCE", -1.0)
    results = ran.as_if_of(int8_recipe)
    with pytest.raises(ModelParityFailed, match="int8 differs from fp32"):
        export_recipe(int8_recipe, tmp_path / "zoo" / "1.0.0", results, ran.runs, lambda said: None)
    assert list((tmp_path / "zoo").iterdir()) == []


@pytest.mark.parametrize("off", [0.004, -0.004, float("nan")])
def test_a_ranking_that_is_off_is_refused_by_class(off: float) -> None:
    with pytest.raises(ModelParityFailed, match=r"in AUC of UR-SYN; 0\.003 is allowed"):
        check_auc({"UR-SYN": off, "UR-MITO": 0.001})


def test_no_number_is_refused_wherever_it_stands() -> None:
    with pytest.raises(ModelParityFailed):
        check_auc({"UR-MITO": 0.001, "UR-SYN": float("nan")})


def test_a_ranking_within_the_tolerance_passes() -> None:
    assert AUC_TOLERANCE == 0.003
    check_auc({"UR-MITO": 0.0029, "UR-SYN": -0.003})


def test_quantising_leaves_no_file_but_its_own(ran: Ran, tmp_path: Path) -> None:
    quantise(ran.folder / MODEL_FILE, tmp_path / "int8.onnx", noise(2), batch_size=2)
    assert [file.name for file in tmp_path.iterdir()] == ["int8.onnx"]


def test_the_last_convolution_is_quantised_and_what_follows_it_is_not(ran: Ran) -> None:
    nodes = list(onnx.load(str(ran.folder / MODEL_FILE)).graph.node)
    kept = kept_in_float(ran.folder / MODEL_FILE)
    assert {"Sigmoid", "ReduceMean"} <= {node.op_type for node in nodes if node.name in kept}
    assert "Conv" not in {node.op_type for node in nodes if node.name in kept}


def test_calibration_tiles_come_in_batches_once() -> None:
    tiles = noise(5)
    batches = TileBatches(tiles, batch_size=2)
    given = []
    while batch := batches.get_next():
        given.append(batch["image"])
    assert [len(one) for one in given] == [2, 2, 1]
    assert np.array_equal(np.concatenate(given), tiles)
    assert digest_of_tiles(tiles) == digest_of_tiles(tiles.copy()) != digest_of_tiles(tiles[::-1])
