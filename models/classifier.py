"""An ONNX model that this machine has proved it can run: digests, operators, signature and golden pair."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.digest import sha256_of_file
from ultraread.errors import (
    ModelExternalData,
    ModelFormatForbidden,
    ModelGoldenMismatch,
    ModelHashMismatch,
    ModelInvalid,
    ModelIoMismatch,
    ModelOperatorNotAllowed,
    ModelOutputInvalid,
    ModelTooLarge,
    ModelUnknown,
)
from ultraread.models.card import FullRange, ModelCard
from ultraread.models.registry import ModelFolder

if TYPE_CHECKING:
    import onnx
    from onnxruntime import InferenceSession

MAX_MODEL_BYTES = 2**30
MAX_GRAPH_DEPTH = 16
"""Of graphs within loops and branches: a network has two or three."""
STANDARD_DOMAINS = ("", "ai.onnx")
PICKLE_OR_ZIP = (b"\x80", b"PK")


@dataclass(frozen=True, slots=True)
class Scores:
    """float32: probabilities (N, C); where there is one, patch_map (N, C, h, w) and out_of_domain (N,)."""

    probabilities: NDArray[np.float32]
    patch_map: NDArray[np.float32] | None
    out_of_domain: NDArray[np.float32] | None = None


class OnnxClassifier:
    """Scores batches of at most `card.batch_size` tiles; every run has exactly that size, padded with zeros.

    Not loading is a feature: the constructor raises the ModelRefused that says why.
    """

    def __init__(self, model: ModelFolder, threads: int) -> None:
        self.card = model.card
        check_files(model)
        self._session = _session(model.onnx, threads)
        self._outputs = _output_names(self.card)
        _check_signature(self._session, self.card)
        self.golden_difference = self._check_golden_pair(model)

    def __call__(self, tiles: NDArray[np.float32]) -> Scores:
        """Map (N, 1, tile_px, tile_px) float32 to Scores. Raises ModelOutputInvalid for impossible values."""
        count, size = len(tiles), self.card.batch_size
        batch = np.zeros((size, *tiles.shape[1:]), np.float32)
        batch[:count] = tiles
        try:
            found: list[Any] = list(self._session.run(self._outputs, {self.card.input: batch}))
        except Exception as failure:  # the runtime's exceptions share no base
            raise ModelInvalid(f"{self.card.ref} does not run: {type(failure).__name__}") from failure
        named = {name: one[:count] for name, one in zip(self._outputs, found, strict=True)}
        scores = _scores(named, self.card)
        _refuse_impossible(scores, self.card)
        return scores

    def _check_golden_pair(self, model: ModelFolder) -> float:
        """Compare with what the exporting machine computed: the greatest difference counts."""
        pair = _golden_arrays(model)
        if len(pair["input"]) > self.card.batch_size:
            raise ModelGoldenMismatch(f"the golden pair of {self.card.ref} is larger than a batch")
        found = self(pair["input"])
        worst = _worst_difference(found, pair)
        allowed = model.golden_pair.golden_tolerance
        if not worst <= allowed:  # NaN compares false
            raise ModelGoldenMismatch(
                f"{self.card.ref} is {worst:.2g} off its golden pair; {allowed:g} is allowed"
            )
        if (found.probabilities == found.probabilities[0]).all():
            self._refuse_constant()
        return worst

    def _refuse_constant(self) -> None:
        """Show it tiles as different as tiles can be: what answers the same to all of them sees nothing."""
        answers = [self(canary[None]).probabilities for canary in _canaries(self.card)]
        if all((answer == answers[0]).all() for answer in answers):
            raise ModelOutputInvalid(f"{self.card.ref} answers the same to whatever it is shown")


def _canaries(card: ModelCard) -> Iterator[NDArray[np.float32]]:
    """(channels, tile_px, tile_px) each, within what the card's rule hands over: dark, bright, and noise."""
    rule, shape = card.normalisation, (card.channels, card.tile_px, card.tile_px)
    low, high = (0.0, 1.0) if isinstance(rule, FullRange) else (-rule.clip, rule.clip)
    for value in (low, high):
        yield np.full(shape, value, np.float32)
    chance = np.random.default_rng(0)
    for spread in (0.05, 0.5):
        noise = chance.normal((low + high) / 2, spread * (high - low), shape)
        yield noise.clip(low, high).astype(np.float32)


