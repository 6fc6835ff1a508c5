"""One class over the fields of a data set, sorted into the groups that a bootstrap resamples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ultraread.models.card import ClassOfModel
from ultraread.training.metrics import Scored, Values, pool_patches
from ultraread.training.model_view import ModelView
from ultraread.training.predict import FieldPrediction

PATCH_POSITIVE_FRACTION = 0.5
"""A patch is positive where the class covers at least half of it."""
SMALL_TILE_PX = 128
"""Tiles at which the project's targets are stated."""


@dataclass(frozen=True, slots=True)
class ClassMaps:
    """Patch maps (h, w) of one class: predicted and true, group by group, field by field."""

    one: ClassOfModel
    predicted: tuple[tuple[Values, ...], ...]
    true: tuple[tuple[Values, ...], ...]
    group_name: str

    @property
    def fields(self) -> int:
        return sum(len(group) for group in self.predicted)

    def scored(self, patches: int = 1) -> Scored:
        """Scores and true area fractions of squares of `patches` x `patches`, flat, one pair a group."""
        return Scored(_pooled(self.predicted, patches), _pooled(self.true, patches))

    def covered(self, patches: int) -> float:
        """The area fraction from which on a square of that size counts as showing the class."""
        return PATCH_POSITIVE_FRACTION if patches == 1 else self.one.positive_fraction


def maps_by_field(predictions: Sequence[FieldPrediction], view: ModelView, number: int) -> ClassMaps | None:
    """Maps of class `number` in the fields that label it, each field a group; None where none does."""
    labelled = [one for one in predictions if one.known[number]]
    return _maps([[one] for one in labelled], view, number, "fields") if labelled else None


def maps_by_run(
    predictions: Sequence[FieldPrediction], view: ModelView, number: int, runs: Sequence[Sequence[int]]
) -> ClassMaps | None:
    """The same with what was tested together as a group; `runs` are places of neighbouring sections.

    Sections of a run show the same cells.
    """
    tested = [[predictions[place] for place in run if predictions[place].known[number]] for run in runs]
    groups = [group for group in tested if group]
    return _maps(groups, view, number, "section runs") if groups else None


def _maps(
    groups: Sequence[Sequence[FieldPrediction]], view: ModelView, number: int, group_name: str
) -> ClassMaps:
    return ClassMaps(
        view.classes[number],
        tuple(tuple(one.predicted[number].astype(np.float64) for one in group) for group in groups),
        tuple(tuple(one.true[number].astype(np.float64) for one in group) for group in groups),
        group_name,
    )


def _pooled(groups: Sequence[Sequence[Values]], patches: int) -> list[Values]:
    return [np.concatenate([pool_patches(one, patches).ravel() for one in group]) for group in groups]
