"""Figures of a model on whole data sets: by class with intervals, and how many tiles look strange to it."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ultraread.datasets.manifest import LabelledField, Manifest
from ultraread.models.card import DerivedMeasurement
from ultraread.models.evaluation import FieldFigure, Figure, SetFigures
from ultraread.training.class_maps import PATCH_POSITIVE_FRACTION, maps_by_field
from ultraread.training.derived import derived_fields, derived_figures
from ultraread.training.fields import load_field
from ultraread.training.figures import DIGITS, class_figures
from ultraread.training.metrics import auc, mean_of_resample, over_resamples
from ultraread.training.model_view import ModelView
from ultraread.training.predict import FieldPrediction, Score, predict_field
from ultraread.training.thresholds import Limits

STRANGE = "out_of_domain_flagged"


def predict_set(score: Score, fields: Sequence[LabelledField], view: ModelView) -> list[FieldPrediction]:
    """Score fields one after the other: only one of them is in memory."""
    return [predict_field(score, load_field(one, view), view) for one in fields]


def set_figures(
    manifest: Manifest,
    predictions: Sequence[FieldPrediction],
    view: ModelView,
    limits: Mapping[str, Limits],
    strange_above: float | None,
    seen_in_training: bool,
    measurements: Sequence[DerivedMeasurement] = (),
) -> SetFigures:
    """Every figure of every class that the data set labels; intervals from resampling its fields."""
    figures = [
        figure
        for number, one in enumerate(view.classes)
        if (maps := maps_by_field(predictions, view, number)) is not None
        for figure in class_figures(maps, view, limits[one.code].present if one.code in limits else None)
    ]
    if strange_above is not None:
        figures.append(strange_figure(predictions, strange_above))
    derived = derived_fields(measurements, predictions, view)
    figures += derived_figures(derived)
    return SetFigures(
        dataset=manifest.name,
        manifest_sha256=manifest.sha256,
        specimens=tuple(sorted({one.field.specimen for one in predictions})),
        laboratories=tuple(sorted({one.field.laboratory for one in predictions})),
        fields=len(predictions),
        seen_in_training=seen_in_training,
        figures=tuple(figures),
        by_field=tuple(field_figures(predictions, view)),
        derived=tuple(derived),
    )


def field_figures(predictions: Sequence[FieldPrediction], view: ModelView) -> Iterator[FieldFigure]:
    """AUC of patches of each class on each field where some patches show it and others do not."""
    for one in predictions:
        for number, known in enumerate(one.known):
            positive = one.true[number].ravel() >= PATCH_POSITIVE_FRACTION
            value = auc(one.predicted[number].ravel().astype(np.float64), positive) if known else np.nan
            if np.isfinite(value):
                code = view.codes[number]
                yield FieldFigure(
                    field=one.field.name, metric="auc_patch", code=code, value=round(value, DIGITS)
                )


def strange_figure(predictions: Sequence[FieldPrediction], above: float) -> Figure:
    """The share of tiles that are flagged as out of domain."""
    flagged = [(one.strangeness > above).astype(np.float64) for one in predictions]
    found = over_resamples(mean_of_resample(flagged), len(flagged))
    ends = (round(found.low, 5), round(found.high, 5))
    return Figure(
        metric=STRANGE, code="", value=round(found.value, 5), ci95=ends, n=len(flagged), n_of="fields"
    )
