"""Rewrite the graph of any ONNX tile classifier so that it takes and gives what every model here does.

In front of the network: grey resized, repeated to its channels, and normalised as it was in training; behind
it: the activation that makes probabilities. All with operators of ai.onnx, in one file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from ultraread.errors import ModelInvalid, ModelIoMismatch
from ultraread.models.classifier import load_graph

INPUT, OUTPUT = "image", "probabilities"
PREFIX = "network/"
LOWEST_OPSET = 13
ANTIALIAS_OPSET = 18
BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))
"""A softmax that is sure rounds to 1; here no probability reaches it, so a limit of 1 is never reached."""

Activation = Literal["sigmoid", "softmax", "none"]
ACTIVATIONS: dict[str, Activation] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}


@dataclass(frozen=True, slots=True)
class Network:
    """A classifier as its file describes it: (batch, channels, side, side) float32 to (batch, classes).

    `batch`, `side_px` and `classes` are None where the file leaves them open; it ends in `activation`.
    """

    file: str
    model: onnx.ModelProto
    input: str
    output: str
    batch: int | None
    channels: int
    side_px: int | None
    classes: int | None
    activation: Activation

    @property
    def opset(self) -> int:
        return max(
            (one.version for one in self.model.opset_import if one.domain in ("", "ai.onnx")), default=0
        )


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What is put around a network; `mean` and `std` by channel, of grey from 0 to 1, or empty."""

    tile_px: int
    network_px: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    activation: Activation


def examine(file: Path) -> Network:
    """Describe a network. Raises the ModelRefused that says why it cannot be wrapped."""
    model = load_graph(file)
    taken, given = _only_input(model.graph, file.name), _only_output(model.graph, file.name)
    batch, channels, side_px = _input_shape(taken, file.name)
    network = Network(
        file.name, model, taken.name, given.name, batch, channels, side_px,
        _classes(given, file.name), _activation(model.graph, given.name),
    )  # fmt: skip
    if network.opset < LOWEST_OPSET:
        raise ModelInvalid(
            f"{file.name} has opset {network.opset}", f"Export it with opset {LOWEST_OPSET} or newer."
        )
    return network


def wrap(network: Network, wrapping: Wrapping) -> onnx.ModelProto:
    """Return `image` (N, 1, tile, tile) float32, 0 to 1, to `probabilities` (N, C); N as the network has it.

    Raises ModelInvalid where the result is no valid ONNX.
    """
    inner = compose.add_prefix(network.model, PREFIX)
    front, behind = _front(network, wrapping), _behind(network, wrapping)
    batch: int | str = network.batch or "batch"
    graph = helper.make_graph(
        [*front.nodes, *inner.graph.node, *behind.nodes],
        "wrapped",
        [_value(INPUT, [batch, 1, wrapping.tile_px, wrapping.tile_px])],
        [_value(OUTPUT, [batch, wrapping.classes])],
        [*front.constants, *inner.graph.initializer, *behind.constants],
        sparse_initializer=inner.graph.sparse_initializer,
    )
    model = helper.make_model(graph, opset_imports=inner.opset_import, ir_version=max(8, inner.ir_version))
    return _checked(model, network.file)


