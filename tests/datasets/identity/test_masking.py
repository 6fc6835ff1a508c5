"""Masks cover what they must at every level, and nothing else changes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.identity.masking import MASK_GREY, masked

MASK = BoxPx(10, 20, 30, 8)


@given(
    x=st.integers(0, 60),
    y=st.integers(0, 60),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
)
def test_a_tile_is_painted_where_the_mask_is_and_nowhere_else(
    x: int, y: int, width: int, height: int
) -> None:
    whole = np.zeros((100, 100), np.uint8)
    expected = whole.copy()
    expected[MASK.y : MASK.bottom, MASK.x : MASK.right] = MASK_GREY
    tile = masked(whole[y : y + height, x : x + width], BoxPx(x, y, width, height), [MASK])
    assert (tile == expected[y : y + height, x : x + width]).all()


@given(factor=st.sampled_from([2, 3, 4, 7, 16]), x=st.integers(0, 90), y=st.integers(0, 90))
def test_means_of_a_masked_place_do_not_show_at_any_level(factor: int, x: int, y: int) -> None:
    mask = BoxPx(x, y, 9, 5)
    whole = np.zeros((112 * factor, 112 * factor), np.float32)
    whole[mask.y : mask.bottom, mask.x : mask.right] = 255
    means = whole.reshape(112, factor, 112, factor).mean(axis=(1, 3))
    smaller = np.where(means > 0, 255, 0).astype(np.uint8)
    painted = masked(smaller, BoxPx(0, 0, 112, 112), [mask], factor)
    assert not (painted == 255).any()


def test_pixels_that_no_mask_touches_are_handed_on_as_they_are() -> None:
    pixels = np.zeros((5, 5), np.uint8)
    assert masked(pixels, BoxPx(50, 50, 5, 5), [MASK]) is pixels
    assert masked(pixels, BoxPx(0, 0, 5, 5), []) is pixels


def test_deep_pixels_take_a_value_of_their_own_range_and_colours_three() -> None:
    deep = np.full((40, 60), 20_000, np.uint16)
    deep[MASK.y : MASK.bottom, MASK.x : MASK.right] = 60_000
    assert (masked(deep, BoxPx(0, 0, 60, 40), [MASK]) == 20_000).all()
    colours = masked(np.zeros((40, 60, 3), np.uint8), BoxPx(0, 0, 60, 40), [MASK])
    assert (colours[MASK.y, MASK.x] == MASK_GREY).all()


def test_what_was_handed_in_is_not_written_to() -> None:
    pixels = np.zeros((40, 60), np.uint8)
    masked(pixels, BoxPx(0, 0, 60, 40), [MASK])
    assert not pixels.any()
