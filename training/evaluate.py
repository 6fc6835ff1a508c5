"""Stage: judge a model folder on data sets, under artefacts, and against another version."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ultraread.datasets.manifest import LabelledField, Manifest
from ultraread.errors import LabelsRefused, RequestInvalid
from ultraread.models.classifier import OnnxClassifier, fitting
from ultraread.models.evaluation import (
    Comparison,
    Evaluation,
    Figure,
    RobustnessRow,
    SetFigures,
    Verdict,
)
from ultraread.models.registry import ModelFolder
from ultraread.training.artefacts import ARTEFACTS, Artefact, with_artefact
from ultraread.training.calibrate import limits_of
from ultraread.training.class_maps import ClassMaps, maps_by_field
from ultraread.training.fields import load_field
from ultraread.training.figures import DIGITS, class_figures, figures_of_resample
from ultraread.training.judge import predict_set, set_figures
from ultraread.training.metrics import over_resamples
from ultraread.training.model_view import ModelView, view_of_card
from ultraread.training.network import Outputs
from ultraread.training.predict import FieldPrediction, Score, predict_field
from ultraread.training.provenance import machine
from ultraread.training.thresholds import FIELD_TILES, field_calls

ROBUST_FIGURES = ("auc_patch", "auc_tile", "dice", "area_error_points")
COMPARED_FIGURES = {"auc_patch": 1, "auc_tile": 1, "average_precision": 1, "dice": 1, "area_error_points": -1}
"""Figures of a comparison, and whether more of it is better."""
ABSTENTION_RULE = (
    f"Fields of at most {FIELD_TILES} tiles that were called indeterminate or, with more strange tiles than "
    "the card allows, not assessed; over all classes and data sets."
)

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Judged:
    """A model on its way through an evaluation."""

    model: ModelFolder
    view: ModelView
    score: Score
    predictions: dict[str, list[FieldPrediction]] = field(default_factory=dict)


def evaluate(
    model: ModelFolder,
    manifests: Sequence[Manifest],
    threads: int,
    told: Told,
    against: ModelFolder | None = None,
    *,
    robustness: bool = True,
) -> Evaluation:
    """Judge `model` on every field of `manifests`.

    Raises LabelsRefused where none labels a class of it, RequestInvalid where two have one name.
    """
    _refuse_equal_names(manifests)
    judged = opened(model, threads)
    for manifest in manifests:
        told(f"{model.card.ref} on {manifest.name}")
        judged.predictions[manifest.name] = predict_set(judged.score, manifest.fields, judged.view)
    sets = tuple(_set(judged, manifest) for manifest in manifests)
    if not any(one.figures for one in sets):
        raise LabelsRefused(f"no field labels a class of {model.card.ref}")
    rows = [row for one in manifests for row in _robustness(judged, one, told)] if robustness else []
    compared = _compare(judged, opened(against, threads), manifests, told) if against else ()
    return Evaluation(
        model=model.card.ref,
        onnx_sha256=model.card.sha256,
        card_sha256=model.card_sha256,
        abstention_rule=ABSTENTION_RULE,
        abstention_rate=_abstention_rate(judged),
        machine=machine(),
        sets=sets,
        robustness=tuple(rows),
        comparisons=tuple(compared),
    )


def opened(model: ModelFolder, threads: int) -> Judged:
    """Load a model; raises the ModelRefused that says why it cannot be judged here."""
    classify = OnnxClassifier(fitting(model), threads)

    def score(tiles: Tensor) -> Outputs:
        found = classify(tiles.numpy())
        patch_map = found.probabilities[:, :, None, None] if found.patch_map is None else found.patch_map
        strange = np.zeros(len(tiles), np.float32) if found.out_of_domain is None else found.out_of_domain
        return Outputs(*(torch.from_numpy(one) for one in (found.probabilities, patch_map, strange)))

    return Judged(model, view_of_card(model.card), score)


def _refuse_equal_names(manifests: Sequence[Manifest]) -> None:
    names = [one.name for one in manifests]
    if len(set(names)) < len(names):
        raise RequestInvalid(
            "two manifests have one name; figures could not be told apart", "Rename one of the files."
        )


def verdict(low: float, high: float, direction: int) -> Verdict:
    """What the interval of a paired difference says; `direction` is 1 where more is better, else -1."""
    if low > 0 or high < 0:
        return Verdict.BETTER if (low > 0) == (direction > 0) else Verdict.WORSE
    return Verdict.CANNOT_TELL


def _set(judged: Judged, manifest: Manifest) -> SetFigures:
    card = judged.model.card
    return set_figures(
        manifest,
        judged.predictions[manifest.name],
        judged.view,
        limits_of(card.thresholds),
        card.out_of_domain.threshold if card.out_of_domain else None,
        seen_in_training=_seen(judged.model, manifest),
        measurements=card.derived_measurements,
    )


def _seen(model: ModelFolder, manifest: Manifest) -> bool:
    """Whether training saw an image of this data set; by its name where the card lists no images."""
    used = model.card.training_data
    learned = {digest for one in used for digest in one.images_sha256}
    unlisted = {one.name for one in used if not one.images_sha256}
    return manifest.name in unlisted or any(one.image_sha256 in learned for one in manifest.fields)


def _robustness(judged: Judged, manifest: Manifest, told: Told) -> Iterator[RobustnessRow]:
    """Figures of labelled fields under each artefact at each strength."""
    labelled = [one for one in manifest.fields if one.codes & set(judged.view.codes)]
    for artefact in ARTEFACTS if labelled else ():
        for strength in artefact.strengths:
            told(f"{manifest.name} with {artefact.name} {strength:g} {artefact.unit}".rstrip())
            predictions = [_predict_under(artefact, strength, one, judged) for one in labelled]
            yield RobustnessRow(
                dataset=manifest.name,
                artefact=artefact.name,
                strength=strength,
                unit=artefact.unit,
                figures=tuple(_robust_figures(predictions, judged.view)),
            )


def _predict_under(
    artefact: Artefact, strength: float, labelled: LabelledField, judged: Judged
) -> FieldPrediction:
    changed = with_artefact(load_field(labelled, judged.view), artefact, strength)
    return predict_field(judged.score, changed, judged.view)


def _robust_figures(predictions: Sequence[FieldPrediction], view: ModelView) -> Iterator[Figure]:
    for maps in _all_maps(predictions, view):
        for figure in class_figures(maps, view):
            if figure.metric in ROBUST_FIGURES:
                yield figure


def _compare(judged: Judged, other: Judged, manifests: Sequence[Manifest], told: Told) -> list[Comparison]:
    """Paired differences of every class that both models have, on every data set."""
    compared: list[Comparison] = []
    for manifest in manifests:
        told(f"{other.model.card.ref} on {manifest.name}")
        others = predict_set(other.score, manifest.fields, other.view)
        theirs = {maps.one.code: maps for maps in _all_maps(others, other.view)}
        for maps in _all_maps(judged.predictions[manifest.name], judged.view):
            if maps.one.code in theirs:
                compared += _differences(maps, theirs[maps.one.code], judged, other, manifest.name)
    return compared


def _differences(
    ours: ClassMaps, theirs: ClassMaps, judged: Judged, other: Judged, dataset: str
) -> Iterator[Comparison]:
    """One comparison a figure: the same resamples of fields are drawn for both models."""
    mine, yours = figures_of_resample(ours, judged.view), figures_of_resample(theirs, other.view)
    for metric, direction in COMPARED_FIGURES.items():
        if metric not in mine or metric not in yours:
            continue
        one, another = mine[metric], yours[metric]
        found = over_resamples(lambda t, a=one, b=another: a(t) - b(t), len(ours.predicted))  # type: ignore[misc]
        if not np.isfinite([found.value, found.low, found.high]).all():
            continue
        yield Comparison(
            against=other.model.card.ref,
            against_onnx_sha256=other.model.card.sha256,
            dataset=dataset,
            metric=metric,
            code=ours.one.code,
            difference=round(found.value, DIGITS),
            ci95=(round(found.low, DIGITS), round(found.high, DIGITS)),
            verdict=verdict(found.low, found.high, direction),
        )


def _abstention_rate(judged: Judged) -> float | None:
    """The share of fields, over classes, of which nothing was said."""
    card, limits = judged.model.card, limits_of(judged.model.card.thresholds)
    said: list[str] = []
    for predictions in judged.predictions.values():
        for prediction in predictions:
            strange = card.out_of_domain is not None and (
                (prediction.strangeness > card.out_of_domain.threshold).mean()
                > card.out_of_domain.max_flagged_fraction
            )
            for maps in _all_maps([prediction], judged.view):
                called = [one for one, _ in field_calls(maps, judged.view, limits[maps.one.code])]
                said += ["not_assessed"] * len(called) if strange else called
    return (
        round(sum(one in ("indeterminate", "not_assessed") for one in said) / len(said), DIGITS)
        if said
        else None
    )


def _all_maps(predictions: Sequence[FieldPrediction], view: ModelView) -> list[ClassMaps]:
    found = [maps_by_field(predictions, view, number) for number in range(len(view.classes))]
    return [maps for maps in found if maps is not None]
