"""Versions of the tiny model that score visibly apart, and evaluations that say how they compare."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from tiny_model import as_int8_with_twin, seal, tiny_graph, write_golden_pair, write_tiny_model

from ultraread.models.evaluation import (
    EVALUATION_FILE,
    Comparison,
    Evaluation,
    Figure,
    SetFigures,
    Verdict,
    write_evaluation,
)
from ultraread.models.promotion import PromotionPolicy
from ultraread.models.registry import ModelFolder, find_model

POLICY = PromotionPolicy(sets=("bright_fields", "dark_fields"))
JUDGED = {"bright_fields": "T-BRIGHT", "dark_fields": "T-DARK"}
"""Which class each set labels."""
DATA = {
    "name": "simulated noise",
    "licence": "Apache-2.0",
    "citation": "none",
    "files": 1,
    "files_sha256": "0" * 64,
    "split": "none",
}
METRIC = {
    "dataset": "simulated noise",
    "metric": "auc_patch",
    "code": "T-BRIGHT",
    "value": 0.9,
    "ci95": [0.8, 1.0],
    "n": 12,
    "n_of": "fields",
    "how": "a test",
}


def write_version(folder: Path, version: str, bias: float = -1.0) -> ModelFolder:
    """A tiny model of this version; the higher the bias, the higher all of its scores."""
    write_tiny_model(folder, version=version, training_data=[DATA], metrics=[METRIC])
    graph = tiny_graph()
    for tensor in graph.graph.initializer:
        if tensor.name == "biases":
            tensor.CopyFrom(numpy_helper.from_array(np.full(2, bias, np.float32), "biases"))
    onnx.save(graph, folder / "model.onnx")
    write_golden_pair(folder)
    return find_model(str(seal(folder)))


def write_version_with_twin(folder: Path, version: str) -> ModelFolder:
    """Called int8; it misses its golden pair on every machine, so its twin, which has other bytes, runs."""
    as_int8_with_twin(write_version(folder, version).path, shift=0.2)
    model = onnx.load(folder / "model.onnx")
    model.doc_string = "int8"
    onnx.save(model, folder / "model.onnx")
    return find_model(str(seal(folder)))


def evaluation_of(
    model: ModelFolder,
    champion: ModelFolder | None = None,
    difference: float = 0.0,
    half_width: float = 0.01,
    seen: bool = False,
) -> Evaluation:
    """Figures on both sets, and against the champion the same difference for each class."""
    return Evaluation(
        model=model.card.ref,
        onnx_sha256=model.card.sha256,
        card_sha256=model.card_sha256,
        abstention_rule="none",
        machine="a test",
        sets=tuple(_figures(name, code, seen) for name, code in JUDGED.items()),
        comparisons=tuple(
            _comparison(champion, name, code, difference, half_width) for name, code in JUDGED.items()
        )
        if champion
        else (),
    )


def with_evaluation(model: ModelFolder, evaluation: Evaluation) -> ModelFolder:
    """Lay the evaluation beside the card."""
    write_evaluation(evaluation, model.path / EVALUATION_FILE)
    return model


def _figures(name: str, code: str, seen: bool) -> SetFigures:
    figure = Figure(metric="auc_patch", code=code, value=0.9, ci95=(0.85, 0.95), n=12, n_of="fields")
    return SetFigures(
        dataset=name,
        manifest_sha256="0" * 64,
        specimens=("simulated",),
        laboratories=("a test",),
        fields=12,
        seen_in_training=seen,
        figures=(figure,),
    )


def _comparison(
    champion: ModelFolder, name: str, code: str, difference: float, half_width: float
) -> Comparison:
    return Comparison(
        against=champion.card.ref,
        against_onnx_sha256=champion.card.sha256,
        dataset=name,
        metric="auc_patch",
        code=code,
        difference=difference,
        ci95=(difference - half_width, difference + half_width),
        verdict=Verdict.CANNOT_TELL,
    )
