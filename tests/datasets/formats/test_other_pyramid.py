"""Scanners' pyramids: levels and scale of the specimen; label, macro and thumbnail are no images."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from simulated import simulated_colours, simulated_semithin, write_semithin, write_svs, write_tiff
from simulated_wide import write_leica
from tiffslide import TiffSlide as IndependentSlide

from ultraread.datasets.geometry import BoxPx, SizePx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import ScaleOrigin
from ultraread.datasets.slide import Modality, Slide, SlideFormat
from ultraread.errors import SlideDamaged

JPEG_STEP = 1
"""Builds of libjpeg may round a colour differently."""
COLOURS = simulated_semithin(1000, 700)


def whole_image(slide: Slide, level: int = 0) -> NDArray[Any]:
    return slide.read_box(0, level, whole(slide.info.images[0].levels[level]))


def by_tiffslide(path: Path, level: int) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with IndependentSlide(path) as slide:
            return np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level], as_array=True))


def test_an_aperio_slide_is_one_image_of_all_levels(tmp_path: Path) -> None:
    with open_slide(write_svs(tmp_path / "a.svs", COLOURS)) as slide:
        (image,) = slide.info.images
        assert slide.info.format == SlideFormat.SVS
        assert image.levels == (SizePx(1000, 700), SizePx(250, 175), SizePx(62, 43))
        assert (image.compression, image.stored_tile) == ("jpeg", SizePx(240, 240))
        assert (image.modality, image.acquisition.magnification) == (Modality.SEMITHIN_LIGHT, 40)
        assert slide.info.left_out == ("thumbnail", "label", "macro")


def test_a_folder_tells_what_is_left_out_of_its_files(tmp_path: Path) -> None:
    for name in ("a.svs", "b.svs"):
        write_svs(tmp_path / name, COLOURS)
    with open_slide(tmp_path) as slide:
        assert (slide.info.format, len(slide.info.images)) == (SlideFormat.FIELDS, 2)
        assert slide.info.left_out == ("thumbnail", "label", "macro")


@pytest.mark.parametrize("level", [0, 1, 2])
def test_pixels_of_an_aperio_slide_are_those_of_tiffslide(tmp_path: Path, level: int) -> None:
    path = write_svs(tmp_path / "a.svs", COLOURS)
    with open_slide(path) as slide:
        ours, theirs = whole_image(slide, level), by_tiffslide(path, level)
    assert np.abs(ours.astype(int) - theirs).max() <= JPEG_STEP


def test_a_stored_tile_of_an_aperio_slide_is_what_pillow_decodes(tmp_path: Path) -> None:
    """Pillow sees the tile's own JPEG with its tables: no part of tifffile but where it lies."""
    path = write_svs(tmp_path / "a.svs", COLOURS)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        stored = path.read_bytes()[page.dataoffsets[1] :][: page.databytecounts[1]]
        tables = page.jpegtables or b"\xff\xd8\xff\xd9"
    joined = tables[:-2] + stored[2:]
    theirs = np.asarray(Image.open(io.BytesIO(joined)).convert("RGB"))
    with open_slide(path) as slide:
        ours = slide.read_box(0, 0, BoxPx(240, 0, 240, 240))
    assert theirs.shape == ours.shape
    assert np.abs(ours.astype(int) - theirs).max() <= JPEG_STEP


def test_scale_is_the_vendors(tmp_path: Path) -> None:
    with open_slide(write_svs(tmp_path / "a.svs", COLOURS, um_per_px=0.25)) as slide:
        assert [(each.origin, each.x_nm_per_px) for each in slide.info.images[0].scales] == [
            (ScaleOrigin.INSTRUMENT_TAG, 250)
        ]
    with open_slide(write_svs(tmp_path / "b.svs", COLOURS, um_per_px=None)) as slide:
        assert slide.info.images[0].scales == ()


def test_operator_and_date_of_an_aperio_slide_are_tags(tmp_path: Path) -> None:
    with open_slide(write_svs(tmp_path / "a.svs", COLOURS)) as slide:
        assert any("MARKED-OPERATOR" in tag.value for tag in slide.info.tags)


def test_label_and_macro_stay_hidden_where_the_first_page_is_damaged(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", COLOURS)
    path.write_bytes(path.read_bytes().replace(b"Aperio", b"Aqerio", 1))
    with pytest.raises(SlideDamaged):
        open_slide(path)


def test_the_overview_of_a_leica_slide_is_no_image(tmp_path: Path) -> None:
    colours = simulated_colours(512, 256)
    with open_slide(write_leica(tmp_path / "a.scn", colours)) as slide:
        (image,) = slide.info.images
        assert (slide.info.format, slide.info.left_out) == (SlideFormat.OTHER_PYRAMID, ("macro",))
        assert image.levels == (SizePx(512, 256), SizePx(128, 64))
        assert np.array_equal(whole_image(slide), colours)
        assert [(each.origin, each.x_nm_per_px) for each in image.scales] == [
            (ScaleOrigin.INSTRUMENT_TAG, 250)
        ]
        assert image.acquisition.microscope == "SCN400"


def test_a_semithin_pyramid_of_no_vendor_is_light_microscopy_at_its_scale(tmp_path: Path) -> None:
    path = write_semithin(tmp_path / "semithin.tif")
    with open_slide(path) as slide:
        (image,) = slide.info.images
        assert (slide.info.format, image.modality) == (SlideFormat.TIFF, Modality.SEMITHIN_LIGHT)
        assert len(image.levels) == 3
        assert image.scales[0].x_nm_per_px == pytest.approx(250)
        assert np.array_equal(whole_image(slide, 1), by_tiffslide(path, 1))


def test_every_image_of_an_ordinary_tiff_stays_one(tmp_path: Path) -> None:
    with open_slide(
        write_tiff(tmp_path / "a.tif", simulated_colours(64, 64), description="a macro")
    ) as slide:
        assert (len(slide.info.images), slide.info.left_out) == (1, ())
