"""Pictures from slides of every kind: the file's pixels, masks at every scale, one tag for the same bytes."""

import io
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from simulated import (
    damage_stored_tiles,
    simulated_colours,
    simulated_semithin,
    simulated_tissue,
    write_jpeg,
    write_ome_tiff,
    write_png,
    write_pyramid,
    write_semithin,
    write_svs,
    write_tiff,
)
from simulated_wide import write_dicom_slide, write_ome_zarr

from ultraread.datasets.corpora import fetch
from ultraread.datasets.geometry import BoxPx, SizePx, whole
from ultraread.datasets.identity.masking import MASK_GREY
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide_address import address_of
from ultraread.serving.viewing.display import AskedDisplay
from ultraread.serving.viewing.dzi import DeepZoom
from ultraread.serving.viewing.encode import Finish, PictureFormat
from ultraread.serving.viewing.region import Region, region_of
from ultraread.serving.viewing.viewer import MadePicture, Picture, ViewedImage, Viewer, fitting

PNG = Finish(PictureFormat.PNG)
TISSUE = simulated_tissue(500, 400)


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    opened = Viewer()
    yield opened
    opened.close()


def viewed(path: Path, masks: tuple[BoxPx, ...] = ()) -> ViewedImage:
    with open_slide(path) as slide:
        return ViewedImage(path.name, path.name, 0, slide.info.images[0].size, masks)


def pixels_of(made: MadePicture) -> NDArray[np.uint8]:
    assert made.is_whole
    return np.asarray(Image.open(io.BytesIO(made.file)))


def whole_at(image: ViewedImage, side_px: int) -> Region:
    return region_of(whole(image.size), fitting(image.size, side_px))