def _scores(found: dict[str, NDArray[np.float32]], card: ModelCard) -> Scores:
    outputs = card.outputs
    return Scores(
        found[outputs.probabilities],
        found[outputs.patch_map.output] if outputs.patch_map else None,
        found[outputs.out_of_domain] if outputs.out_of_domain else None,
    )


def _worst_difference(found: Scores, pair: dict[str, NDArray[np.float32]]) -> float:
    """Absolute of probabilities, relative to 1 + it of the out-of-domain score, which has no upper end."""
    differences = [found.probabilities - pair["probabilities"]]
    if found.patch_map is not None:
        differences.append(found.patch_map - pair["patch_map"])
    if found.out_of_domain is not None:
        expected = pair["out_of_domain"]
        differences.append((found.out_of_domain - expected) / (1 + np.abs(expected)))
    return float(np.max([np.abs(one).max() for one in differences]))  # NaN stays NaN


def fitting(model: ModelFolder) -> ModelFolder:
    """The model as it runs on this machine: itself, or its float32 twin where int8 misses the golden pair.

    Raises the ModelRefused that says why neither does. A model without a twin is returned unopened.
    """
    if model.card.fp32_twin is None:
        return model
    try:
        OnnxClassifier(model, threads=1)
    except ModelGoldenMismatch:
        twin = replace(model, uses_twin=True)
        OnnxClassifier(twin, threads=1)
        return twin
    return model


def check_files(model: ModelFolder) -> None:
    """Raise the ModelRefused that applies to the files, before any runtime opens them."""
    _check_bytes(model.onnx)
    if sha256_of_file(model.onnx) != model.onnx_sha256:
        raise ModelHashMismatch(f"{model.onnx.name} is not the file that the card of {model.card.ref} names")
    _check_graph(model.onnx)


def load_graph(path: Path) -> "onnx.ModelProto":
    """Read an ONNX file that has no card yet. Raises the ModelRefused that applies to its bytes and graph."""
    _check_bytes(path)
    return _check_graph(path)


def _check_bytes(path: Path) -> None:
    if not path.is_file():
        raise ModelUnknown(f"{path.parent} has no {path.name}")
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise ModelTooLarge(f"{path.name} has {path.stat().st_size:,} bytes")
    with path.open("rb") as stream:
        if stream.read(2).startswith(PICKLE_OR_ZIP):
            raise ModelFormatForbidden(f"{path.name} is a pickle or archive, not ONNX")


def _check_graph(path: Path) -> "onnx.ModelProto":
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx.external_data_helper import uses_external_data

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as failure:
        raise ModelInvalid(f"{path.name} is no ONNX model") from failure
    graphs = [part for root in (model.graph, *model.functions) for part in _with_subgraphs(root)]
    tensors = [tensor for graph in graphs for tensor in _tensors(graph)]
    if any(map(uses_external_data, tensors)):
        raise ModelExternalData(f"{path.name} keeps weights in other files")
    if any(min(tensor.dims, default=0) < 0 or prod(tensor.dims) > MAX_MODEL_BYTES for tensor in tensors):
        raise ModelTooLarge(f"{path.name} declares weights of more than {MAX_MODEL_BYTES:,} numbers")
    foreign = {node.domain for graph in graphs for node in graph.node} - set(STANDARD_DOMAINS)
    if foreign:
        raise ModelOperatorNotAllowed(f"{path.name} uses operators of {', '.join(sorted(foreign))}")
    return model


def _with_subgraphs(graph: Any, depth: int = 0) -> Iterator[Any]:  # noqa: ANN401  # GraphProto or FunctionProto
    if depth > MAX_GRAPH_DEPTH:
        raise ModelInvalid("graphs are nested too deep")
    yield graph
    for attribute in _attributes(graph):
        for subgraph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _with_subgraphs(subgraph, depth + 1)


