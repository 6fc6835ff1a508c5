"""A model that cannot be trusted on this machine does not load; each reason has its own code."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from simulated import flip_bit
from tiny_model import BATCH, change_card, replace_graph, seal, tiny_card, tiny_graph, write_tiny_model

from ultraread.errors import ModelRefused
from ultraread.models.classifier import MAX_MODEL_BYTES, OnnxClassifier
from ultraread.models.registry import find_model


def _graph_with(change: Callable[[onnx.ModelProto], object]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        model = tiny_graph()
        change(model)
        replace_graph(folder, model)

    return spoil


def _set_input(shape: list[int | str], kind: int = TensorProto.FLOAT) -> Callable[[Path], object]:
    """A model of one Identity-like path whose input is of another rank, size or type."""

    def spoil(folder: Path) -> None:
        outputs = [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2]),
            helper.make_tensor_value_info("patch_map", TensorProto.FLOAT, ["N", 2, 4, 4]),
        ]
        constants = [
            numpy_helper.from_array(np.zeros(shape_of, np.float32), name)
            for name, shape_of in (("p", (BATCH, 2)), ("m", (BATCH, 2, 4, 4)))
        ]
        nodes = [
            helper.make_node("Identity", ["p"], ["probabilities"]),
            helper.make_node("Identity", ["m"], ["patch_map"]),
        ]
        given = helper.make_tensor_value_info("image", kind, shape)
        graph = helper.make_graph(nodes, "other", [given], outputs, constants)
        opset = [helper.make_opsetid("", 17)]
        replace_graph(folder, helper.make_model(graph, opset_imports=opset, ir_version=9))

    return spoil


def _more_classes(folder: Path) -> None:
    stated = tiny_card()
    one = {"code": "T-MORE", "name": "more", "label": "More"}
    limit = {"code": "T-MORE", "present": 0.4, "not_seen": 0.2, "operating_point": "none"}
    change_card(folder, classes=[*stated["classes"], one], thresholds=[*stated["thresholds"], limit])


def _other_patches(folder: Path) -> None:
    change_card(
        folder,
        outputs={"probabilities": "probabilities", "patch_map": {"output": "patch_map", "stride_px": 32}},
    )


def _no_such_output(folder: Path) -> None:
    change_card(folder, outputs={"probabilities": "scores", "patch_map": None})


def _custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[2].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _custom_operator_in_a_branch(model: onnx.ModelProto) -> None:
    inner = helper.make_node("Gelu", ["logits"], ["inner"], domain="com.microsoft")
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    branch = helper.make_graph([inner], "branch", [], [value])
    always = helper.make_node("If", ["always"], ["unused"], then_branch=branch, else_branch=branch)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    model.graph.node.append(always)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _custom_operator_in_a_function(model: onnx.ModelProto) -> None:
    inner = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    opsets = [helper.make_opsetid("com.microsoft", 1)]
    model.functions.append(helper.make_function("", "Harmless", ["x"], ["y"], [inner], opsets))


def _external(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value="weights.bin"))


def _external_constant(model: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(2, np.float32), "c")
    _external(value)
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=value))


def _nan_weights(model: onnx.ModelProto) -> None:
    weights = model.graph.initializer[0]
    weights.CopyFrom(numpy_helper.from_array(np.full((2, 1, 1, 1), np.nan, np.float32), weights.name))


def _unbounded(model: onnx.ModelProto) -> None:
    """Logits in the place of probabilities."""
    model.graph.node[2].op_type = "Identity"


def _not_runnable(model: onnx.ModelProto) -> None:
    """Loads, and fails when it runs: a weight too few for its operator."""
    del model.graph.node[0].attribute[:]


def _golden(**changes: Any) -> Callable[[Path], object]:  # noqa: ANN401
    """Change arrays of the golden pair (None leaves one out), with a card that names the file."""

    def spoil(folder: Path) -> None:
        with np.load(folder / "golden.npz") as arrays:
            pair = {name: arrays[name] for name in arrays.files} | changes
        np.savez(folder / "golden.npz", **{k: v for k, v in pair.items() if v is not None})
        seal(folder)

    return spoil


def _written(name: str, content: bytes, sealed: bool = True) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(content)
        if sealed:
            seal(folder)

    return spoil


def _grown(folder: Path) -> None:
    with (folder / "model.onnx").open("r+b") as stream:
        stream.truncate(MAX_MODEL_BYTES + 1)


OFF = np.full((BATCH, 2), 0.5, np.float32)
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no card": (lambda folder: (folder / "card.json").unlink(), "model_card_invalid"),
    "half a card": (_written("card.json", b'{"name": ', sealed=False), "model_card_invalid"),
    "no weights": (lambda folder: (folder / "model.onnx").unlink(), "model_unknown"),
    "one flipped bit": (lambda folder: flip_bit(folder / "model.onnx", 300), "model_hash_mismatch"),
    "another digest on the card": (lambda f: change_card(f, sha256="0" * 64), "model_hash_mismatch"),
    "a zip": (_written("model.onnx", b"PK\3\4 torchscript"), "model_format_forbidden"),
    "text": (_written("model.onnx", b"not a model at all"), "model_invalid"),
    "no bytes": (_written("model.onnx", b""), "model_invalid"),
    "more than a gibibyte": (_grown, "model_too_large"),
    "weights elsewhere": (
        _graph_with(lambda model: _external(model.graph.initializer[0])),
        "model_external_data",
    ),
    "a constant elsewhere": (_graph_with(_external_constant), "model_external_data"),
    "a custom operator": (_graph_with(_custom_operator), "model_op_not_allowed"),
    "a custom operator in a branch": (_graph_with(_custom_operator_in_a_branch), "model_op_not_allowed"),
    "a custom operator in a function": (_graph_with(_custom_operator_in_a_function), "model_op_not_allowed"),
    "an input of another name": (lambda f: replace_graph(f, tiny_graph(image="x")), "model_io_mismatch"),
    "an input of another rank": (_set_input(["N", 64, 64]), "model_io_mismatch"),
    "an input of another size": (_set_input(["N", 1, 32, 64]), "model_io_mismatch"),
    "an input of another batch": (_set_input([BATCH + 1, 1, 64, 64]), "model_io_mismatch"),
    "an input of another type": (_set_input(["N", 1, 64, 64], TensorProto.DOUBLE), "model_io_mismatch"),
    "a class more on the card": (_more_classes, "model_io_mismatch"),
    "patches of another size": (_other_patches, "model_io_mismatch"),
    "an output that is not there": (_no_such_output, "model_io_mismatch"),
    "an operator that does not fit": (_graph_with(_not_runnable), "model_invalid"),
    "NaN": (_graph_with(_nan_weights), "model_output_invalid"),
    "values above one": (_graph_with(_unbounded), "model_output_invalid"),
    "a golden pair that is off": (_golden(probabilities=OFF), "model_golden_mismatch"),
    "a golden pair of NaN": (_golden(probabilities=OFF * np.nan), "model_golden_mismatch"),
    "a golden pair without its map": (_golden(patch_map=None), "model_golden_mismatch"),
    "a golden pair larger than a batch": (
        _golden(input=np.zeros((BATCH + 1, 1, 64, 64), np.float32)),
        "model_golden_mismatch",
    ),
    "a golden pair that is a pickle": (
        _written("golden.npz", pickle.dumps({"input": 1})),
        "model_golden_mismatch",
    ),
    "no golden pair": (lambda folder: (folder / "golden.npz").unlink(), "model_hash_mismatch"),
    "another golden pair": (lambda folder: flip_bit(folder / "golden.npz", 99), "model_hash_mismatch"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused(what: str, tmp_path: Path) -> None:
    spoil, code = REFUSED[what]
    folder = write_tiny_model(tmp_path / "tiny")
    spoil(folder)
    with pytest.raises(ModelRefused) as refused:
        OnnxClassifier(find_model(str(folder)), threads=1)
    assert refused.value.code == code, refused.value.what
    assert refused.value.exit_status == 5
    assert refused.value.remedy


class _LeavesAMark:
    """What an attacker's pickle does: run code when it is opened."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (self._mark,)  # type: ignore[return-value]


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_is_never_opened(protocol: int, tmp_path: Path) -> None:
    folder, mark = write_tiny_model(tmp_path / "tiny"), tmp_path / "mark"
    stored = pickle.dumps(_LeavesAMark(mark), protocol)
    (folder / "model.onnx").write_bytes(stored)
    (folder / "golden.npz").write_bytes(stored)
    seal(folder)
    with pytest.raises(ModelRefused) as refused:
        OnnxClassifier(find_model(str(folder)), threads=1)
    assert refused.value.code in ("model_format_forbidden", "model_invalid")
    assert not mark.exists()
    pickle.loads(stored)  # noqa: S301  # to prove that it would have left its mark
    assert mark.exists()


def test_a_model_that_turns_to_nan_on_some_tiles_is_stopped_there(tmp_path: Path) -> None:
    classify = OnnxClassifier(find_model(str(write_tiny_model(tmp_path / "tiny"))), threads=1)
    with pytest.raises(ModelRefused) as refused:
        classify(np.full((1, 1, 64, 64), np.nan, np.float32))
    assert refused.value.code == "model_output_invalid"
