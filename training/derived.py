"""Derived measurements of fields, such as a g-ratio: predicted with an interval, and true by the masks."""

from collections.abc import Sequence

import numpy as np

from ultraread.models.card import DerivedMeasurement
from ultraread.models.evaluation import DerivedField, Figure
from ultraread.models.formula import Formula, parse_formula
from ultraread.training.figures import DIGITS
from ultraread.training.metrics import RESAMPLES, SEED, Values, mean_of_resample, over_resamples
from ultraread.training.model_view import ModelView
from ultraread.training.predict import FieldPrediction

ERROR, COVERED = "_error", "_covered"
"""What the figures of a measurement end in."""


def derived_fields(
    measurements: Sequence[DerivedMeasurement], predictions: Sequence[FieldPrediction], view: ModelView
) -> list[DerivedField]:
    """Each measurement of each field whose classes are all labelled; undefined ones are left out."""
    labelled = [one for one in predictions if one.known.all()]
    rows = [_derived(measurement, one, view) for measurement in measurements for one in labelled]
    return [row for row in rows if row is not None]


def derived_figures(rows: Sequence[DerivedField]) -> list[Figure]:
    """The mean absolute error over fields, and the share of fields whose interval covers the truth."""
    figures = []
    for name in dict.fromkeys(row.name for row in rows):
        ours = [row for row in rows if row.name == name]
        figures.append(_mean(f"{name}{ERROR}", [abs(row.value - row.true) for row in ours]))
        covered = [float(row.ci95[0] <= row.true <= row.ci95[1]) for row in ours]
        figures.append(_mean(f"{name}{COVERED}", covered))
    return figures


def how_derived(metric: str) -> str:
    """What a figure of a measurement counts."""
    if metric.endswith(COVERED):
        return "share of fields whose interval holds the value by the masks"
    return "mean over fields of the absolute difference of the values predicted and by the masks"


def _derived(measurement: DerivedMeasurement, one: FieldPrediction, view: ModelView) -> DerivedField | None:
    formula = parse_formula(measurement.formula, [cls.name for cls in view.classes])
    if min(one.predicted.shape[1:]) < view.core_px // view.patch_px:
        return None  # no whole tile to resample
    value, true = (_of_field(formula, maps, view) for maps in (one.predicted, one.true))
    low, high = _interval(formula, one, view)
    if not np.isfinite([value, true, low, high]).all():
        return None
    return DerivedField(
        name=measurement.name,
        field=one.field.name,
        value=round(value, DIGITS),
        ci95=(round(low, DIGITS), round(high, DIGITS)),
        true=round(true, DIGITS),
    )


def _of_field(formula: Formula, maps: np.ndarray, view: ModelView) -> float:
    means = maps.astype(np.float64).mean(axis=(1, 2))
    fractions = {one.name: means[number : number + 1] for number, one in enumerate(view.classes)}
    return float(formula(fractions)[0])


def _interval(formula: Formula, one: FieldPrediction, view: ModelView) -> tuple[float, float]:
    """As a read gives it: the field's tiles are resampled, those at its border with what they hold."""
    covered, sizes = _tile_sums(one.predicted.astype(np.float64), view.core_px // view.patch_px)
    tiles = sizes.size
    drawn = np.random.default_rng(SEED).multinomial(tiles, np.full(tiles, 1 / tiles), size=RESAMPLES)
    fractions = covered @ drawn.T / (drawn @ sizes)
    values = formula({cls.name: fractions[number] for number, cls in enumerate(view.classes)})
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _tile_sums(maps: Values, side: int) -> tuple[Values, Values]:
    """Covered patches a class and tile (C, tiles), and patches a tile (tiles,)."""
    rows, columns = (np.arange(0, length, side) for length in maps.shape[1:])
    covered = np.add.reduceat(np.add.reduceat(maps, rows, axis=1), columns, axis=2)
    heights, widths = (
        np.diff([*starts, length]) for starts, length in zip((rows, columns), maps.shape[1:], strict=True)
    )
    return covered.reshape(len(maps), -1), np.outer(heights, widths).ravel().astype(np.float64)


def _mean(metric: str, values: Sequence[float]) -> Figure:
    found = over_resamples(mean_of_resample([np.array([value]) for value in values]), len(values))
    ends = (round(found.low, DIGITS), round(found.high, DIGITS))
    return Figure(
        metric=metric, code="", value=round(found.value, DIGITS), ci95=ends, n=len(values), n_of="fields"
    )
