"""The committed figures of a recipe: cross-validated metrics, thresholds and where they came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from ultraread.errors import IntegrityFailed
from ultraread.models.card import Metric, Threshold, TrainingRun
from ultraread.training.config import ClassTable, ConfigPart, TrainingConfig
from ultraread.training.folds import blocked_folds, section_runs
from ultraread.training.metrics import (
    Estimate,
    Scores,
    Truth,
    auc_over_runs,
    mean_over_runs,
    pool_patches,
    present_threshold,
    seen_threshold,
)
from ultraread.training.predict import SectionPrediction
from ultraread.training.tile_dataset import digest_of_files, files_of

SMALL_TILE_PX = 128
"""Tiles at which the project's targets are stated."""

PATCH_POSITIVE_FRACTION = 0.5
"""A patch is positive where the class covers at least half of it."""


class FoldRecord(ConfigPart):
    """Sections trained on and tested on."""

    train: tuple[int, ...]
    test: tuple[int, ...]


class CrossValidation(ConfigPart):
    """What `training/results/*-cv.json` holds."""

    recipe: str
    run: TrainingRun
    data_files: int
    data_files_sha256: str
    folds: tuple[FoldRecord, ...]
    interval: str
    metrics: tuple[Metric, ...]
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True, slots=True)
class ClassMaps:
    """One class over all sections, one array (sections, h, w) of patches a section run."""

    one: ClassTable
    predicted: list[Scores]
    true: list[Scores]

    def tiles(self, patches: int) -> tuple[list[Scores], list[Scores]]:
        """Scores and true area fractions of tiles of `patches` x `patches`, flat, one array a run."""
        scores = [pool_patches(run, patches).ravel() for run in self.predicted]
        return scores, [pool_patches(run, patches).ravel() for run in self.true]


def evaluate(
    predictions: Sequence[SectionPrediction], config: TrainingConfig, recipe: str, run: TrainingRun
) -> CrossValidation:
    """Turn one out-of-fold prediction a section, in the recipe's order, into the committed figures."""
    table, files = config.validation, files_of(config)
    folds = blocked_folds(config.data.sections, table.folds, table.gap_sections)
    maps = [class_maps(predictions, config, number) for number in range(len(config.classes))]
    return CrossValidation(
        recipe=recipe,
        run=run,
        data_files=len(files),
        data_files_sha256=digest_of_files(files),
        folds=tuple(FoldRecord(train=fold.train, test=fold.test) for fold in folds),
        interval=f"95 %: percentiles of all {table.folds**table.folds:,} resamples of the {table.folds} "
        "section runs; all are of one specimen, so it says nothing about others",
        metrics=tuple(metric for one in maps for metric in class_metrics(one, config)),
        thresholds=tuple(class_threshold(one, config) for one in maps),
    )


def class_maps(predictions: Sequence[SectionPrediction], config: TrainingConfig, number: int) -> ClassMaps:
    """Sort the maps of class `number` by section run."""
    by_index = {one.index: one for one in predictions}
    runs = section_runs(config.data.sections, config.validation.folds)
    return ClassMaps(
        config.classes[number],
        [np.stack([by_index[index].predicted[number] for index in run]).astype(np.float64) for run in runs],
        [np.stack([by_index[index].true[number] for index in run]).astype(np.float64) for run in runs],
    )


