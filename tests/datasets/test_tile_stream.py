"""Tiles arrive at the model's pixel size, without new edges, never more than a few ahead of their user."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simulated
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from simulated import simulated_tissue, write_pyramid, write_tiff
from strategies import ZOOMS

from ultraread.datasets.geometry import BoxPx, SizePx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import ImageInfo, Modality, Pixels
from ultraread.datasets.tile_plan import TilePlan
from ultraread.datasets.tile_stream import (
    TilePixels,
    TileReader,
    as_grey,
    best_level,
    block_means,
    is_blank,
    pad_reflect,
    resample,
    stream,
)
from ultraread.errors import NonFinitePixels

RAMP = np.broadcast_to(np.arange(200, dtype=np.float32), (120, 200))
Grey = NDArray[np.float32]


def _box_of(pixels: Pixels, box: BoxPx) -> Pixels:
    return pixels[box.y : box.bottom, box.x : box.right]


def _resampled(pixels: Grey, edges: tuple[float, float, float, float], width: int, height: int) -> Grey:
    return resample(lambda box: _box_of(pixels, box), edges, BoxPx(0, 0, width, height))


@given(zoom=ZOOMS, start=st.floats(0, 40))
def test_a_linear_ramp_stays_a_linear_ramp(zoom: float, start: float) -> None:
    """Away from the outermost pixels, whose filter has one side only; to a seventh of a pixel, as the
    triangle filter takes its weights at pixel centres."""
    width, height = 60, 20
    found = _resampled(RAMP, (start, 5.0, start + width * zoom, 5.0 + height * zoom), width, height)
    expected = start + (np.arange(width) + 0.5) * zoom - 0.5
    rim = 2 if zoom >= 1 else int(np.ceil(1 / zoom)) + 1
    np.testing.assert_allclose(found[height // 2, rim:-rim], expected[rim:-rim], atol=1 / 7)


@given(seed=st.integers(0, 99), factor=st.sampled_from([2, 3, 4]))
def test_shrinking_keeps_the_mean(seed: int, factor: int) -> None:
    noise = np.random.default_rng(seed).uniform(0, 255, (96, 96)).astype(np.float32)
    found = _resampled(noise, (0, 0, 96, 96), 96 // factor, 96 // factor)
    assert found.mean() == pytest.approx(noise.mean(), abs=4)
    assert found.std() < noise.std()


def test_at_zoom_one_pixels_pass_unchanged() -> None:
    tissue = simulated_tissue(100, 100).astype(np.float32)
    found = _resampled(tissue, (13, 7, 77, 71), 64, 64)
    np.testing.assert_array_equal(found, tissue[7:71, 13:77])


def test_almost_zoom_one_is_resampled_all_the_same() -> None:
    """64 model pixels over 63.4 pixels are not the 64 pixels around them."""
    found = _resampled(RAMP, (10.0, 0.0, 10 + 64 * 0.99, 64 * 0.99), 64, 64)
    np.testing.assert_allclose(found[20, 2:-2], 10 + (np.arange(2, 62) + 0.5) * 0.99 - 0.5, atol=0.1)


def test_padding_reflects_the_tissue() -> None:
    grey = np.arange(12, dtype=np.float32).reshape(3, 4)
    padded = pad_reflect(grey, 5)
    np.testing.assert_array_equal(padded[:3, :4], grey)
    np.testing.assert_array_equal(padded[:, 4], padded[:, 2])
    np.testing.assert_array_equal(padded[3], padded[1])
    assert pad_reflect(grey[:1, :], 5).shape == (5, 5)


@pytest.mark.parametrize("bit_depth", [8, 16, 32])
def test_constant_tiles_are_blank_and_tissue_is_not(bit_depth: int) -> None:
    tissue = simulated_tissue(64, 64).astype(np.float32)
    assert is_blank(np.full((64, 64), 7, np.float32), bit_depth)
    assert not is_blank(tissue, bit_depth)
    noise = np.random.default_rng(0).normal(128, 3, (64, 64)).astype(np.float32)
    assert is_blank(noise, bit_depth) == (bit_depth == 8), (
        "of others the range is unknown: only constant is blank"
    )


def test_grey_is_the_mean_of_the_channels() -> None:
    rgb = np.array([[[0, 60, 120], [9, 9, 9]]], np.uint8)
    np.testing.assert_array_equal(as_grey(rgb), [[60, 9]])


def test_block_means_take_whole_blocks() -> None:
    means = block_means(np.arange(30, dtype=np.float32).reshape(5, 6), 2)
    np.testing.assert_array_equal(means, [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]])


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_than_ahead_tiles_are_in_flight(ahead: int) -> None:
    lock, started, taken, most = threading.Lock(), 0, 0, 0

    def read(item: int) -> int:
        nonlocal started, most
        with lock:
            started += 1
            most = max(most, started - taken)
        time.sleep(0.001)
        return item

    with ThreadPoolExecutor(8) as pool:
        for place, item in enumerate(stream(read, range(40), pool, ahead)):
            assert item == place
            time.sleep(0.002 if place < 10 else 0)
            with lock:
                taken += 1
    assert taken == started == 40
    assert 1 <= most <= ahead


def test_a_stream_that_is_left_early_reads_no_further() -> None:
    seen: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        for item in stream(seen.append, range(1000), pool, ahead=3):
            assert item is None
            break
    assert 1 <= len(seen) <= 3


LEVELS = ImageInfo(
    0, (SizePx(4096, 2048), SizePx(2048, 1024), SizePx(512, 256)), 8, 1, Modality.TEM, False, ()
)


@pytest.mark.parametrize(("zoom", "level"), [(0.5, 0), (1, 0), (1.9, 0), (2, 1), (7.9, 1), (8, 2), (40, 2)])
def test_the_smallest_level_with_enough_resolution_is_read(zoom: float, level: int) -> None:
    assert best_level(LEVELS, zoom) == level


def _tiles(path: Path, zoom: float, tile_px: int = 64) -> list[TilePixels]:
    with open_slide(path) as slide:
        plan = TilePlan(0, whole(slide.info.images[0].size), zoom, tile_px, 128)
        return [TileReader(slide, plan)(tile) for tile in plan.tiles()]


def test_a_level_of_the_pyramid_gives_the_tiles_that_shrinking_gives(tmp_path: Path) -> None:
    pixels = simulated_tissue(512, 256)
    flat = _tiles(write_tiff(tmp_path / "flat.tif", pixels), zoom=2)
    pyramid = _tiles(write_pyramid(tmp_path / "pyramid.tif", pixels, levels=2), zoom=2)
    halves = simulated.halved(pixels)
    for one, other in zip(flat, pyramid, strict=True):
        box = one.tile.model_box
        assert one.tile == other.tile
        assert one.grey is not None
        assert other.grey is not None
        np.testing.assert_array_equal(other.grey, halves[box.y : box.bottom, box.x : box.right])
        assert np.abs(one.grey - other.grey).mean() < 8


def test_border_tiles_hold_their_pixels_and_then_their_reflection(tmp_path: Path) -> None:
    pixels = simulated_tissue(100, 70)
    for read in _tiles(write_tiff(tmp_path / "slide.tif", pixels), zoom=1):
        box = read.tile.box
        assert read.grey is not None
        assert read.grey.shape == (64, 64)
        inside = pixels[box.y : box.bottom, box.x : box.right]
        np.testing.assert_array_equal(read.grey[: box.height, : box.width], inside)


def test_what_cannot_be_decoded_is_a_failure_that_says_why(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", simulated_tissue(128, 128), compression="deflate")
    simulated.damage_stored_tiles(path, [2])
    failed = [read for read in _tiles(path, zoom=1) if read.grey is None]
    assert [(read.tile.box.x, read.tile.box.y) for read in failed] == [(0, 64)]
    assert failed[0].failure.startswith("stored tile 2")


def test_nan_ends_the_read_of_a_slide(tmp_path: Path) -> None:
    pixels = simulated_tissue(128, 128).astype(np.float32)
    pixels[100, 70] = np.nan
    with pytest.raises(NonFinitePixels, match="x=64, y=64"):
        _tiles(write_tiff(tmp_path / "slide.tif", pixels), zoom=1)


def test_a_margin_shows_what_lies_around_a_tile_and_reflections_beyond_the_image(tmp_path: Path) -> None:
    tissue = simulated_tissue(160, 128)
    plan = TilePlan(0, BoxPx(0, 0, 160, 128), 1.0, 64, 100, margin_px=16)
    reflected = np.pad(tissue.astype(np.float32), 64, mode="reflect")
    with open_slide(write_tiff(tmp_path / "slide.tif", tissue, 4.6)) as slide:
        read = TileReader(slide, plan)
        for tile in plan.tiles():
            x, y = 64 + tile.model_box.x - 16, 64 + tile.model_box.y - 16
            found = read(tile).grey
            assert found is not None
            inside = found[: 64 + 16 + tile.model_box.height - 48, : 64 + 16 + tile.model_box.width - 48]
            expected = reflected[y : y + inside.shape[0], x : x + inside.shape[1]]
            assert found.shape == (96, 96)
            np.testing.assert_array_equal(inside, expected)


def test_a_tile_is_blank_by_its_own_pixels_and_not_by_its_margin(tmp_path: Path) -> None:
    picture = simulated_tissue(192, 64)
    picture[:, 64:128] = 200
    plan = TilePlan(0, BoxPx(0, 0, 192, 64), 1.0, 64, 100, margin_px=16)
    with open_slide(write_tiff(tmp_path / "slide.tif", picture, 4.6)) as slide:
        read = TileReader(slide, plan)
        blank = {tile.model_box.x: read(tile).is_blank for tile in plan.tiles()}
    assert blank == {0: False, 64: True, 128: False}
