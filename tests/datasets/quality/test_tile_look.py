"""What is kept of a tile: by patch, by line, and of the stored grid."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultraread.datasets.quality.tile_look import (
    empty_looks,
    grid_steps,
    line_steps,
    look_at_tile,
    patch_side,
    stored_range,
)

RANGE = stored_range(mean=100.0, std=20.0, bit_depth=8)


def test_patches_hold_mean_darkest_block_and_clipping() -> None:
    core = np.full((64, 64), 120, np.float32)
    core[:16, 16:32] = 255
    core[20:24, 0:4] = 60
    looks = empty_looks(2, 4, 0)
    look_at_tile(looks, 1, core, 4, RANGE)
    assert looks.mean[1, 3, 3] == pytest.approx(1.0)
    assert looks.darkest[1, 1, 0] == pytest.approx(-2.0)
    assert looks.rough[1, 3, 3] == pytest.approx(0.0)
    assert looks.rough[1, 1, 0] > 0.5
    assert looks.clipped[1].tolist() == [[0, 255, 0, 0], *[[0] * 4] * 3]
    assert not looks.mean[0].any(), "another tile's row is left alone"


def test_a_step_between_rows_is_told_with_its_sign_and_columns_stay_quiet() -> None:
    core = np.random.default_rng(0).normal(100, 10, (64, 64)).astype(np.float32)
    core[37:] += 60
    steps, signs = line_steps(core, 0, 4)
    assert steps.argmax() == 2
    assert steps[2] > 3
    assert signs[2] > 0.9
    beside, beside_signs = line_steps(core, 1, 4)
    assert beside.max() < 2
    assert np.abs(beside_signs).max() < 0.6


@given(x=st.integers(0, 40), y=st.integers(0, 40))
def test_the_grid_of_a_jpeg_shows_at_its_phase_wherever_the_box_lies(x: int, y: int) -> None:
    blocks = np.random.default_rng(0).normal(0, 20, (20, 20)).repeat(8, axis=0).repeat(8, axis=1)
    picture = (100 + blocks + np.random.default_rng(1).normal(0, 2, (160, 160))).astype(np.float32)
    found = grid_steps(np.ascontiguousarray(picture[y : y + 100, x : x + 100]), x, y)
    assert found.argmax(axis=1).tolist() == [0, 0]
    assert (found[:, 0] > 1).all()


def test_what_is_too_small_for_a_grid_has_none() -> None:
    assert not grid_steps(np.ones((8, 8), np.float32), 0, 0).any()


@pytest.mark.parametrize(("core_px", "side"), [(224, 14), (256, 16), (350, 25), (64, 4), (7, 1), (13, 1)])
def test_patches_are_about_sixteen_pixels_and_divide_the_tile(core_px: int, side: int) -> None:
    assert patch_side(core_px) == side


def test_values_beyond_half_precision_do_not_overflow() -> None:
    looks = empty_looks(1, 4, 0)
    look_at_tile(looks, 0, np.full((64, 64), 1e9, np.float32), 4, stored_range(0.0, 1e-9, 32))
    assert np.isfinite(looks.mean).all()


@given(seed=st.integers(0, 999), axis=st.sampled_from([0, 1]), whole=st.booleans())
def test_lines_are_what_their_definition_says(seed: int, axis: int, whole: bool) -> None:
    """A part of a larger array, as of a tile with a margin; grey values are whole or lie between."""
    seen = np.random.default_rng(seed).normal(100, 5, (80, 80))
    core = (np.rint(seen) if whole else seen).astype(np.float32)[8:72, 8:72]
    across = np.diff(core, axis=axis).astype(np.float64)
    step, sign = np.abs(across).mean(axis=1 - axis), np.sign(across).mean(axis=1 - axis)
    ratios = np.concatenate([[1.0], step / np.median(step)]).reshape(4, 16)
    signs = np.abs(np.concatenate([[0.0], sign])).reshape(4, 16)
    steps, strongest = line_steps(core, axis, 4, alike=2**-10)
    np.testing.assert_allclose(steps, ratios.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(np.abs(strongest), signs.max(axis=1), atol=1e-6 if whole else 0.04)


def test_threads_that_look_at_once_see_what_one_sees() -> None:
    tiles = np.random.default_rng(0).normal(100, 20, (64, 64, 64)).astype(np.float32)
    one, many = empty_looks(64, 4, 0), empty_looks(64, 4, 0)
    for place, tile in enumerate(tiles):
        look_at_tile(one, place, tile, 4, RANGE)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda place: look_at_tile(many, place, tiles[place], 4, RANGE), range(64)))
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(many.arrays()[name], array)
