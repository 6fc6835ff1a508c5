"""A network that somebody brings computes inside its folder what it computed outside; or it is refused."""

import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import onnxruntime
import pytest
from networks import SIDE_PX, tensor, write_network
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ultraread.errors import ModelRefused
from ultraread.models.wrap import BELOW_ONE, LOWEST_OPSET, Wrapping, examine, wrap

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Array = NDArray[np.float32]


def _run(file: Path, tiles: Array) -> Array:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {session.get_inputs()[0].name: tiles})
    return np.asarray(given)


def _wrapped(file: Path, tiles: Array, **changes: Any) -> Array:  # noqa: ANN401
    network = examine(file)
    chosen: dict[str, Any] = {
        "tile_px": tiles.shape[-1],
        "network_px": tiles.shape[-1],
        "classes": network.classes,
        "mean": MEAN[: network.channels],
        "std": STD[: network.channels],
        "activation": "softmax",
        **changes,
    }
    made = file.with_suffix(".wrapped.onnx")
    onnx.save(wrap(network, Wrapping(**chosen)), made)
    return _run(made, tiles)


def _grey(count: int = 3, side: int = SIDE_PX) -> Array:
    return np.random.default_rng(0).uniform(0, 1, (count, 1, side, side)).astype(np.float32)


def _normalised(grey: Array, channels: int = 3) -> Array:
    mean, std = (np.array(one[:channels], np.float32).reshape(1, -1, 1, 1) for one in (MEAN, STD))
    return np.asarray((grey.repeat(channels, axis=1) - mean) / std, np.float32)


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_repeated_and_normalised_and_logits_become_probabilities(
    channels: int, tmp_path: Path
) -> None:
    file, grey = write_network(tmp_path / "net.onnx", channels=channels), _grey()
    expected = _softmax(_run(file, _normalised(grey, channels)))
    np.testing.assert_allclose(_wrapped(file, grey), expected, rtol=0, atol=1e-6)


def test_a_sigmoid_and_no_activation_are_what_they_say(tmp_path: Path) -> None:
    file, grey = write_network(tmp_path / "net.onnx"), _grey()
    logits = _run(file, _normalised(grey))
    sigmoid = _wrapped(file, grey, activation="sigmoid")
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-logits)), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(_wrapped(file, grey, activation="none"), logits)


def test_without_statistics_grey_reaches_the_network_as_it_is(tmp_path: Path) -> None:
    file, grey = write_network(tmp_path / "net.onnx"), _grey()
    expected = _softmax(_run(file, grey.repeat(3, axis=1)))
    np.testing.assert_allclose(_wrapped(file, grey, mean=(), std=()), expected, rtol=0, atol=1e-6)


def test_tiles_are_resized_as_pillow_resizes_them(tmp_path: Path) -> None:
    from PIL import Image

    file, grey = write_network(tmp_path / "net.onnx"), _grey(side=50)
    size, filter_ = (SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR
    small = np.stack([np.asarray(Image.fromarray(one[0]).resize(size, filter_))[None] for one in grey])
    expected = _softmax(_run(file, _normalised(small)))
    found = _wrapped(file, grey, network_px=SIDE_PX)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_network_that_is_sure_never_reaches_one(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    sure = onnx.numpy_helper.from_array(np.array([[99.0, -99.0]], np.float32), "sure")
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Mul", ["flat", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "sure"], ["y"]),
    ]
    zero = onnx.numpy_helper.from_array(np.float32(0), "zero")
    networks.save(file, nodes, [tensor("x", ["N", 1, 32, 32])], [tensor("y", ["N", 2])], [sure, zero])
    for probabilities in (_wrapped(file, _grey()), _wrapped(file, _grey(), activation="sigmoid")):
        assert probabilities.max() == np.float32(BELOW_ONE) < 1
        assert probabilities.min() >= 0


def test_a_fixed_batch_an_open_size_and_a_known_activation_are_noticed(tmp_path: Path) -> None:
    fixed = examine(write_network(tmp_path / "a.onnx", shape=[1, 3, 32, 32], activation="Softmax"))
    assert (fixed.batch, fixed.side_px, fixed.activation, fixed.classes) == (1, 32, "softmax", 2)
    open_ = examine(write_network(tmp_path / "b.onnx", shape=["N", 3, "h", "w"]))
    assert (open_.batch, open_.side_px, open_.activation, open_.channels) == (None, None, "none", 3)


@pytest.mark.parametrize("name", ["image", "probabilities", "wrapped/Concat", "x"])
def test_names_inside_the_network_do_not_matter(name: str, tmp_path: Path) -> None:
    file = write_network(tmp_path / "net.onnx", image=name, scores="scores")
    expected = _softmax(_run(file, _normalised(_grey())))
    np.testing.assert_allclose(_wrapped(file, _grey()), expected, rtol=0, atol=1e-6)


def test_the_graph_has_operators_of_onnx_only_and_its_weights_inside(tmp_path: Path) -> None:
    network = examine(write_network(tmp_path / "net.onnx"))
    made = wrap(network, Wrapping(48, 32, 2, MEAN, STD, "softmax"))
    assert {node.domain for node in made.graph.node} == {""}
    assert [one.name for one in made.graph.input] == ["image"]
    assert [one.name for one in made.graph.output] == ["probabilities"]
    assert not any(tensor.external_data for tensor in made.graph.initializer)


def test_an_export_of_timm_computes_what_it_did(tmp_path: Path) -> None:
    """lcnet_050 with random weights, as its own users export it."""
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("lcnet_050", pretrained=False, num_classes=3)
    with torch.no_grad():
        for _ in range(10):  # until its normalisation layers have seen something
            network(torch.randn(4, 3, 64, 64))
    torch.nn.init.normal_(network.eval().get_classifier().weight)
    file, grey = tmp_path / "net.onnx", _grey(2, side=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, 64, 64),),
            str(file),
            dynamo=False,
            input_names=["input"],
            output_names=["scores"],
            dynamic_axes={"input": {0: "n"}, "scores": {0: "n"}},
        )
    with torch.inference_mode():
        logits = network(torch.from_numpy(_normalised(grey)))
        expected = torch.softmax(logits, dim=1).numpy()
    assert np.ptp(expected, axis=1).min() > 0.01, "the answers differ enough to compare them"
    np.testing.assert_allclose(_wrapped(file, grey), expected, rtol=0, atol=1e-5)


