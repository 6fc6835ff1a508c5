"""Predictions of fields become the maps of one class, grouped as they are resampled."""

from dataclasses import replace

import numpy as np
import pytest

from ultraread.training.class_maps import PATCH_POSITIVE_FRACTION, maps_by_field, maps_by_run
from ultraread.training.config import TrainingConfig
from ultraread.training.fields import Field
from ultraread.training.model_view import ModelView, view_of_recipe
from ultraread.training.predict import FieldPrediction


@pytest.fixture(scope="module")
def view(tiny: TrainingConfig) -> ModelView:
    return view_of_recipe(tiny)


@pytest.fixture(scope="module")
def predictions(fields: list[Field]) -> list[FieldPrediction]:
    """Field n scores n / 10 + class / 100 everywhere; the last one labels no synapses."""
    made = [
        FieldPrediction(
            field=field.labelled,
            predicted=np.stack([np.full((4, 4), n / 10 + c / 100, np.float32) for c in range(3)]),
            true=np.zeros((3, 4, 4), np.float32),
            known=np.array([True, True, True]),
            strangeness=np.zeros(1, np.float32),
        )
        for n, field in enumerate(fields)
    ]
    return [*made[:-1], replace(made[-1], known=np.array([True, False, True]))]


def test_each_field_that_labels_the_class_is_a_group(
    predictions: list[FieldPrediction], view: ModelView
) -> None:
    maps = maps_by_field(predictions, view, 1)
    assert maps is not None
    assert (maps.one.code, maps.fields, maps.group_name) == ("UR-SYN", 5, "fields")
    assert [float(group[0][0, 0]) for group in maps.predicted] == pytest.approx(
        [0.01, 0.11, 0.21, 0.31, 0.41]
    )


def test_runs_of_neighbouring_sections_are_groups(
    predictions: list[FieldPrediction], view: ModelView
) -> None:
    maps = maps_by_run(predictions, view, 0, [(0, 1, 2), (3, 4, 5)])
    assert maps is not None
    assert [len(group) for group in maps.predicted] == [3, 3]
    assert maps.group_name == "section runs"
    scored = maps.scored(patches=4)
    assert scored.scores[1].tolist() == pytest.approx([0.3, 0.4, 0.5])


def test_a_class_that_no_field_labels_has_no_maps(
    predictions: list[FieldPrediction], view: ModelView
) -> None:
    assert maps_by_field(predictions[-1:], view, 1) is None
    assert maps_by_run(predictions[-1:], view, 1, [(0,)]) is None


def test_a_patch_is_positive_when_half_covered_and_a_tile_as_the_class_says(
    predictions: list[FieldPrediction], view: ModelView
) -> None:
    maps = maps_by_field(predictions, view, 2)
    assert maps is not None
    assert (maps.covered(1), maps.covered(8)) == (PATCH_POSITIVE_FRACTION, 0.2)
