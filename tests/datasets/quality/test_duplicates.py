"""A place that was taken again is told; neighbouring sections of one block are not."""

import numpy as np
import pytest

from ultraread.datasets.quality.duplicates import Print, duplicates, likeness, print_of
from ultraread.datasets.quality.evaluation.laid import Floats
from ultraread.datasets.quality.evaluation.trials import AGAIN, as_8_bit, field, field_paths


def _print(grey: Floats) -> Print:
    return print_of(grey.astype(np.uint8))


@pytest.mark.parametrize("again", AGAIN)
def test_a_place_that_is_taken_again_is_a_duplicate(again: str, vnc: Floats) -> None:
    assert duplicates([_print(vnc), _print(AGAIN[again](vnc))]) == [1]


def test_neighbouring_sections_are_no_duplicates() -> None:
    sections = field_paths(("drosophila_vnc/stack1/raw", ""))[:4]
    prints = [_print(as_8_bit(*field(path))) for path in sections]
    assert duplicates(prints) == []


def test_the_first_of_three_stays() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (300, 400)).astype(np.uint8)
    one = print_of(picture)
    assert duplicates([one, one, one]) == [1, 2]


def test_a_blank_picture_is_like_nothing() -> None:
    blank = print_of(np.zeros((100, 100), np.uint8))
    assert likeness(blank, blank) == pytest.approx(0.0)
    assert duplicates([blank, blank]) == []
