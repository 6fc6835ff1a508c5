"""A negative is told from a positive where lines are thin; what is not sure is never refused."""

import numpy as np
import pytest

from ultraread.datasets.quality.contrast import Contrast, contrast_of
from ultraread.datasets.quality.evaluation.laid import Floats
from ultraread.datasets.quality.evaluation.measure import quality_of
from ultraread.datasets.quality.evaluation.trials import OTHERS, field, field_paths


def test_a_negative_is_told_and_its_positive_is_not(vnc: Floats) -> None:
    assert not quality_of(vnc)[1].is_inverted
    assert quality_of(255 - vnc)[1].is_inverted


@pytest.mark.parametrize("dataset", OTHERS)
def test_no_field_of_other_laboratories_is_refused(dataset: str) -> None:
    assert not any(quality_of(*field(path))[1].is_inverted for path in field_paths(OTHERS[dataset])[:2])


def test_myelin_is_broad_and_dark_and_no_negative(nerve: Floats) -> None:
    assert not quality_of(nerve)[1].is_inverted


def test_polarity_turns_round_with_the_picture(vnc: Floats) -> None:
    tiles = [np.ascontiguousarray(vnc[:224, :224]), np.ascontiguousarray(vnc[300:524, 300:524])]
    straight, turned = contrast_of(tiles), contrast_of([255 - tile for tile in tiles])
    assert straight.thin == pytest.approx(-turned.thin, abs=1e-3)
    assert straight.thick == pytest.approx(-turned.thick, abs=1e-3)
    assert straight.tail == pytest.approx(-turned.tail, abs=1e-3)


def test_nothing_and_noise_are_no_negatives() -> None:
    noise = np.random.default_rng(0).normal(100, 20, (224, 224)).astype(np.float32)
    assert contrast_of([]) == Contrast(0.0, 0.0, 0.0)
    assert not contrast_of([noise]).is_inverted
    assert not contrast_of([np.zeros((224, 224), np.float32)]).is_inverted
