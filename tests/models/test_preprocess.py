"""Intensities reach the network in standard deviations of their image, whatever bit depth, offset, gain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultraread.models.card import FullRange, ImageMeanStd
from ultraread.models.preprocess import (
    Window,
    for_showing,
    full_range_window,
    measure_window,
    normalise,
    window_to_show,
)

FULL_RANGE = FullRange(rule="full_range")


def test_the_window_is_mean_and_standard_deviation_of_all_tiles_together() -> None:
    tiles = [np.array([[0, 2]], np.float32), np.array([[4, 6]], np.float32)]
    assert measure_window(tiles) == Window(3.0, 5.0**0.5)


@given(st.integers(0, 999))
def test_the_window_is_what_numpy_finds(seed: int) -> None:
    tiles = np.random.default_rng(seed).uniform(0, 65535, (5, 16, 16)).astype(np.float32)
    window = measure_window(iter(tiles))
    assert window.mean == pytest.approx(tiles.mean(dtype=np.float64))
    assert window.std == pytest.approx(tiles.std(dtype=np.float64))


def test_no_tile_and_constant_tiles_have_a_window_too() -> None:
    assert measure_window([]) == Window(0.0, 1.0)
    assert measure_window([np.full((8, 8), 7, np.float32)]) == Window(7.0, 0.0)


def test_normalised_tiles_are_in_standard_deviations_and_clipped() -> None:
    tiles = np.array([[[100, 120, 80, 1000, -1000]]], np.float32)
    found = normalise(tiles, Window(100, 20), clip=4.0)
    assert found.shape == (1, 1, 1, 5)
    assert found.dtype == np.float32
    assert found.ravel().tolist() == [0, 1, -1, 4, -4]


@given(gain=st.floats(0.1, 100), offset=st.floats(-1000, 1000))
def test_gain_and_offset_make_no_difference(gain: float, offset: float) -> None:
    tiles = np.random.default_rng(0).normal(128, 20, (2, 16, 16)).astype(np.float32)
    other = (tiles * gain + offset).astype(np.float32)
    one = normalise(tiles, measure_window(tiles), clip=4.0)
    np.testing.assert_allclose(normalise(other, measure_window(other), clip=4.0), one, atol=2e-3)


def test_a_constant_image_becomes_zeros_and_no_nan() -> None:
    tiles = np.full((1, 4, 4), 7, np.float32)
    assert not normalise(tiles, measure_window(tiles), clip=4.0).any()


def test_people_see_three_standard_deviations_to_either_side() -> None:
    grey = np.array([[40, 100, 160, 0, 999]], np.float32)
    assert for_showing(grey, Window(100, 20)).ravel().tolist() == [0, 128, 255, 0, 255]


@pytest.mark.parametrize(("bit_depth", "white"), [(8, 255), (16, 65535)])
def test_the_full_range_is_zero_to_one_and_is_shown_as_it_is(bit_depth: int, white: int) -> None:
    grey = np.array([[0, white // 2, white]], np.float32)
    window = full_range_window(bit_depth)
    network = normalise(grey[None], window, FULL_RANGE.clip)
    assert network.ravel() == pytest.approx(grey.ravel() / white)
    shown = for_showing(grey, window_to_show(window, FULL_RANGE))
    assert shown.ravel().tolist() == [0, 127, 255]


def test_what_is_in_standard_deviations_is_shown_by_its_own_window() -> None:
    rule = ImageMeanStd(rule="image_mean_std", sample_tiles=1, clip=4.0)
    assert window_to_show(Window(100, 20), rule) == Window(100, 20)
