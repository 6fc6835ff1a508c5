"""A network becomes a model folder that loads and claims nothing; what does not fit together is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import pytest
from networks import SIDE_PX, tensor, write_network
from onnx import helper

from ultraread.datasets.slide import Modality
from ultraread.errors import UltraReadError
from ultraread.models.card import FullRange
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.missing import COLOUR
from ultraread.models.own_model import BATCH_SIZE, Stated, make_model_folder
from ultraread.models.wrap import LOWEST_OPSET
from ultraread.models.wsinfer_config import WsinferConfig

STATED = Stated("mine", "0.1.0", (("MY-GOLGI", "golgi_stack"), ("MY-REST", "rest")), nm_per_px=4.6)
CONFIG = WsinferConfig.model_validate(
    {
        "spec_version": "1.0",
        "architecture": "none",
        "num_classes": 2,
        "class_names": ["Golgi stack", "Rest (other)"],
        "patch_size_pixels": 48,
        "spacing_um_px": 0.25,
        "transform": [
            {"name": "Resize", "arguments": {"size": SIDE_PX}},
            {"name": "ToTensor"},
            {"name": "Normalize", "arguments": {"mean": [0.7, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}},
        ],
    }
)
OF_CONFIG = Stated("mine", "0.1.0", config=CONFIG)


def test_the_folder_loads_and_its_card_claims_nothing(tmp_path: Path) -> None:
    made = make_model_folder(write_network(tmp_path / "net.onnx"), tmp_path / "to" / "mine", STATED)
    assert sorted(file.name for file in made.path.iterdir()) == ["card.json", "golden.npz", "model.onnx"]
    assert [file.name for file in made.path.parent.iterdir()] == ["mine"], "nothing is left beside it"
    scores = OnnxClassifier(made, threads=1)(np.zeros((3, 1, SIDE_PX, SIDE_PX), np.float32))
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1, atol=1e-6)
    card = made.card
    assert {(one.present, one.not_seen) for one in card.thresholds} == {(1.0, 0.0)}
    assert all(one.operating_point.startswith("None: ") for one in card.thresholds)
    assert (card.metrics, card.training_data, card.training_run, card.specimens) == ((), (), None, ())


def test_the_card_says_what_was_stated(tmp_path: Path) -> None:
    stated = replace(
        STATED,
        nm_per_px_range=(3.0, 6.0),
        specimens=("simulated",),
        modality=Modality.SEM,
        mean=(0.5,),
        std=(1,),
    )
    card = make_model_folder(write_network(tmp_path / "net.onnx"), tmp_path / "mine", stated).card
    assert (card.ref, card.modality, card.specimens) == ("mine/0.1.0", Modality.SEM, ("simulated",))
    assert card.nm_per_px.model_dump() == {"nominal": 4.6, "min": 3.0, "max": 6.0}
    assert [(one.code, one.name, one.label) for one in card.classes] == [
        ("MY-GOLGI", "golgi_stack", "Golgi stack"),
        ("MY-REST", "rest", "Rest"),
    ]
    assert (card.tile_px, card.batch_size, card.activation) == (SIDE_PX, BATCH_SIZE, "softmax")
    assert isinstance(card.normalisation, FullRange)
    assert card.bit_depths == (8, 16)


def test_without_a_range_only_the_nominal_scale_is_read_within_a_lens_tolerance(tmp_path: Path) -> None:
    scale = make_model_folder(write_network(tmp_path / "net.onnx"), tmp_path / "mine", STATED).card.nm_per_px
    assert (scale.min, scale.max) == pytest.approx((4.6 / 1.05, 4.6 * 1.05), rel=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_that_the_file_fixes_is_that_of_the_card(batch: int, tmp_path: Path) -> None:
    file = write_network(tmp_path / "net.onnx", shape=[batch, 3, SIDE_PX, SIDE_PX])
    made = make_model_folder(file, tmp_path / "mine", STATED)
    assert made.card.batch_size == batch
    assert OnnxClassifier(made, threads=1).golden_difference == 0


def test_a_wsinfer_configuration_is_taken_and_colour_is_held_against_the_model(tmp_path: Path) -> None:
    card = make_model_folder(write_network(tmp_path / "net.onnx"), tmp_path / "mine", OF_CONFIG).card
    assert (card.nm_per_px.nominal, card.tile_px) == (250.0, 48)
    assert [(one.code, one.name) for one in card.classes] == [
        ("OWN-GOLGI-STACK", "golgi_stack"),
        ("OWN-REST-OTHER", "rest_other"),
    ]
    assert COLOUR in card.limitations
    assert any("48 px are resized to 32 px" in limit for limit in card.limitations)
    assert any("3 channels" in limit for limit in card.limitations)


def test_options_win_over_the_configuration(tmp_path: Path) -> None:
    stated = replace(OF_CONFIG, classes=STATED.classes, nm_per_px=8.0, mean=(0.5,), std=(0.5,))
    card = make_model_folder(write_network(tmp_path / "net.onnx"), tmp_path / "mine", stated).card
    assert card.nm_per_px.nominal == 8.0
    assert card.classes[0].code == "MY-GOLGI"


def test_a_single_class_is_a_sigmoid(tmp_path: Path) -> None:
    stated = replace(STATED, classes=STATED.classes[:1])
    file = write_network(tmp_path / "net.onnx", classes=1)
    assert make_model_folder(file, tmp_path / "mine", stated).card.activation == "sigmoid"


@pytest.mark.parametrize("operator", ["Softmax", "Sigmoid"])
def test_an_activation_in_the_file_is_not_applied_twice(operator: str, tmp_path: Path) -> None:
    file = write_network(tmp_path / "net.onnx", activation=operator)
    made = make_model_folder(file, tmp_path / "mine", STATED)
    assert made.card.activation == operator.lower()
    kinds = [node.op_type for node in onnx.load(made.onnx).graph.node]
    assert kinds.count("Softmax") + kinds.count("Sigmoid") == 1


def test_an_open_size_is_stated(tmp_path: Path) -> None:
    file = write_network(tmp_path / "net.onnx", shape=["N", 3, "h", "w"])
    assert make_model_folder(file, tmp_path / "mine", replace(STATED, tile_px=40)).card.tile_px == 40


def _softmax_in_parts(file: Path) -> None:
    """Probabilities by operators that do not say so."""
    write_network(file)
    model = onnx.load(file)
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.extend(
        [
            helper.make_node("Exp", ["raw"], ["powers"]),
            helper.make_node("ReduceSum", ["powers", "axis"], ["sum"], keepdims=1),
            helper.make_node("Div", ["powers", "sum"], ["probabilities"]),
        ]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axis"))
    onnx.save(model, file)


def _mixed(file: Path) -> None:
    """What it says of a tile depends on the others of its batch."""
    write_network(file)
    model = onnx.load(file)
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.append(helper.make_node("ReduceMean", ["raw"], ["all"], keepdims=1))
    model.graph.node.append(helper.make_node("Mul", ["raw", "all"], ["probabilities"]))
    onnx.save(model, file)


def _open_output(file: Path) -> None:
    """An output of five classes whose shape the file does not state."""
    write_network(file, classes=5)
    model = onnx.load(file)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, file)


def _one_number(file: Path) -> None:
    nodes = [helper.make_node("ReduceMax", ["x"], ["y"], keepdims=0)]
    networks.save(file, nodes, [tensor("x", ["N", 3, 32, 32])], [tensor("y", None)], [], opset=LOWEST_OPSET)


def _network(**changes: Any) -> Any:  # noqa: ANN401  # what writes it
    return lambda file: write_network(file, **changes)


NO_SIZE = _network(shape=["N", 3, "h", "w"])
REFUSED: dict[str, tuple[Any, Stated, str, str]] = {
    "no class names": (_network(), replace(STATED, classes=()), "request_invalid", "--class CODE=name"),
    "a name too few": (_network(classes=3), STATED, "model_io_mismatch", "3 classes; 2 are named"),
    "a name too few, found by running": (_open_output, STATED, "model_invalid", "cannot be wrapped"),
    "one number for all tiles": (_one_number, STATED, "model_invalid", "cannot be wrapped"),
    "tiles that are mixed in their batch": (_mixed, STATED, "model_golden_mismatch", "off its golden pair"),
    "a name of no column": (
        _network(), replace(STATED, classes=(("MY-A", "A"), ("MY-B", "b"))), "request_invalid", "MY-A=A",
    ),
    "one code twice": (
        _network(), replace(STATED, classes=(("MY-A", "a"), ("MY-A", "b"))), "model_card_invalid", "own",
    ),
    "no size": (NO_SIZE, STATED, "request_invalid", "--tile"),
    "another size": (_network(), replace(STATED, tile_px=64), "model_io_mismatch", "takes 32 px, not 64 px"),
    "a size that is not the configuration's": (
        NO_SIZE, replace(OF_CONFIG, tile_px=64), "model_io_mismatch", "not 64 px",
    ),
    "a configuration of another network": (
        _network(shape=["N", 3, 64, 64]), OF_CONFIG, "model_io_mismatch", "takes 64 px, not 32 px",
    ),
    "no pixel size": (_network(), replace(STATED, nm_per_px=None), "request_invalid", "--nm-per-px"),
    "a scale outside its range": (
        _network(), replace(STATED, nm_per_px_range=(5.0, 6.0)), "request_invalid", "4.6 nm/px",
    ),
    "a pixel size below zero": (_network(), replace(STATED, nm_per_px=-1.0), "request_invalid", "-1 nm/px"),
    "a mean without a deviation": (_network(), replace(STATED, mean=(0.5,)), "request_invalid", "3 channels"),
    "two means": (
        _network(), replace(STATED, mean=(0.5, 0.5), std=(1.0, 1.0)), "request_invalid", "3 channels",
    ),
    "a deviation of zero": (
        _network(), replace(STATED, mean=(0.5,), std=(0.0,)), "request_invalid", "above 0",
    ),
    "another activation than its own": (
        _network(activation="Softmax"), replace(STATED, activation="sigmoid"), "request_invalid", "softmax",
    ),
    "logits called probabilities": (
        _network(), replace(STATED, activation="none", mean=(0.0,), std=(0.001,)), "model_io_mismatch",
        "--activation softmax",
    ),
    "probabilities called logits": (
        _softmax_in_parts, STATED, "model_io_mismatch", "--activation none",
    ),
    "a name of a folder": (_network(), replace(STATED, name="../mine"), "request_invalid", "name"),
    "a version of one number": (_network(), replace(STATED, version="1"), "request_invalid", "version"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_together_is_refused_and_leaves_nothing(what: str, tmp_path: Path) -> None:
    write, stated, code, told = REFUSED[what]
    write(tmp_path / "net.onnx")
    with pytest.raises(UltraReadError) as refused:
        make_model_folder(tmp_path / "net.onnx", tmp_path / "mine", stated)
    assert refused.value.code == code, refused.value.what
    assert told in f"{refused.value.what} {refused.value.remedy}"
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


def test_a_folder_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UltraReadError) as refused:
        make_model_folder(write_network(tmp_path / "net.onnx"), tmp_path / "mine", STATED)
    assert refused.value.code == "output_exists"


def test_probabilities_in_parts_are_taken_as_they_are(tmp_path: Path) -> None:
    _softmax_in_parts(tmp_path / "net.onnx")
    made = make_model_folder(tmp_path / "net.onnx", tmp_path / "mine", replace(STATED, activation="none"))
    assert json.loads((made.path / "card.json").read_text())["activation"] == "none"
