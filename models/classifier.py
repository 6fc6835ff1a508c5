"""An ONNX model that this machine has proved it can run: digests, operators, signature and golden pair."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.corpora import sha256_of_file
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
from ultraread.models.card import ModelCard
from ultraread.models.registry import ModelFolder

if TYPE_CHECKING:
    import onnx
    from onnxruntime import InferenceSession

MAX_MODEL_BYTES = 2**30
STANDARD_DOMAINS = ("", "ai.onnx")
PICKLE_OR_ZIP = (b"\x80", b"PK")


@dataclass(frozen=True, slots=True)
class Scores:
    """probabilities (N, C) float32; patch_map (N, C, h, w) float32 where the model has one."""

    probabilities: NDArray[np.float32]
    patch_map: NDArray[np.float32] | None


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
        self.golden_difference = self._check_golden_pair(model.path)

    def __call__(self, tiles: NDArray[np.float32]) -> Scores:
        """Map (N, 1, tile_px, tile_px) float32 to Scores. Raises ModelOutputInvalid for impossible values."""
        count, size = len(tiles), self.card.batch_size
        batch = np.zeros((size, *tiles.shape[1:]), np.float32)
        batch[:count] = tiles
        found: list[Any] = list(self._session.run(self._outputs, {self.card.input: batch}))
        scores = Scores(found[0][:count], found[1][:count] if len(found) > 1 else None)
        _refuse_impossible(scores, self.card)
        return scores

    def _check_golden_pair(self, folder: Path) -> float:
        """Compare with what the exporting machine computed: the greatest difference counts."""
        pair = _golden_arrays(folder, self.card)
        found = self(pair["input"])
        worst = float(np.abs(found.probabilities - pair["probabilities"]).max())
        if found.patch_map is not None:
            worst = max(worst, float(np.abs(found.patch_map - pair["patch_map"]).max()))
        if worst > self.card.golden_pair.golden_tolerance:
            raise ModelGoldenMismatch(
                f"{self.card.ref} is {worst:.2g} off its golden pair; "
                f"{self.card.golden_pair.golden_tolerance:g} is allowed"
            )
        return worst


def check_files(model: ModelFolder) -> None:
    """Raise the ModelRefused that applies to the files, before any runtime opens them."""
    if not model.onnx.is_file():
        raise ModelUnknown(f"{model.path} has no {model.onnx.name}")
    if model.onnx.stat().st_size > MAX_MODEL_BYTES:
        raise ModelTooLarge(f"{model.onnx.name} has {model.onnx.stat().st_size:,} bytes")
    with model.onnx.open("rb") as stream:
        if stream.read(2).startswith(PICKLE_OR_ZIP):
            raise ModelFormatForbidden(f"{model.onnx.name} is a pickle or archive, not ONNX")
    if sha256_of_file(model.onnx) != model.card.sha256:
        raise ModelHashMismatch(f"{model.onnx.name} is not the file that the card of {model.card.ref} names")
    _check_graph(model.onnx)


def _check_graph(path: Path) -> None:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as failure:
        raise ModelInvalid(f"{path.name} is no ONNX model") from failure
    if _has_external_data(model.graph):
        raise ModelExternalData(f"{path.name} keeps weights in other files")
    foreign = {domain for domain in _domains(model.graph) if domain not in STANDARD_DOMAINS}
    if foreign:
        raise ModelOperatorNotAllowed(f"{path.name} uses operators of {', '.join(sorted(foreign))}")


def _has_external_data(graph: "onnx.GraphProto") -> bool:
    from onnx.external_data_helper import uses_external_data

    tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute if a.HasField("t"))]
    return any(uses_external_data(tensor) for tensor in tensors) or any(
        _has_external_data(subgraph) for subgraph in _subgraphs(graph)
    )


def _domains(graph: "onnx.GraphProto") -> set[str]:
    inner = (_domains(subgraph) for subgraph in _subgraphs(graph))
    return {node.domain for node in graph.node}.union(*inner)


def _subgraphs(graph: "onnx.GraphProto") -> list[Any]:
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    return [a.g for a in attributes if a.HasField("g")] + [g for a in attributes for g in a.graphs]


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
    patch_map = card.outputs.patch_map
    return [card.outputs.probabilities, *([patch_map.output] if patch_map else [])]


def _check_signature(session: "InferenceSession", card: ModelCard) -> None:
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = {value.name: value for value in session.get_outputs()}
    stated = [card.tile_px, card.tile_px]
    if list(inputs) != [card.input] or inputs[card.input].type != "tensor(float)":
        raise ModelIoMismatch(f"inputs are {sorted(inputs)}; the card states {card.input} as float32")
    if inputs[card.input].shape[1:] != [card.channels, *stated]:
        raise ModelIoMismatch(f"{card.input} is {inputs[card.input].shape}; the card states {stated} tiles")
    missing = [name for name in _output_names(card) if name not in outputs]
    if missing:
        raise ModelIoMismatch(f"outputs {missing} are missing")
    if outputs[card.outputs.probabilities].shape[1:] != [len(card.classes)]:
        raise ModelIoMismatch(f"the card states {len(card.classes)} classes")


def _golden_arrays(folder: Path, card: ModelCard) -> dict[str, NDArray[np.float32]]:
    path = folder / card.golden_pair.file
    if not path.is_file() or sha256_of_file(path) != card.golden_pair.sha256:
        raise ModelHashMismatch(
            f"the golden pair of {card.ref} is missing or not the one that the card names"
        )
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _refuse_impossible(scores: Scores, card: ModelCard) -> None:
    for values in (scores.probabilities, scores.patch_map):
        # `not all` and not `any`: NaN compares false
        if values is not None and not ((values >= 0) & (values <= 1)).all():
            raise ModelOutputInvalid(f"{card.ref} gave probabilities outside 0 to 1")
