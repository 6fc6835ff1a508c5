"""Stage: from out-of-fold predictions to scales, limits, and the out-of-domain threshold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from ultraread.errors import ClassEmpty, IntegrityFailed
from ultraread.models.card import ClassCalibration, ConformalClass, Sha256, Threshold
from ultraread.models.evaluation import Figure
from ultraread.training.calibration import Scale, class_calibration, cross_fitted, fit_scale, rescaled
from ultraread.training.class_maps import ClassMaps, maps_by_field, maps_by_run
from ultraread.training.config import ConfigPart, TrainingConfig
from ultraread.training.figures import class_figures
from ultraread.training.folds import blocked_folds
from ultraread.training.metrics import reliability
from ultraread.training.model_view import ModelView, view_of_recipe
from ultraread.training.predict import FieldPrediction
from ultraread.training.strangeness import false_alarm_threshold
from ultraread.training.thresholds import Limits, choose_limits, coverage, threshold


class CalibrationRecord(ConfigPart):
    """What `training/results/*-calibration.json` holds.

    `figures` are those of the cross-validation after calibration, cross-fitted.
    """

    config_sha256: Sha256
    classes: tuple[ClassCalibration, ...]
    thresholds: tuple[Threshold, ...]
    coverage: tuple[ConformalClass, ...]
    figures: tuple[Figure, ...]
    strangeness_threshold: float
    strange_fraction_out_of_fold: float
    reliability: dict[str, list[tuple[float, float, int]]]


@dataclass(frozen=True, slots=True)
class CalibratedClass:
    """One class on the way: its maps as the calibrated model gives them, and cross-fitted."""

    said: ClassCalibration
    scaled: ClassMaps
    crossed: ClassMaps
    limits: Limits


def calibrate(
    predictions: Sequence[FieldPrediction], config: TrainingConfig, config_sha256: str
) -> CalibrationRecord:
    """Fit on one out-of-fold prediction a training field, in the recipe's order."""
    view = view_of_recipe(config)
    classes = [_calibrated(predictions, config, view, number) for number in range(len(view.classes))]
    rate = config.calibration.error_rate
    strangeness = np.concatenate([one.strangeness for one in predictions])
    limit = _rounded_up(false_alarm_threshold(strangeness, config.out_of_domain.false_alarm_rate))
    return CalibrationRecord(
        config_sha256=config_sha256,
        classes=tuple(one.said for one in classes),
        thresholds=tuple(threshold(one.scaled, view, rate, one.limits) for one in classes),
        coverage=tuple(
            coverage(one.crossed, view, one.limits, "out-of-fold sections that the limits were chosen on")
            for one in classes
        ),
        figures=tuple(figure for one in classes for figure in class_figures(one.crossed, view)),
        strangeness_threshold=limit,
        strange_fraction_out_of_fold=round(float((strangeness > limit).mean()), 6),
        reliability={one.said.code: _reliability(one.crossed) for one in classes},
    )


def limits_of(thresholds: Sequence[Threshold]) -> dict[str, Limits]:
    """The limits by class code."""
    return {one.code: Limits(one.present, one.not_seen) for one in thresholds}


def load_calibration(file: Path) -> CalibrationRecord | None:
    """Read a committed record; None where there is none. Raises IntegrityFailed where it does not parse."""
    if not file.is_file():
        return None
    try:
        return CalibrationRecord.model_validate_json(file.read_bytes())
    except ValidationError as invalid:
        raise IntegrityFailed(f"{file.name} does not parse", "Run the calibration again.") from invalid


def _calibrated(
    predictions: Sequence[FieldPrediction], config: TrainingConfig, view: ModelView, number: int
) -> CalibratedClass:
    by_run = maps_by_run(predictions, view, number, _runs(predictions, config))
    by_field = maps_by_field(predictions, view, number)
    if by_run is None or by_field is None or len(by_run.predicted) < 2:
        raise ClassEmpty(
            f"masks label {view.codes[number]} in fewer than two runs of sections: too few to calibrate"
        )
    fits = config.calibration.method == "temperature"
    scale = fit_scale(by_run.scored()) if fits else Scale()
    scaled = rescaled(by_field, scale)
    limits = choose_limits(scaled, view, config.calibration.error_rate)
    crossed = cross_fitted(by_run) if fits else by_run
    return CalibratedClass(class_calibration(by_run, scale), scaled, crossed, limits)


def _rounded_up(limit: float) -> float:
    """Six decimals, and never below a score that must not lie above."""
    return math.ceil(limit * 1e6) / 1e6


def _runs(predictions: Sequence[FieldPrediction], config: TrainingConfig) -> list[tuple[int, ...]]:
    """Places of the fields that each fold tested."""
    table = config.validation
    folds = blocked_folds([one.field for one in predictions], table.folds, table.gap_sections)
    return [fold.test for fold in folds]


def _reliability(maps: ClassMaps) -> list[tuple[float, float, int]]:
    scored = maps.scored()
    rows = reliability(np.concatenate(scored.scores), np.concatenate(scored.fractions))
    return [(round(score, 4), round(true, 4), count) for score, true, count in rows]
