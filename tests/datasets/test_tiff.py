"""The TIFF reader gives the pixels that tifffile and tiffslide give, for every layout it takes."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simulated
import tifffile
from simulated import simulated_colours, simulated_tissue, write_pyramid, write_tiff
from tiffslide import TiffSlide as ReferenceSlide

from ultraread.datasets.corpora import fetch
from ultraread.datasets.geometry import BoxPx, SizePx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import Modality, Pixels, TileUnreadable
from ultraread.errors import (
    SlideCodecUnsupported,
    SlideOffsetInvalid,
    SlidePixelFormat,
    SlidePyramidInvalid,
    SlideTooLarge,
)

GREY = simulated_tissue(300, 200)
LAYOUTS: dict[str, dict[str, Any]] = {
    "uncompressed tiles": {},
    "deflate": {"compression": "deflate"},
    "deflate with predictor": {"compression": "deflate", "predictor": True},
    "LZW": {"compression": "lzw"},
    "zstd": {"compression": "zstd"},
    "JPEG": {"compression": "jpeg"},
    "JPEG 2000": {"compression": "jpeg2000"},
    "strips": {"tile": None, "rowsperstrip": 7},
    "strips, LZW": {"tile": None, "rowsperstrip": 32, "compression": "lzw"},
    "one strip": {"tile": None},
    "BigTIFF": {"bigtiff": True},
    "big-endian": {"byteorder": ">"},
    "big-endian strips": {"byteorder": ">", "tile": None, "rowsperstrip": 10},
}
BOXES = (BoxPx(0, 0, 300, 200), BoxPx(60, 50, 70, 80), BoxPx(299, 199, 1, 1), BoxPx(10, 0, 1, 200))


def _all_pixels(path: Path, image: int = 0, level: int = 0) -> Pixels:
    with open_slide(path) as slide:
        return slide.read_box(image, level, whole(slide.info.images[image].levels[level]))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "RGB"])
def test_boxes_hold_the_pixels_that_tifffile_reads(layout: str, kind: str, tmp_path: Path) -> None:
    if "JPEG" in layout and kind in ("uint16", "float32"):
        kind = "uint8"
    pixels = (
        simulated_colours(300, 200) if kind == "RGB" else GREY.astype(kind) * (3 if "8" not in kind else 1)
    )
    path = write_tiff(tmp_path / "slide.tif", pixels, **LAYOUTS[layout])
    expected = tifffile.imread(path)
    with open_slide(path) as slide:
        for box in BOXES:
            found = slide.read_box(0, 0, box)
            np.testing.assert_array_equal(found, expected[box.y : box.bottom, box.x : box.right])
            assert found.dtype == expected.dtype.newbyteorder("=")


@pytest.mark.parametrize("compression", [None, "jpeg", "deflate"])
@pytest.mark.parametrize("colour", [False, True])
def test_levels_of_a_pyramid_hold_the_pixels_that_tiffslide_reads(
    compression: str | None, colour: bool, tmp_path: Path
) -> None:
    """The reference for 8 bits only: it cuts deeper grey."""
    pixels = simulated_colours(640, 384) if colour else simulated_tissue(640, 384)
    path = write_pyramid(tmp_path / "slide.tif", pixels, levels=3, compression=compression)
    with open_slide(path) as slide, ReferenceSlide(path) as reference:
        (image,) = slide.info.images
        assert image.levels == (SizePx(640, 384), SizePx(320, 192), SizePx(160, 96))
        assert [(size.width, size.height) for size in image.levels] == list(reference.level_dimensions)
        for level, size in enumerate(image.levels):
            box = BoxPx(size.width // 5, size.height // 3, size.width // 2, size.height // 2)
            start = (box.x * 2**level, box.y * 2**level)
            expected = np.asarray(reference.read_region(start, level, (box.width, box.height)))
            found = slide.read_box(0, level, box)
            np.testing.assert_array_equal(found, expected[..., :3] if colour else expected)


def test_a_real_field_is_read_pixel_by_pixel() -> None:
    path = fetch("nerve_myelin/raw/HPF4-483S1-4B-6500x-1.tif")
    np.testing.assert_array_equal(_all_pixels(path), tifffile.imread(path))


def test_min_is_white_is_inverted(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", GREY, photometric="miniswhite")
    np.testing.assert_array_equal(_all_pixels(path), 255 - GREY)


def test_each_page_of_a_plain_tiff_is_an_image(tmp_path: Path) -> None:
    pages = np.stack([simulated_tissue(100, 80, seed) for seed in range(3)])
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, pages, photometric="minisblack", tile=(64, 64), metadata=None)
    with open_slide(path) as slide:
        assert [image.index for image in slide.info.images] == [0, 1, 2]
    for number, page in enumerate(pages):
        np.testing.assert_array_equal(_all_pixels(path, number), page)


def test_pages_of_different_sizes_are_images_of_their_own_size(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as writer:
        for width in (90, 200):
            writer.write(simulated_tissue(width, 64), photometric="minisblack", metadata=None)
    with open_slide(path) as slide:
        assert [image.size.width for image in slide.info.images] == [90, 200]
    np.testing.assert_array_equal(_all_pixels(path, 1), simulated_tissue(200, 64))


def test_sixteen_bits_and_colour_are_described_as_they_are(tmp_path: Path) -> None:
    deep = write_tiff(tmp_path / "deep.tif", GREY.astype(np.uint16))
    colour = write_tiff(tmp_path / "colour.tif", simulated_colours(100, 100))
    with open_slide(deep) as slide, open_slide(colour) as photograph:
        assert (slide.info.images[0].bit_depth, slide.info.images[0].modality) == (16, Modality.TEM)
        assert photograph.info.images[0].samples_per_px == 3
        assert photograph.info.images[0].modality == Modality.SEMITHIN_LIGHT
        assert not slide.info.images[0].modality_is_stated


def test_double_precision_is_handed_on_as_single(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", GREY.astype(np.float64) / 7)
    np.testing.assert_allclose(_all_pixels(path), GREY / 7, rtol=1e-6)
    assert _all_pixels(path).dtype == np.float32


def test_a_damaged_tile_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", GREY, compression="zstd")
    simulated.damage_stored_tiles(path, [1])
    with open_slide(path) as slide:
        with pytest.raises(TileUnreadable, match="stored tile 1"):
            slide.read_box(0, 0, BoxPx(64, 0, 64, 64))
        np.testing.assert_array_equal(slide.read_box(0, 0, BoxPx(0, 0, 64, 64)), GREY[:64, :64])


def test_a_read_error_of_the_disk_is_one_unreadable_tile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiff(tmp_path / "slide.tif", GREY)
    with tifffile.TiffFile(path) as file:
        bad = file.pages.first.dataoffsets[1]
    pread = os.pread

    def failing(descriptor: int, count: int, offset: int) -> bytes:
        if offset == bad:
            raise OSError(errno.EIO, "Input/output error")
        return pread(descriptor, count, offset)

    monkeypatch.setattr("os.pread", failing)
    with open_slide(path) as slide:
        with pytest.raises(TileUnreadable, match="stored tile 1: Input/output error"):
            slide.read_box(0, 0, BoxPx(64, 0, 64, 64))
        np.testing.assert_array_equal(slide.read_box(0, 0, BoxPx(0, 0, 64, 64)), GREY[:64, :64])


def test_a_jpeg_tile_without_an_end_is_damage_and_not_grey_tissue(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", GREY, compression="jpeg")
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages.first.dataoffsets[0], file.pages.first.databytecounts[0]
    stored = bytearray(path.read_bytes())
    stored[offset + count // 2 : offset + count] = bytes(count - count // 2)
    path.write_bytes(bytes(stored))
    with open_slide(path) as slide, pytest.raises(TileUnreadable, match="no end"):
        slide.read_box(0, 0, BoxPx(0, 0, 64, 64))


def test_threads_read_one_slide_without_a_lock(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", GREY, compression="deflate")
    boxes = [BoxPx(x, y, 40, 40) for x in range(0, 260, 20) for y in range(0, 160, 20)]
    with open_slide(path) as slide, ThreadPoolExecutor(4) as pool:
        for box, found in zip(boxes, pool.map(lambda box: slide.read_box(0, 0, box), boxes), strict=True):
            np.testing.assert_array_equal(found, GREY[box.y : box.bottom, box.x : box.right])


def test_what_has_no_declared_meaning_is_refused(tmp_path: Path) -> None:
    complex_numbers = tmp_path / "complex.tif"
    tifffile.imwrite(complex_numbers, GREY.astype(np.complex64))
    planes = tmp_path / "planes.tif"
    tifffile.imwrite(planes, np.zeros((3, 64, 64), np.uint8), photometric="rgb", planarconfig="separate")
    for path in (complex_numbers, planes):
        with pytest.raises(SlidePixelFormat):
            open_slide(path)


def _with_tag(path: Path, tag: str, value: int) -> Path:
    write_tiff(path, GREY, compression="deflate")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags[tag].overwrite(value)
    return path


def test_headers_that_do_not_fit_their_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SlideCodecUnsupported):
        open_slide(_with_tag(tmp_path / "codec.tif", "Compression", 34661))
    with pytest.raises(SlideOffsetInvalid, match="20 stored tiles listed"):
        open_slide(_with_tag(tmp_path / "short.tif", "ImageLength", 20_000))
    with pytest.raises(SlideTooLarge):
        open_slide(_with_tag(tmp_path / "tile.tif", "TileWidth", 1_600_000 // 16 * 16))


@pytest.mark.parametrize("level", [GREY[:100, :64], GREY[::2, ::2].astype(np.uint16), GREY.repeat(2, axis=0)])
def test_levels_that_are_not_the_same_picture_are_refused(level: simulated.Array, tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tif"
    stored: dict[str, Any] = {"tile": (64, 64), "photometric": "minisblack"}
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(GREY, subifds=1, metadata={"axes": "YX"}, **stored)
        writer.write(level, subfiletype=1, **stored)
    with pytest.raises(SlidePyramidInvalid):
        open_slide(path)
