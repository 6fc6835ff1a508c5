"""The figures of one class on one data set: each a function of how often a group was drawn."""

from collections.abc import Callable, Mapping

import numpy as np

from ultraread.models.evaluation import Figure
from ultraread.training.class_maps import SMALL_TILE_PX, ClassMaps
from ultraread.training.metrics import (
    Values,
    auc_of_resample,
    calibration_error_of_resample,
    dice_of_resample,
    f1_of_resample,
    mean_of_resample,
    over_resamples,
    precision_of_resample,
)
from ultraread.training.model_view import ModelView

OfResample = Callable[[Values], float]
DIGITS = 5

HOW = {
    "auc_tile": "AUC of squares of 128 px; score: mean of their patches",
    "auc_served_tile": "AUC of tiles as they are served, within their margin; score: mean of their patches",
    "auc_patch": "AUC of patches (tiles where there is no patch map); positive from half covered on",
    "average_precision": "average precision of patches, positive as above",
    "dice": "soft Dice of patch areas: twice the shared area over the sum of both",
    "f1": "F1 of served tiles called at the card's `present` limit",
    "ece_area": "expected calibration error of patches, 15 bins: score against area fraction",
    "ece_positive": "the same against being positive (at least half covered)",
    "brier": "mean squared difference of score and area fraction of patches",
    "area_fraction_predicted": "mean of all patches, 0 to 1",
    "area_fraction_true": "mean of the masks, 0 to 1",
    "area_fraction_difference_points": "predicted minus true, percentage points, over all fields",
    "area_error_points": "mean over fields of the absolute difference, percentage points",
}
"""What each figure says; a square is positive from the class's `positive_fraction` on."""


def class_figures(maps: ClassMaps, view: ModelView, present: float | None = None) -> list[Figure]:
    """Every figure that has a value, with its interval; F1 where the card's `present` limit is known.

    A ranking has no value where everything, or nothing, shows the class.
    """
    figures = figures_of_resample(maps, view, present)
    made = [_figure(name, figure, maps) for name, figure in figures.items()]
    return [one for one in made if np.isfinite([one.value, *one.ci95]).all()]


def figures_of_resample(
    maps: ClassMaps, view: ModelView, present: float | None = None
) -> Mapping[str, OfResample]:
    """Every figure by its name."""
    return {**_ranking(maps, view), **_overlap(maps, view, present), **_calibration(maps), **_areas(maps)}


def _ranking(maps: ClassMaps, view: ModelView) -> dict[str, OfResample]:
    squares = {"auc_tile": SMALL_TILE_PX, "auc_served_tile": view.core_px, "auc_patch": view.patch_px}
    patches = {
        name: side_px // view.patch_px
        for name, side_px in squares.items()
        if name == "auc_patch" or (side_px > view.patch_px and side_px % view.patch_px == 0)
    }
    return {name: auc_of_resample(maps.scored(side), maps.covered(side)) for name, side in patches.items()}


def _overlap(maps: ClassMaps, view: ModelView, present: float | None) -> dict[str, OfResample]:
    patches, side = maps.scored(), view.core_px // view.patch_px
    found = {
        "average_precision": precision_of_resample(patches, maps.covered(1)),
        "dice": dice_of_resample(patches),
    }
    if present is not None:
        found["f1"] = f1_of_resample(maps.scored(side), maps.covered(side), present)
    return found


def _calibration(maps: ClassMaps) -> dict[str, OfResample]:
    patches = maps.scored()
    positive = [one.astype(np.float64) for one in patches.positive(maps.covered(1))]
    squares = [(one - true) ** 2 for one, true in zip(patches.scores, patches.fractions, strict=True)]
    return {
        "ece_area": calibration_error_of_resample(patches.scores, patches.fractions),
        "ece_positive": calibration_error_of_resample(patches.scores, positive),
        "brier": mean_of_resample(squares),
    }


def _areas(maps: ClassMaps) -> dict[str, OfResample]:
    patches = maps.scored()
    points = [100 * (one - true) for one, true in zip(patches.scores, patches.fractions, strict=True)]
    return {
        "area_fraction_predicted": mean_of_resample(patches.scores),
        "area_fraction_true": mean_of_resample(patches.fractions),
        "area_fraction_difference_points": mean_of_resample(points),
        "area_error_points": mean_of_resample(_absolute_by_field(maps)),
    }


def _absolute_by_field(maps: ClassMaps) -> list[Values]:
    return [
        np.array([100 * abs(one.mean() - true.mean()) for one, true in zip(group, truth, strict=True)])
        for group, truth in zip(maps.predicted, maps.true, strict=True)
    ]


def _figure(name: str, figure: OfResample, maps: ClassMaps) -> Figure:
    groups = len(maps.predicted)
    estimate = over_resamples(figure, groups)
    return Figure(
        metric=name,
        code=maps.one.code,
        value=round(estimate.value, DIGITS),
        ci95=(round(estimate.low, DIGITS), round(estimate.high, DIGITS)),
        n=groups,
        n_of=maps.group_name,
    )