def _tensors(graph: Any) -> "Iterator[onnx.TensorProto]":  # noqa: ANN401  # GraphProto or FunctionProto
    yield from getattr(graph, "initializer", ())
    sparse = [*getattr(graph, "sparse_initializer", ())]
    for attribute in _attributes(graph):
        yield from (attribute.t, *attribute.tensors)
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def _attributes(graph: Any) -> "Iterator[onnx.AttributeProto]":  # noqa: ANN401  # GraphProto or FunctionProto
    return (attribute for node in graph.node for attribute in node.attribute)


def _session(path: Path, threads: int) -> "InferenceSession":
    """One session with a bounded memory: no arena to keep what the largest batch once needed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as failure:  # the runtime's exceptions share no base
        raise ModelInvalid(f"ONNX Runtime does not load {path.name}: {type(failure).__name__}") from failure


def _output_names(card: ModelCard) -> list[str]:
    outputs = card.outputs
    optional = [outputs.patch_map.output if outputs.patch_map else None, outputs.out_of_domain]
    return [outputs.probabilities, *(name for name in optional if name)]


def _check_signature(session: "InferenceSession", card: ModelCard) -> None:
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = {value.name: value for value in session.get_outputs()}
    stated = [card.tile_px, card.tile_px]
    if list(inputs) != [card.input] or inputs[card.input].type != "tensor(float)":
        raise ModelIoMismatch(f"inputs are {sorted(inputs)}; the card states {card.input} as float32")
    if inputs[card.input].shape[1:] != [card.channels, *stated]:
        raise ModelIoMismatch(f"{card.input} is {inputs[card.input].shape}; the card states {stated} tiles")
    batch = inputs[card.input].shape[0]
    if isinstance(batch, int) and batch != card.batch_size:
        raise ModelIoMismatch(f"{card.input} takes {batch} tiles; the card states {card.batch_size}")
    missing = [name for name in _output_names(card) if name not in outputs]
    if missing:
        raise ModelIoMismatch(f"outputs {missing} are missing")
    _check_outputs(outputs, card)


def _check_outputs(outputs: dict[str, Any], card: ModelCard) -> None:
    expected: dict[str, list[int]] = {card.outputs.probabilities: [len(card.classes)]}
    if card.outputs.out_of_domain:
        expected[card.outputs.out_of_domain] = []
    if card.outputs.patch_map:
        side = card.core_px // card.outputs.patch_map.stride_px
        expected[card.outputs.patch_map.output] = [len(card.classes), side, side]
    for name, shape in expected.items():
        if outputs[name].shape[1:] != shape or outputs[name].type != "tensor(float)":
            raise ModelIoMismatch(f"{name} is {outputs[name].shape}; the card states (N, *{shape}) float32")


def _golden_arrays(model: ModelFolder) -> dict[str, NDArray[np.float32]]:
    card, path = model.card, model.path / model.golden_pair.file
    if not path.is_file() or sha256_of_file(path) != model.golden_pair.sha256:
        raise ModelHashMismatch(
            f"the golden pair of {card.ref} is missing or not the one that the card names"
        )
    outputs = ["probabilities"]
    outputs += ["patch_map"] if card.outputs.patch_map else []
    outputs += ["out_of_domain"] if card.outputs.out_of_domain else []
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("input", *outputs)}
    except Exception as failure:  # zip, pickle and key errors alike: the file is no golden pair
        raise ModelGoldenMismatch(f"the golden pair of {card.ref} cannot be read") from failure


def _refuse_impossible(scores: Scores, card: ModelCard) -> None:
    for values in (scores.probabilities, scores.patch_map):
        # `not all` and not `any`: NaN compares false
        if values is not None and not ((values >= 0) & (values <= 1)).all():
            raise ModelOutputInvalid(f"{card.ref} gave probabilities outside 0 to 1")
    if scores.out_of_domain is not None and not np.isfinite(scores.out_of_domain).all():
        raise ModelOutputInvalid(f"{card.ref} gave no finite out-of-domain score")
