"""Pictures of regions: the file's own pixels at their own scale, no seams, no aliasing, bounded."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from simulated import (
    damage_stored_tiles,
    simulated_colours,
    simulated_tissue,
    write_png,
    write_pyramid,
    write_tiff,
)

from ultraread.datasets.geometry import BoxPx, SizePx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import Pixels
from ultraread.errors import ViewTooLarge
from ultraread.serving.viewing import layers, region
from ultraread.serving.viewing.dzi import DeepZoom
from ultraread.serving.viewing.layers import (
    Layer,
    make_overview,
    overview_factor,
    overview_layer,
    stored_layers,
)
from ultraread.serving.viewing.region import Region, best_layer, picture_of, region_of


def layer_of(pixels: Pixels) -> Layer:
    """A layer of pixels in memory."""
    size = SizePx(pixels.shape[1], pixels.shape[0])
    return Layer(size, 1.0, 1.0, lambda box: pixels[box.y : box.bottom, box.x : box.right])


def assembled(made: list[tuple[Region, Pixels]], level: int, zoom: DeepZoom) -> NDArray[np.float32]:
    """A Deep Zoom level, put together of its tiles; what overlaps has to be equal."""
    size, step = zoom.level_size(level), 2 ** (zoom.last_level - level)
    sheet = np.full((size.height, size.width), np.nan, np.float32)
    for shown, pixels in made:
        x, y = round(shown.left / step), round(shown.top / step)
        there = sheet[y : y + shown.size.height, x : x + shown.size.width]
        assert pixels.shape == there.shape
        overlap = np.isfinite(there)
        assert np.allclose(there[overlap], pixels[overlap], atol=1), "a seam between tiles"
        there[...] = pixels
    assert np.isfinite(sheet).all(), "the tiles leave a gap"
    return sheet


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@settings(max_examples=15, deadline=None)
@given(width=st.integers(1, 700), height=st.integers(1, 600))
def test_the_tiles_of_every_level_cover_the_image_without_seams(
    dtype: type[np.generic], width: int, height: int
) -> None:
    pixels = simulated_tissue(width, height).astype(dtype)
    zoom, layer = DeepZoom(SizePx(width, height)), layer_of(pixels)
    for level in range(zoom.last_level + 1):
        columns, rows = zoom.tile_counts(level)
        tiles = [zoom.tile(level, column, row) for row in range(rows) for column in range(columns)]
        sheet = assembled([(tile, picture_of(layer, tile)) for tile in tiles], level, zoom)
        assert min(sheet.shape) < 8 or abs(sheet.mean() - pixels.mean()) < 25
    assert np.array_equal(sheet, pixels)


def test_a_fine_pattern_shrinks_to_its_mean_and_not_to_stripes() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (512, 256))
    for side in (100, 64, 33, 9):
        small = picture_of(layer_of(stripes), region_of(BoxPx(0, 0, 512, 512), SizePx(side, side)))
        difference = np.abs(small.astype(int) - 128)
        assert difference[:, 1:-1].max() <= 6
        assert difference.max() <= 20, "the last blocks may hold one stripe more"


def test_a_shrunk_picture_is_that_of_an_independent_resampling() -> None:
    pixels = simulated_tissue(900, 700)
    made = picture_of(layer_of(pixels), region_of(whole(SizePx(900, 700)), SizePx(90, 70)))
    plain = np.asarray(Image.fromarray(pixels).resize((90, 70), Image.Resampling.BILINEAR))
    difference = made.astype(int) - plain
    assert abs(difference.mean()) < 0.5
    assert np.abs(difference).mean() < 4


def test_the_smallest_level_that_is_fine_enough_is_taken(tmp_path: Path) -> None:
    pixels = simulated_tissue(1024, 1024)
    with open_slide(write_pyramid(tmp_path / "pyramid.tif", pixels, levels=3)) as slide:
        found = stored_layers(slide, slide.info.images[0])
        for side, across in ((1024, 1), (513, 1), (512, 2), (300, 2), (256, 4), (20, 4)):
            shown = region_of(whole(SizePx(1024, 1024)), SizePx(side, side))
            assert best_layer(found, shown).across == across


def test_values_that_are_not_finite_take_no_part() -> None:
    pixels = np.full((64, 64), 7, np.float32)
    pixels[::4, ::4] = np.nan
    pixels[1::4, 1::4] = np.inf
    pixels[:, 32:] = np.nan
    small = picture_of(layer_of(pixels), region_of(BoxPx(0, 0, 64, 64), SizePx(8, 8)))
    assert np.allclose(small[:, :3], 7)
    assert np.isnan(small[:, 5:]).all()


@pytest.mark.parametrize("colours", [False, True])
def test_a_damaged_stored_tile_leaves_a_hole_and_no_more(tmp_path: Path, colours: bool) -> None:
    pixels = simulated_colours(1024, 768) if colours else simulated_tissue(1024, 768)
    path = write_tiff(tmp_path / "damaged.tif", pixels, tile=(256, 256), compression="zlib")
    with open_slide(damage_stored_tiles(path, [5])) as slide:
        found = stored_layers(slide, slide.info.images[0])
        seen = picture_of(found[0], region_of(BoxPx(0, 0, 1024, 768), SizePx(1024, 768)))
    holes = np.isnan(seen)
    assert holes[256:512, 256:512].all()
    assert holes.sum() == 256 * 256 * (3 if colours else 1)
    assert np.array_equal(seen[~holes], pixels[~holes])


def test_a_plane_without_smaller_levels_gets_an_overview(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "OVERVIEW_SIDE_PX", 100)
    monkeypatch.setattr(layers, "CHUNK_PX", 5000)
    pixels = simulated_tissue(730, 410)
    with open_slide(write_png(tmp_path / "plain.png", pixels)) as slide:
        (full,) = stored_layers(slide, slide.info.images[0])
        factor = overview_factor(full.size)
        made = make_overview(full, factor)
    assert (factor, made.shape) == (8, (52, 92))
    blocks = pixels[:408, :728].reshape(51, 8, 91, 8).mean(axis=(1, 3))
    assert np.abs(made[:51, :91] - blocks).max() <= 0.51
    layer = overview_layer(full, factor, lambda: made)
    shown = region_of(whole(full.size), SizePx(73, 41))
    assert best_layer([full, layer], shown) is layer
    assert picture_of(layer, shown).shape == (41, 73)


def test_a_picture_that_needs_too_much_of_the_file_is_refused() -> None:
    size = SizePx(2**16, 2**16)

    def never(_box: BoxPx) -> Pixels:
        raise AssertionError("decoded")

    plane = Layer(size, 1.0, 1.0, never)
    with pytest.raises(ViewTooLarge):
        picture_of(plane, region_of(whole(size), SizePx(256, 256)))
    with pytest.raises(ViewTooLarge):
        make_overview(plane, 32)


def test_no_more_than_a_chunk_is_held_while_a_plane_is_reduced() -> None:
    largest = 0

    def read(box: BoxPx) -> Pixels:
        nonlocal largest
        largest = max(largest, box.area_px)
        return np.zeros((box.height, box.width), np.uint8)

    size = SizePx(8000, 8000)
    shown = region_of(whole(size), SizePx(100, 100))
    assert picture_of(Layer(size, 1.0, 1.0, read), shown).shape == (100, 100)
    assert largest <= layers.CHUNK_PX
    assert size.area_px <= region.MAX_DECODED_PX
