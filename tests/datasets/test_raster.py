"""PNG and JPEG are read by their bytes, with every bit that they hold, or refused."""

import os
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import simulated
from PIL import Image, PngImagePlugin
from simulated import simulated_colours, simulated_tissue

from ultraread.datasets.geometry import BoxPx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import Pixels
from ultraread.errors import SlidePixelFormat, SlideTooLarge, SlideTruncated, SlideTypeMismatch

GREY = simulated_tissue(300, 200)


def _all_pixels(path: Path) -> Pixels:
    with open_slide(path) as slide:
        return slide.read_box(0, 0, whole(slide.info.images[0].size))


@pytest.mark.parametrize(
    "pixels", [GREY, GREY.astype(np.uint16) * 257, simulated_colours(300, 200)], ids=["8", "16", "RGB"]
)
def test_png_keeps_every_bit(pixels: simulated.Array, tmp_path: Path) -> None:
    path = simulated.write_png(tmp_path / "slide.png", pixels)
    np.testing.assert_array_equal(_all_pixels(path), pixels)
    with open_slide(path) as slide:
        assert slide.info.format == "png"
        assert slide.info.images[0].bit_depth == 8 * pixels.itemsize
        np.testing.assert_array_equal(slide.read_box(0, 0, BoxPx(9, 8, 7, 6)), pixels[8:14, 9:16])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_alpha_that_hides_nothing_is_dropped_and_any_other_refused(kind: type, tmp_path: Path) -> None:
    colours = simulated_colours(60, 40).astype(kind)
    alpha = np.full((40, 60), np.iinfo(kind).max, kind)
    path = simulated.write_png(tmp_path / "slide.png", np.dstack([colours, alpha]))
    np.testing.assert_array_equal(_all_pixels(path), colours)
    alpha[0, 0] -= 1
    for pixels in (np.dstack([colours, alpha]), np.dstack([colours[..., 0], alpha])):
        with pytest.raises(SlidePixelFormat, match="transparent"):
            open_slide(simulated.write_png(path, pixels))


def test_a_colour_that_a_png_declares_transparent_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slide.png"
    Image.fromarray(GREY).save(path, transparency=int(GREY[0, 0]))
    with pytest.raises(SlidePixelFormat, match="transparent"):
        open_slide(path)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_picture_that_is_stored_turned_or_mirrored_is_refused(kind: str, tmp_path: Path) -> None:
    path, exif = tmp_path / f"slide.{kind}", Image.Exif()
    for orientation in (2, 6, 8):
        exif[274] = orientation
        Image.fromarray(GREY).save(path, exif=exif)
        with pytest.raises(SlidePixelFormat, match=f"orientation {orientation}"):
            open_slide(path)
    exif[274] = 1
    Image.fromarray(GREY).save(path, exif=exif)
    assert _all_pixels(path).shape == GREY.shape


def test_texts_are_found_beside_damaged_exif(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "SIMULATED OPERATOR")
    Image.fromarray(GREY).save(tmp_path / "slide.png", pnginfo=texts, exif=b"no EXIF at all")
    Image.fromarray(GREY).save(
        tmp_path / "slide.jpg", comment="SIMULATED OPERATOR", exif=b"Exif\0\0no EXIF at all"
    )
    for path in tmp_path.iterdir():
        with open_slide(path) as slide:
            assert "SIMULATED OPERATOR" in {tag.value for tag in slide.info.tags}


def test_jpeg_holds_what_other_decoders_find_in_it(tmp_path: Path) -> None:
    path = simulated.write_jpeg(tmp_path / "slide.jpg", GREY)
    found = _all_pixels(path).astype(int)
    assert np.abs(found - np.asarray(Image.open(path), int)).max() <= 1


def test_inks_of_a_jpeg_are_refused(tmp_path: Path) -> None:
    inks = np.stack([GREY] * 4, axis=2)
    path = tmp_path / "inks.jpg"
    path.write_bytes(imagecodecs.jpeg_encode(inks, colorspace="CMYK", outcolorspace="CMYK"))
    with pytest.raises(SlidePixelFormat, match="4 samples"):
        open_slide(path)


def test_the_name_of_a_file_does_not_matter(tmp_path: Path) -> None:
    path = simulated.write_png(tmp_path / "slide.tif", GREY)
    with open_slide(path) as slide:
        assert slide.info.format == "png"


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_file_that_was_cut_off_is_refused(kind: str, keep: float, tmp_path: Path) -> None:
    write = simulated.write_png if kind == "png" else simulated.write_jpeg
    path = simulated.cut_off(write(tmp_path / f"slide.{kind}", GREY), keep)
    with pytest.raises(SlideTruncated):
        open_slide(path)


def test_a_jpeg_with_a_thumbnail_in_its_header_is_still_seen_to_be_cut_off(tmp_path: Path) -> None:
    thumbnail = imagecodecs.jpeg_encode(GREY[:64, :64])
    whole_jpeg = imagecodecs.jpeg_encode(GREY)
    length = (len(thumbnail) + 2).to_bytes(2, "big")
    path = tmp_path / "slide.jpg"
    path.write_bytes(whole_jpeg[:2] + b"\xff\xe2" + length + thumbnail + whole_jpeg[2:])
    assert _all_pixels(path).shape == (200, 300)
    simulated.cut_off(path, 0.8)
    with pytest.raises(SlideTruncated):
        open_slide(path)


@pytest.mark.parametrize("content", [b"\x89PNG", b"\xff\xd8\xff", b"GIF89a\x01\x00", b"BM\0\0\0\0"])
def test_a_few_first_bytes_are_no_image(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "slide.png"
    path.write_bytes(content)
    with pytest.raises((SlideTypeMismatch, SlideTruncated)):
        open_slide(path)


def test_a_file_far_longer_than_its_picture_is_refused_unread(tmp_path: Path) -> None:
    path = simulated.write_png(tmp_path / "slide.png", GREY)
    os.truncate(path, 2**30)
    with pytest.raises(SlideTooLarge):
        open_slide(path)
