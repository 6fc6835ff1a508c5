"""Stored intensities as a screen shows them: 8 bit as it is, others through a window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ultraread.errors import ViewRequestInvalid
from ultraread.serving.viewing.display import (
    AS_IT_COMES,
    AS_STORED,
    AskedDisplay,
    Display,
    full_range,
    measured,
    shown,
)

ANY_FLOATS = arrays.arrays(np.float32, (4, 5), elements=st.floats(width=32))
WINDOWS = st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def test_eight_bit_is_shown_as_it_is_stored() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(shown(pixels, AS_STORED), pixels)


def test_a_window_spreads_its_intensities_over_black_to_white() -> None:
    pixels = np.array([[0, 1000, 2000, 3000, 4000]], np.uint16)
    assert shown(pixels, Display(1000, 3000)).tolist() == [[0, 0, 128, 255, 255]]
    assert shown(pixels, Display(1000, 3000, invert=True)).tolist() == [[255, 255, 128, 0, 0]]
    assert shown(pixels, Display(1000, 3000, gamma=2.0)).tolist() == [[0, 0, 180, 255, 255]]


def test_a_window_holds_for_eight_bit_and_colours_too() -> None:
    assert shown(np.array([[50, 100, 150]], np.uint8), Display(50, 150)).tolist() == [[0, 128, 255]]
    colours = np.full((2, 2, 3), (0, 32768, 65535), np.uint16)
    assert shown(colours, full_range(16))[0, 0].tolist() == [0, 128, 255]


@given(pixels=ANY_FLOATS, window=WINDOWS, gamma=st.floats(0.1, 10), invert=st.booleans())
def test_whatever_floats_hold_they_are_shown_and_what_has_no_value_is_black(
    pixels: np.ndarray, window: tuple[float, float], gamma: float, invert: bool
) -> None:
    made = shown(pixels, Display(*window, gamma=gamma, invert=invert))
    assert made.dtype == np.uint8
    assert (made[np.isnan(pixels)] == 0).all()
    assert (made[pixels < window[0]] == (255 if invert else 0)).all()


@given(pixels=ANY_FLOATS)
def test_a_measured_window_is_one_whatever_was_measured(pixels: np.ndarray) -> None:
    display = AS_IT_COMES.over(measured(pixels)) if np.isfinite(pixels).any() else measured(pixels)
    assert display.low < display.high


def test_a_few_hot_pixels_do_not_darken_the_rest() -> None:
    pixels = np.random.default_rng(0).normal(1000, 100, (200, 200)).astype(np.float32)
    pixels[0, :20] = 1e9
    display = measured(pixels)
    assert 700 < display.low < 800
    assert 1200 < display.high < 1300


def test_what_is_stated_takes_the_place_of_what_was_measured() -> None:
    asked = AskedDisplay(high=90.0, gamma=2.0)
    assert asked.over(Display(10, 50)) == Display(10, 90, 2.0)


@pytest.mark.parametrize("asked", [AskedDisplay(low=60.0), AskedDisplay(5.0, 5.0), AskedDisplay(gamma=0.0)])
def test_what_is_no_window_is_refused(asked: AskedDisplay) -> None:
    with pytest.raises(ViewRequestInvalid):
        asked.over(Display(10, 50))