WRITTEN = {
    "tiff": lambda path: write_tiff(path, TISSUE),
    "strips": lambda path: write_tiff(path, TISSUE, tile=None, rowsperstrip=7, compression="zlib"),
    "pyramid": lambda path: write_pyramid(path, TISSUE, 3),
    "ome": lambda path: write_ome_tiff(path, TISSUE, 4.0),
    "png": lambda path: write_png(path, TISSUE),
    "ome_zarr": lambda path: write_ome_zarr(path, TISSUE, levels=2),
    "dicom": lambda path: write_dicom_slide(path, TISSUE),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_region_at_its_own_scale_has_the_pixels_of_the_file(
    tmp_path: Path, viewer: Viewer, kind: str
) -> None:
    path = WRITTEN[kind](tmp_path / "slide")
    image = viewed(path)
    picture = Picture(image, region_of(BoxPx(101, 57, 300, 310), SizePx(300, 310)), finish=PNG)
    made = pixels_of(viewer(picture, lambda: address_of(path)))
    assert np.array_equal(made, TISSUE[57:367, 101:401])


def test_a_semithin_section_is_shown_in_its_colours(tmp_path: Path, viewer: Viewer) -> None:
    colours = simulated_semithin(1024, 768)
    path = write_semithin(tmp_path / "semithin.tif", 1024, 768)
    image, zoom = viewed(path), DeepZoom(SizePx(1024, 768))
    exact = Picture(image, region_of(BoxPx(0, 0, 256, 256), SizePx(256, 256)), finish=PNG)
    assert pixels_of(viewer(exact, lambda: address_of(path))).shape == (256, 256, 3)
    tile = pixels_of(viewer(Picture(image, zoom.tile(8, 0, 0)), lambda: address_of(path)))
    assert tile.shape == (192, 255, 3)
    assert np.abs(tile.mean(axis=(0, 1)) - colours.mean(axis=(0, 1))).max() < 4
    grey = replace(exact, finish=Finish(PictureFormat.PNG, grey=True))
    assert pixels_of(viewer(grey, lambda: address_of(path))).ndim == 2


def test_a_scanner_s_slide_is_shown(tmp_path: Path, viewer: Viewer) -> None:
    colours = simulated_semithin(700, 500)
    path = write_svs(tmp_path / "glass.svs", colours)
    image = viewed(path)
    picture = Picture(image, region_of(BoxPx(0, 0, 700, 500), SizePx(700, 500)), finish=PNG)
    made = pixels_of(viewer(picture, lambda: address_of(path)))
    assert np.abs(made.astype(int) - colours).mean() < 8, "the JPEG of the file"


def test_a_jpeg_tile_is_close_to_the_file(tmp_path: Path, viewer: Viewer) -> None:
    smooth = np.asarray(Image.fromarray(TISSUE).resize((50, 40)).resize((500, 400)))
    path = write_jpeg(tmp_path / "field.jpg", smooth)
    image = viewed(path)
    tile = DeepZoom(image.size).tile(9, 0, 0)
    made = pixels_of(viewer(Picture(image, tile), lambda: address_of(path)))
    with open_slide(path) as slide:
        stored = slide.read_box(0, 0, BoxPx(0, 0, 255, 255))
    assert np.abs(made.astype(int) - stored).mean() < 2


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_pixels_are_shown_by_a_window_of_the_image_or_of_the_request(
    tmp_path: Path, viewer: Viewer, dtype: type[np.generic]
) -> None:
    ramp = np.tile(np.linspace(1000, 3000, 600), (400, 1)).astype(dtype)
    path = write_tiff(tmp_path / "deep.tif", ramp)
    image = viewed(path)
    picture = Picture(image, region_of(whole(image.size), image.size), finish=PNG)
    by_itself = pixels_of(viewer(picture, lambda: address_of(path)))
    assert (by_itself.min(), by_itself.max()) == (0, 255)
    stated = replace(picture, display=AskedDisplay(0.0, 4000.0))
    made = pixels_of(viewer(stated, lambda: address_of(path)))
    assert np.abs(made - np.rint(ramp.astype(float) * 255 / 4000)).max() <= 1
    inverted = replace(picture, display=AskedDisplay(0.0, 4000.0, invert=True))
    assert np.abs(pixels_of(viewer(inverted, lambda: address_of(path))).astype(int) + made - 255).max() <= 1


def test_values_that_are_no_numbers_are_black(tmp_path: Path, viewer: Viewer) -> None:
    pixels = TISSUE.astype(np.float32)
    pixels[:200, :200] = np.nan
    pixels[300:, 300:] = np.inf
    path = write_tiff(tmp_path / "float.tif", pixels)
    image = viewed(path)
    for level in range(10):
        tile = DeepZoom(image.size).tile(level, 0, 0)
        made = pixels_of(viewer(Picture(image, tile, finish=PNG), lambda: address_of(path)))
        assert level < 6 or (made[: 2 ** (level - 3), : 2 ** (level - 3)] == 0).all()
    nothing = write_tiff(tmp_path / "nan.tif", np.full((64, 64), np.nan, np.float32))
    image = viewed(nothing)
    made = pixels_of(viewer(Picture(image, whole_at(image, 64)), lambda: address_of(nothing)))
    assert made.max() == 0


def test_what_is_masked_is_painted_over_at_every_scale(tmp_path: Path, viewer: Viewer) -> None:
    dark = np.full((700, 900), 60, np.uint8)
    label = BoxPx(333, 411, 217, 61)
    dark[label.y : label.bottom, label.x : label.right] = 255
    path = write_pyramid(tmp_path / "labelled.tif", dark, 3)
    image = viewed(path, (label,))
    for side in (900, 899, 450, 301, 225, 100, 33, 10):
        region = whole_at(image, side)
        made = pixels_of(viewer(Picture(image, region, finish=PNG), lambda: address_of(path)))
        assert set(np.unique(made)) == {60, MASK_GREY}, f"the label shows at {side} px"
        hidden = (made == MASK_GREY).sum() * region.across * region.down
        assert hidden >= label.area_px
    zoom = DeepZoom(image.size)
    tiles = [
        zoom.tile(level, column, row)
        for level in range(zoom.last_level + 1)
        for column in range(zoom.tile_counts(level)[0])
        for row in range(zoom.tile_counts(level)[1])
    ]
    for tile in tiles:
        made = pixels_of(viewer(Picture(image, tile, finish=PNG), lambda: address_of(path)))
        assert set(np.unique(made)) <= {60, MASK_GREY}


def test_masks_are_painted_in_colours_too(tmp_path: Path, viewer: Viewer) -> None:
    path = write_tiff(tmp_path / "colours.tif", simulated_colours(200, 100))
    image = viewed(path, (BoxPx(10, 10, 50, 50),))
    made = pixels_of(viewer(Picture(image, whole_at(image, 200), finish=PNG), lambda: address_of(path)))
    assert (made[10:60, 10:60] == MASK_GREY).all()
    assert not (made[60:, 60:] == MASK_GREY).all(axis=2).any()


def test_a_large_plane_without_smaller_levels_is_shown_without_holding_it(
    tmp_path: Path, viewer: Viewer
) -> None:
    tile = simulated_tissue(1024, 1024).astype(np.uint16)
    path = write_tiff(tmp_path / "large.tif", np.tile(tile, (8, 8)), tile=(256, 256), compression="zstd")
    image = viewed(path)
    tracemalloc.start()
    made = pixels_of(viewer(Picture(image, whole_at(image, 256)), lambda: address_of(path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.shape == (256, 256)
    assert peak < 100 * 2**20 < 2 * image.size.area_px, "the cache of stored tiles, a band and the overview"


@pytest.mark.parametrize("turns", range(4))
def test_pictures_are_turned_clockwise(tmp_path: Path, viewer: Viewer, turns: int) -> None:
    path = write_png(tmp_path / "field.png", TISSUE)
    image = viewed(path)
    picture = Picture(
        image, region_of(whole(image.size), image.size), finish=Finish(PictureFormat.PNG, turns)
    )
    made = pixels_of(viewer(picture, lambda: address_of(path)))
    assert np.array_equal(made, np.rot90(TISSUE, 4 - turns))


def test_a_tag_belongs_to_what_decides_the_bytes_and_to_nothing_else() -> None:
    image = ViewedImage("s", "0" * 64, 0, SizePx(500, 400))
    picture = Picture(image, whole_at(image, 100))
    others = [
        replace(picture, region=whole_at(image, 101)),
        replace(picture, display=AskedDisplay(invert=True)),
        replace(picture, finish=PNG),
        replace(picture, image=replace(image, masks=(BoxPx(0, 0, 5, 5),))),
        replace(picture, image=replace(image, slide_sha256="1" * 64)),
        replace(picture, image=replace(image, index=1)),
    ]
    assert len({picture.etag, *(other.etag for other in others)}) == 7
    assert Picture(replace(image), whole_at(image, 100)).etag == picture.etag


def test_a_picture_is_made_once(tmp_path: Path, viewer: Viewer) -> None:
    path = write_png(tmp_path / "field.png", TISSUE)
    image = viewed(path)
    picture = Picture(image, whole_at(image, 100))
    first = viewer(picture, lambda: address_of(path))
    viewer.forget(image.slide_id)
    path.unlink()
    assert viewer(picture, lambda: address_of(path)) == first


def test_a_picture_with_a_hole_is_not_kept_and_whole_again_after_a_repair(
    tmp_path: Path, viewer: Viewer
) -> None:
    path = write_tiff(tmp_path / "slide.tif", TISSUE, tile=(256, 256), compression="zlib")
    sound = path.read_bytes()
    damage_stored_tiles(path, [0])
    image = viewed(path)
    picture = Picture(image, region_of(whole(image.size), image.size), finish=PNG)
    damaged = viewer(picture, lambda: address_of(path))
    assert not damaged.is_whole
    seen = np.asarray(Image.open(io.BytesIO(damaged.file)))
    assert (seen[:256, :256] == 0).all()
    assert np.array_equal(seen[256:], TISSUE[256:])
    repaired = tmp_path / "repaired"
    repaired.write_bytes(sound)
    repaired.replace(path)
    assert np.array_equal(pixels_of(viewer(picture, lambda: address_of(path))), TISSUE)


REAL = (
    "16_STOimage.emi",
    "Camera Ceta Imaging Micro.emd",
    "temp.mrc",
    "dmTest_float32_nonSquare_diffPixelSize.dm4",
)


@pytest.mark.parametrize("name", REAL)
def test_what_instruments_write_is_shown(viewer: Viewer, name: str) -> None:
    for other in {name, name.replace(".emi", "_1.ser")}:
        path = fetch(f"instrument_samples/{other}")
    path = path.with_name(name)
    image = viewed(path)
    made = pixels_of(viewer(Picture(image, whole_at(image, 128)), lambda: address_of(path)))
    assert max(made.shape) == min(128, max(image.size.width, image.size.height))
    assert made.std() > 20, "hardly anything can be seen"
