"""Derived measurements of fields lie beside those by the masks, with the interval that a read gives."""

from dataclasses import replace

import numpy as np
import pytest
from made_maps import MITO

from ultraread.datasets.manifest import LabelledField
from ultraread.models.card import ClassOfModel, DerivedMeasurement
from ultraread.training.derived import derived_fields, derived_figures
from ultraread.training.fields import Field
from ultraread.training.model_view import ModelView
from ultraread.training.predict import FieldPrediction

AXON = ClassOfModel(code="UR-AXON", name="axon", label="Axon")
VIEW = ModelView((MITO, AXON), nm_per_px=4.6, tile_px=64, patch_px=16, batch_size=4, clip=4.0, margin_px=16)
RATIO = DerivedMeasurement(name="ratio", formula="axon / (axon + mitochondria)", unit="1", source="tests")


@pytest.fixture(scope="module")
def labelled(fields: list[Field]) -> LabelledField:
    return fields[0].labelled


def prediction(
    labelled: LabelledField, predicted: tuple[float, float], true: tuple[float, float], side: int = 8
) -> FieldPrediction:
    """A field whose every patch has these area fractions."""
    maps = [np.stack([np.full((side, side), one, np.float32) for one in pair]) for pair in (predicted, true)]
    return FieldPrediction(labelled, *maps, np.array([True, True]), np.zeros(1, np.float32))


def test_a_measurement_is_told_as_predicted_and_by_the_masks(labelled: LabelledField) -> None:
    (row,) = derived_fields([RATIO], [prediction(labelled, (0.3, 0.1), (0.2, 0.2))], VIEW)
    assert (row.name, row.field, row.value, row.true) == ("ratio", "00.png", 0.25, 0.5)
    assert row.ci95 == pytest.approx((0.25, 0.25)), "every tile says the same"


def test_its_interval_is_that_of_resampled_tiles(labelled: LabelledField) -> None:
    """Half of the sixteen tiles hold one class, half the other."""
    one = prediction(labelled, (0.4, 0.0), (0.2, 0.2))
    one.predicted[:, :, 4:] = one.predicted[::-1, :, :4]
    (row,) = derived_fields([RATIO], [one], VIEW)
    assert row.value == 0.5
    spread = 1.96 * (0.25 / 16) ** 0.5
    assert row.ci95 == pytest.approx((0.5 - spread, 0.5 + spread), abs=0.04)


def test_fields_that_do_not_label_every_class_or_leave_it_undefined_are_left_out(
    labelled: LabelledField,
) -> None:
    whole = prediction(labelled, (0.3, 0.1), (0.2, 0.2))
    partial = replace(whole, known=np.array([True, False]))
    undefined = prediction(labelled, (0.3, 0.1), (0.0, 0.0))
    with np.errstate(invalid="ignore"):
        assert derived_fields([RATIO], [partial, undefined], VIEW) == []


def test_a_field_smaller_than_a_tile_has_no_interval_and_is_left_out(labelled: LabelledField) -> None:
    assert derived_fields([RATIO], [prediction(labelled, (0.3, 0.1), (0.2, 0.2), side=1)], VIEW) == []


def test_figures_are_the_mean_error_and_the_share_of_intervals_that_hold_the_truth(
    labelled: LabelledField,
) -> None:
    right = prediction(labelled, (0.2, 0.2), (0.2, 0.2))
    wrong = prediction(labelled, (0.3, 0.1), (0.2, 0.2))
    error, covered = derived_figures(derived_fields([RATIO], [right, wrong], VIEW))
    assert (error.metric, error.value, error.n) == ("ratio_error", 0.125, 2)
    assert (covered.metric, covered.value) == ("ratio_covered", 0.5)
