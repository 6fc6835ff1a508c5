"""Lines through a picture: sums along them are those that a loop gives, and their ends are where they lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultraread.datasets.quality.lines import drawn_line, line_sums, row_excess, straight_lines, through_lines


@given(seed=st.integers(0, 999), start=st.integers(-16, 15), slope=st.integers(0, 15))
def test_a_sum_is_that_of_a_line_of_pixels_of_its_slope(seed: int, start: int, slope: int) -> None:
    """Each column gives one pixel, between the rounded line and one row off it."""
    values = np.random.default_rng(seed).integers(0, 2, (16, 16)).astype(np.int16)
    columns = np.arange(16)
    ideal = start + slope * columns / 15
    near = [
        {int(values[row, column]) if 0 <= row < 16 else 0 for row in (int(np.floor(y)), int(np.ceil(y)))}
        for column, y in zip(columns, ideal, strict=True)
    ]
    found = int(line_sums(values)[start + 16, slope])
    assert sum(min(each) for each in near) - 3 <= found <= sum(max(each) for each in near) + 3


def test_all_lines_of_one_slope_hold_every_pixel_once() -> None:
    values = np.random.default_rng(0).integers(0, 9, (32, 32)).astype(np.int16)
    sums = line_sums(values)
    assert (sums.sum(axis=0)[0], sums.shape) == (values.sum(), (64, 32))


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 90, 110, 135, 160])
def test_a_scratch_is_found_where_it_lies(degrees: int) -> None:
    chance = np.random.default_rng(1)
    y, x = np.mgrid[0:700, 0:700]
    turn = np.deg2rad(degrees)
    distance = np.abs((x - 350) * np.sin(turn) - (y - 350) * np.cos(turn))
    picture = np.clip(128 + chance.normal(0, 30, (700, 700)) - 60 * (distance < 2), 0, 255).astype(np.uint8)
    score, ends = max(straight_lines(picture), key=lambda one: one[0])
    assert score > 15
    line = drawn_line(ends, 70, 70)
    true = distance[5::10, 5::10] < 10
    assert (line & true).sum() >= 0.8 * line.sum()


def test_a_line_that_steps_one_way_stands_out_and_noise_does_not() -> None:
    chance = np.random.default_rng(0)
    signs = chance.uniform(-0.4, 0.4, (64, 6)).astype(np.float32)
    steps = chance.uniform(1, 1.4, (64, 6)).astype(np.float32)
    assert not any(mask.any() for mask in through_lines(signs, steps))
    signs[20], steps[40] = 0.8, 3.0
    one_way, differing = through_lines(signs, steps)
    assert np.flatnonzero(one_way).tolist() == [20]
    assert np.flatnonzero(differing).tolist() == [40]


def test_a_picture_of_squares_has_no_seam() -> None:
    steps = np.full((64, 6), 8.0, np.float32)
    assert not through_lines(np.zeros((64, 6), np.float32), steps)[1].any()


def test_rows_that_scatter_unlike_columns_are_bands_and_a_wedge_is_none() -> None:
    chance = np.random.default_rng(0)
    mean = chance.normal(0, 1, (64, 64)).astype(np.float32)
    nothing = np.zeros(mean.shape, bool)
    wedge = mean + np.linspace(0, 20, 64, dtype=np.float32)[:, None]
    banded = mean + chance.normal(0, 1, 64).astype(np.float32)[:, None]
    seamless = nothing[0], nothing[0]
    assert max(row_excess(wedge, nothing, seamless)) < 3
    assert row_excess(banded, nothing, seamless)[0] > 10
    assert row_excess(banded.T, nothing, seamless)[1] > 10


def test_two_pictures_of_different_brightness_beside_each_other_are_no_bands() -> None:
    chance = np.random.default_rng(2)
    mean = chance.normal(0, 1, (64, 64)).astype(np.float32)
    mean[:, 30:] += 2
    nothing = np.zeros(mean.shape, bool)
    seam = np.arange(64) == 30
    assert row_excess(mean, nothing, (nothing[0], nothing[0]))[1] > 10
    assert max(row_excess(mean, nothing, (nothing[0], seam))) < 3
    banded = mean + chance.normal(0, 1, 64).astype(np.float32)
    assert row_excess(banded, nothing, (nothing[0], seam))[1] > 10, "bands beside a seam are still bands"