def _pickled(file: Path) -> None:
    file.write_bytes(pickle.dumps({"state_dict": 1}))


def _torchscript(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"")


def _external(file: Path) -> None:
    model = onnx.load(write_network(file))
    onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)


def _foreign(file: Path) -> None:
    model = onnx.load(write_network(file))
    model.graph.node[2].domain = "com.microsoft"
    onnx.save(model, file)


def _two_inputs(file: Path) -> None:
    model = onnx.load(write_network(file))
    model.graph.input.append(tensor("age", ["N", 1]))
    onnx.save(model, file)


def _two_outputs(file: Path) -> None:
    model = onnx.load(write_network(file))
    model.graph.output.append(tensor("logits", ["N", 2]))
    onnx.save(model, file)


def _dense(file: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    networks.save(file, nodes, [tensor("x", ["N", 1, 32, 32])], [tensor("y", ["N", 1, 32, 32])], [])


def _half(file: Path) -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    half = TensorProto.FLOAT16
    networks.save(file, nodes, [tensor("x", ["N", 1, 32, 32], half)], [tensor("y", ["N", 1], half)], [])


def _shaped(*shape: int | str) -> Callable[[Path], object]:
    return lambda file: write_network(file, shape=list(shape))


REFUSED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "nothing": (lambda file: None, "model_unknown", "has no net.onnx"),
    "a pickle": (_pickled, "model_format_forbidden", "Export to ONNX"),
    "TorchScript": (_torchscript, "model_format_forbidden", "Export to ONNX"),
    "text": (lambda file: file.write_text("not a model at all"), "model_invalid", "no ONNX model"),
    "no bytes": (lambda file: file.write_bytes(b""), "model_io_mismatch", "0 inputs"),
    "weights elsewhere": (_external, "model_external_data", "inside the .onnx file"),
    "operators of others": (_foreign, "model_op_not_allowed", "com.microsoft"),
    "two inputs": (_two_inputs, "model_io_mismatch", "2 inputs"),
    "two outputs": (_two_outputs, "model_io_mismatch", "2 outputs"),
    "an output of four dimensions": (_dense, "model_io_mismatch", "(?, 1, 32, 32)"),
    "half precision": (_half, "model_io_mismatch", "float16"),
    "channels last": (_shaped("N", 32, 32, 3), "model_io_mismatch", "(?, 32, 32, 3)"),
    "two channels": (_shaped("N", 2, 32, 32), "model_io_mismatch", "1 or 3 channels"),
    "channels that are not stated": (_shaped("N", "c", 32, 32), "model_io_mismatch", "(?, ?, 32, 32)"),
    "no square": (_shaped("N", 3, 32, 48), "model_io_mismatch", "square"),
    "three dimensions": (_shaped(3, 32, 32), "model_io_mismatch", "(N, C, H, W)"),
    "an old opset": (lambda file: write_network(file, opset=11), "model_invalid", f"opset {LOWEST_OPSET}"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_cannot_be_wrapped_and_is_told_why(what: str, tmp_path: Path) -> None:
    make, code, told = REFUSED[what]
    make(tmp_path / "net.onnx")
    with pytest.raises(ModelRefused) as refused:
        examine(tmp_path / "net.onnx")
    assert refused.value.code == code
    assert told in f"{refused.value.what} {refused.value.remedy}"


def test_resizing_needs_an_operator_that_does_not_alias(tmp_path: Path) -> None:
    network = examine(write_network(tmp_path / "net.onnx", opset=17))
    with pytest.raises(ModelRefused, match="opset 17") as refused:
        wrap(network, Wrapping(48, 32, 2, (), (), "softmax"))
    assert "opset 18" in refused.value.remedy


def test_what_the_checker_does_not_accept_is_refused(tmp_path: Path) -> None:
    file = write_network(tmp_path / "net.onnx")
    model = onnx.load(file)
    model.graph.node[2].op_type = "NoSuchOperator"
    onnx.save(model, file)
    with pytest.raises(ModelRefused, match=r"net\.onnx cannot be wrapped") as refused:
        wrap(examine(file), Wrapping(32, 32, 2, (), (), "softmax"))
    assert refused.value.code == "model_invalid"