class _Chain:
    """Nodes one after the other: each takes what the last one gave."""

    def __init__(self, start: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._last = start

    def add(self, operator: str, *others: str, copies: int = 1, output: str = "", **attributes: Any) -> str:  # noqa: ANN401  # of any operator
        """Append a node of the last output, `copies` times, and `others`; return the name that it gives."""
        name = output or f"wrapped/{operator}"
        inputs = [*[self._last] * copies, *others]
        self.nodes.append(helper.make_node(operator, inputs, [name], name=f"node/{name}", **attributes))
        self._last = name
        return name

    def constant(self, name: str, values: Any) -> str:  # noqa: ANN401  # array or number
        self.constants.append(numpy_helper.from_array(np.asarray(values), f"wrapped/{name}"))
        return f"wrapped/{name}"


def _front(network: Network, wrapping: Wrapping) -> _Chain:
    chain = _Chain(INPUT)
    if wrapping.tile_px != wrapping.network_px:
        _refuse_without_antialias(network, wrapping)
        side = chain.constant("side", np.full(2, wrapping.network_px, np.int64))
        # Pillow and torchvision leave pixels beyond the border out; ONNX does so only when told.
        chain.add("Resize", "", "", side, mode="linear", antialias=1, exclude_outside=1, axes=[2, 3])
    if network.channels > 1:
        chain.add("Concat", copies=network.channels, axis=1)
    if wrapping.mean:
        chain.add("Sub", chain.constant("mean", _by_channel(wrapping.mean)))
        chain.add("Div", chain.constant("std", _by_channel(wrapping.std)))
    chain.add("Identity", output=PREFIX + network.input)
    return chain


def _behind(network: Network, wrapping: Wrapping) -> _Chain:
    chain = _Chain(PREFIX + network.output)
    if wrapping.activation == "softmax":
        chain.add("Softmax", axis=1)
    if wrapping.activation == "sigmoid":
        chain.add("Sigmoid")
    probabilities = chain.add("Identity")
    chain.add("Equal", chain.constant("one", np.float32(1)))
    below_one = chain.constant("below_one", np.float32(BELOW_ONE))
    chain.add("Where", below_one, probabilities, output=OUTPUT)
    return chain


def _refuse_without_antialias(network: Network, wrapping: Wrapping) -> None:
    if network.opset < ANTIALIAS_OPSET:
        raise ModelInvalid(
            f"{network.file} has opset {network.opset}, which cannot resize {wrapping.tile_px} px to "
            f"{wrapping.network_px} px as its training did",
            f"Export it with opset {ANTIALIAS_OPSET} or newer.",
        )


def _by_channel(values: tuple[float, ...]) -> np.ndarray[Any, Any]:
    """(1, C, 1, 1) float32."""
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1)


def _checked(model: onnx.ModelProto, file: str) -> onnx.ModelProto:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as failure:
        raise ModelInvalid(f"{file} cannot be wrapped: {str(failure).splitlines()[0]}") from failure
    return model


def _only_input(graph: onnx.GraphProto, file: str) -> onnx.ValueInfoProto:
    weights = {tensor.name for tensor in graph.initializer}
    inputs: list[onnx.ValueInfoProto] = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise ModelIoMismatch(f"{file} has {len(inputs)} inputs", "Export a network that takes one image.")
    return inputs[0]


def _only_output(graph: onnx.GraphProto, file: str) -> onnx.ValueInfoProto:
    if len(graph.output) != 1:
        raise ModelIoMismatch(
            f"{file} has {len(graph.output)} outputs", "Export the class scores (N, C) as its only output."
        )
    only: onnx.ValueInfoProto = graph.output[0]
    return only


def _input_shape(value: onnx.ValueInfoProto, file: str) -> tuple[int | None, int, int | None]:
    """Batch, channels and side in px."""
    shape, kind = _shape(value), value.type.tensor_type.elem_type
    told = f"{file} takes {_told(shape)} of {TensorProto.DataType.Name(kind).lower()}"
    if len(shape) != 4 or kind != TensorProto.FLOAT:
        raise ModelIoMismatch(told, "Export it with an input of (N, C, H, W) float32.")
    batch, channels, height, width = shape
    if channels not in (1, 3) or height != width:
        raise ModelIoMismatch(told, "Export it with 1 or 3 channels, in front of a square of pixels.")
    return batch, channels, height


def _classes(value: onnx.ValueInfoProto, file: str) -> int | None:
    shape = _shape(value)
    if not value.type.tensor_type.HasField("shape"):
        return None
    if len(shape) != 2 or value.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise ModelIoMismatch(f"{file} gives {_told(shape)}", "Export class scores of (N, C) float32.")
    return shape[1]


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    """Sizes, None where they are open."""
    return [one.dim_value if one.dim_value > 0 else None for one in value.type.tensor_type.shape.dim]


def _told(shape: list[int | None]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def _activation(graph: onnx.GraphProto, output: str) -> Activation:
    """What the node that gives `output` is, looking through Identity."""
    made_by = {name: node for node in graph.node for name in node.output}
    node = made_by.get(output)
    while node is not None and node.op_type == "Identity":
        node = made_by.get(node.input[0])
    return ACTIVATIONS.get(node.op_type, "none") if node is not None else "none"


def _value(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
