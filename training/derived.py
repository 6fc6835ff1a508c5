"""Derived measurements of fields, such as a g-ratio: predicted with an interval, and true by the masks."""

from collections.abc import Sequence

import numpy as np

from ultraread.models.card import DerivedMeasurement
from ultraread.models.evaluation import DerivedField, Figure
from ultraread.models.formula import Formula, parse_formula
from ultraread.training.figures import DIGITS
from ultraread.training.metrics import RESAMPLES, SEED, Values, mean_of_resample, over_resamples, pool_patches
from ultraread.training.model_view import ModelView
from ultraread.training.predict import FieldPrediction


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
        figures.append(_mean(f"{name}_error", [abs(row.value - row.true) for row in ours]))
        covered = [float(row.ci95[0] <= row.true <= row.ci95[1]) for row in ours]
        figures.append(_mean(f"{name}_covered", covered))
    return figures


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
    """As a read gives it: the field's tiles are resampled."""
    side = view.core_px // view.patch_px
    tiles: Values = pool_patches(one.predicted.astype(np.float64), side).reshape(len(view.classes), -1)
    drawn = np.random.default_rng(SEED).integers(tiles.shape[1], size=(RESAMPLES, tiles.shape[1]))
    means = tiles[:, drawn].mean(axis=2)
    values = formula({cls.name: means[number] for number, cls in enumerate(view.classes)})
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _mean(metric: str, values: Sequence[float]) -> Figure:
    found = over_resamples(mean_of_resample([np.array([value]) for value in values]), len(values))
    ends = (round(found.low, DIGITS), round(found.high, DIGITS))
    return Figure(
        metric=metric, code="", value=round(found.value, DIGITS), ci95=ends, n=len(values), n_of="fields"
    )
