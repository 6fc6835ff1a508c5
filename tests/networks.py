"""Small ONNX classifiers as others export them: colour or grey, logits or probabilities, any size or one."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE_PX = 32
Shape = list[int | str]


def write_network(
    file: Path,
    *,
    channels: int = 3,
    classes: int = 2,
    shape: Shape | None = None,
    activation: str = "",
    opset: int = 18,
    **names: str,
) -> Path:
    """Means of the channels times seeded weights, (N, channels, side, side) to (N, classes) logits."""
    image, scores = names.get("image", "image"), names.get("scores", "probabilities")
    chance = np.random.default_rng(channels * 10 + classes)
    weights = [
        numpy_helper.from_array(chance.normal(size=(channels, classes)).astype(np.float32), "weights"),
        numpy_helper.from_array(chance.normal(size=classes).astype(np.float32), "biases"),
    ]
    nodes = [
        helper.make_node("GlobalAveragePool", [image], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "biases"], ["logits"]),
        helper.make_node(activation or "Identity", ["logits"], [scores]),
    ]
    taken = tensor(image, ["N", channels, SIDE_PX, SIDE_PX] if shape is None else shape)
    given = tensor(scores, ["N", classes])
    save(file, nodes, [taken], [given], weights, opset)
    return file


def save(
    file: Path, nodes: list[Any], taken: list[Any], given: list[Any], weights: list[Any], opset: int = 18
) -> None:
    """Write a graph."""
    graph = helper.make_graph(nodes, "network", taken, given, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), file)


def tensor(name: str, shape: Shape | None, kind: int = TensorProto.FLOAT) -> Any:  # noqa: ANN401  # ValueInfoProto
    return helper.make_tensor_value_info(name, kind, shape)