def class_metrics(maps: ClassMaps, config: TrainingConfig) -> list[Metric]:
    """Every figure of one class."""
    covered, patch_px = maps.one.positive_fraction, config.model.patch_px
    small, served = (f"auc_tile_{side}px" for side in (SMALL_TILE_PX, config.model.tile_px))
    return [
        _auc(maps, config, small, SMALL_TILE_PX // patch_px, covered),
        _auc(maps, config, served, config.model.tile_px // patch_px, covered),
        _auc(maps, config, f"auc_patch_{patch_px}px", 1, PATCH_POSITIVE_FRACTION),
        *_areas(maps, config),
    ]


def class_threshold(maps: ClassMaps, config: TrainingConfig) -> Threshold:
    """Thresholds of one class from out-of-fold tiles of the served size."""
    table = config.validation
    runs = maps.tiles(config.model.tile_px // config.model.patch_px)
    scores, fractions = (np.concatenate(one) for one in runs)
    positive = fractions >= maps.one.positive_fraction
    present = present_threshold(scores, positive, table.present_specificity)
    not_seen = min(present, seen_threshold(scores, positive, table.seen_sensitivity))
    reached = _said_of(scores, positive, present, not_seen)
    return Threshold(
        code=maps.one.code,
        present=present,
        not_seen=not_seen,
        operating_point=_operating_point(config, maps.one, reached),
    )


def load_cross_validation(file: Path) -> CrossValidation | None:
    """Read committed figures; None where there are none. Raises IntegrityFailed where they do not parse."""
    if not file.is_file():
        return None
    try:
        return CrossValidation.model_validate_json(file.read_bytes())
    except ValidationError as invalid:
        raise IntegrityFailed(f"{file.name} does not parse", "Run the cross-validation again.") from invalid


def _auc(maps: ClassMaps, config: TrainingConfig, metric: str, patches: int, covered: float) -> Metric:
    scores, fractions = maps.tiles(patches)
    positive = [one >= covered for one in fractions]
    total, found = sum(one.size for one in positive), sum(int(one.sum()) for one in positive)
    unit = f"squares of {patches * config.model.patch_px} px, {found} of them positive"
    how = f"positive where the class covers at least {100 * covered:g} %; score: mean of its patches"
    return _metric(maps.one, config, metric, auc_over_runs(scores, positive), (total, unit, how))


def _areas(maps: ClassMaps, config: TrainingConfig) -> list[Metric]:
    points = [100 * (one - other) for one, other in zip(maps.predicted, maps.true, strict=True)]
    rows = [
        ("area_fraction_predicted", maps.predicted, "mean of all patches, 0 to 1"),
        ("area_fraction_true", maps.true, "mean of the masks, 0 to 1"),
        ("area_fraction_difference_points", points, "predicted minus true, percentage points"),
    ]
    sections = len(config.data.sections)
    return [
        _metric(maps.one, config, name, mean_over_runs(values), (sections, "sections", how))
        for name, values, how in rows
    ]


def _metric(
    one: ClassTable, config: TrainingConfig, metric: str, estimate: Estimate, measured: tuple[int, str, str]
) -> Metric:
    table, (n, n_of, how) = config.validation, measured
    return Metric(
        dataset=f"{config.data.folder}, {len(config.data.sections)} sections of one specimen",
        metric=metric,
        code=one.code,
        value=round(estimate.value, 5),
        ci95=(round(estimate.low, 5), round(estimate.high, 5)),
        n=n,
        n_of=n_of,
        how=f"{how}; out-of-fold and pooled, {table.folds} runs of neighbouring sections with a gap of "
        f"{table.gap_sections}; interval: bootstrap over these {table.folds} runs",
    )


def _said_of(scores: Scores, positive: Truth, present: float, not_seen: float) -> str:
    specificity = (scores[~positive] < present).mean()
    sensitivity = (scores[positive] >= present).mean()
    kept = (scores[positive] >= not_seen).mean()
    return (
        f"{scores.size} tiles, {int(positive.sum())} positive; at present: specificity {specificity:.3f}, "
        f"sensitivity {sensitivity:.3f}; at not_seen: sensitivity {kept:.3f}"
    )


def _operating_point(config: TrainingConfig, one: ClassTable, reached: str) -> str:
    table = config.validation
    return (
        f"Chosen on out-of-fold {config.model.tile_px} px tiles of {config.data.folder}, positive where "
        f"{one.name} covers at least {100 * one.positive_fraction:g} %. present: the lowest tile score with "
        f"specificity {table.present_specificity:g} or more; not_seen: the highest with sensitivity "
        f"{table.seen_sensitivity:g} or more, at most present. Reached: {reached}. Chosen on tiles, applied "
        "to the mean of an image's highest tiles, where specificity is lower. All sections are of one "
        "specimen: these figures show memory of that specimen, and none other was looked at."
    )
