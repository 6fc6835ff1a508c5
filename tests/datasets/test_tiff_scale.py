"""Only a pixel size that somebody measured is a scale; what a program wrote for printing is none."""

from pathlib import Path

import numpy as np
import pytest
import simulated
import tifffile
from simulated import NM_PER_CM, NM_PER_INCH, simulated_tissue, write_tiff

from ultraread.datasets.corpora import fetch
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import ScaleOrigin, StatedScale

GREY = simulated_tissue(80, 70)


def scales_of(path: Path, image: int = 0) -> tuple[StatedScale, ...]:
    with open_slide(path) as slide:
        return slide.info.images[image].scales


def test_the_instruments_own_tag_is_the_scale_of_a_nerve_field() -> None:
    """The ordinary tag of the same file says 200 without a unit, which is no scale."""
    path = fetch("nerve_myelin/raw/HPF4-483S1-4B-6500x-1.tif")
    (scale,) = scales_of(path)
    assert scale.origin == ScaleOrigin.INSTRUMENT_TAG
    assert scale.x_nm_per_px == pytest.approx(5.962, abs=5e-4)
    assert scale.y_nm_per_px == scale.x_nm_per_px
    with tifffile.TiffFile(path) as file:
        assert file.pages.first.tags.valueof("XResolution") == (200, 1)


def test_resolution_with_a_unit_is_a_scale(tmp_path: Path) -> None:
    in_cm = write_tiff(tmp_path / "cm.tif", GREY, 4.6)
    dots = NM_PER_INCH / 5.0
    in_inches = write_tiff(tmp_path / "inch.tif", GREY, resolution=(dots, dots), resolutionunit="INCH")
    for path, nm in ((in_cm, 4.6), (in_inches, 5.0)):
        (scale,) = scales_of(path)
        assert scale.origin == ScaleOrigin.TIFF_RESOLUTION
        assert scale.x_nm_per_px == pytest.approx(nm, rel=1e-6)


@pytest.mark.parametrize("dpi", [72, 96, 300, 2400])
@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER"])
def test_what_programs_write_for_printers_is_no_scale(dpi: float, unit: str, tmp_path: Path) -> None:
    dots = dpi if unit == "INCH" else dpi * NM_PER_CM / NM_PER_INCH
    path = write_tiff(tmp_path / "slide.tif", GREY, resolution=(dots, dots), resolutionunit=unit)
    assert scales_of(path) == ()


def test_the_72_dpi_of_a_real_field_are_no_scale() -> None:
    path = fetch("hela_sbfsem/raw/z0001.tif")
    with tifffile.TiffFile(path) as file:
        assert file.pages.first.tags.valueof("XResolution") == (72, 1)
    assert scales_of(path) == ()


def test_a_resolution_without_a_unit_is_no_scale(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", GREY, resolution=(2e6, 2e6), resolutionunit="NONE")
    assert scales_of(path) == ()


def test_ome_states_micrometres_for_each_of_its_images(tmp_path: Path) -> None:
    path = simulated.write_ome_tiff(tmp_path / "slide.ome.tif", GREY, 4.6)
    (scale,) = scales_of(path)
    assert scale.origin == ScaleOrigin.OME
    assert scale.x_nm_per_px == pytest.approx(4.6)
    stack = simulated.write_ome_tiff(tmp_path / "stack.ome.tif", np.stack([GREY, GREY]), 4.6, axes="ZYX")
    assert scales_of(stack, image=1)[0].x_nm_per_px == pytest.approx(4.6)


@pytest.mark.parametrize(("unit", "value"), [("nm", 4.6), ("pm", 4600), ("Å", 46), ("mm", 4.6e-6)])
def test_ome_units_are_converted(unit: str, value: float, tmp_path: Path) -> None:
    sizes = {f"PhysicalSize{axis}": value for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
    path = tmp_path / "slide.ome.tif"
    tifffile.imwrite(path, GREY, ome=True, metadata={"axes": "YX", **sizes, **units})
    assert scales_of(path)[0].x_nm_per_px == pytest.approx(4.6)


def test_ome_in_pixels_or_in_one_direction_is_no_scale(tmp_path: Path) -> None:
    in_pixels, in_x = tmp_path / "pixels.ome.tif", tmp_path / "x.ome.tif"
    sizes = {
        "PhysicalSizeX": 1,
        "PhysicalSizeXUnit": "pixel",
        "PhysicalSizeY": 1,
        "PhysicalSizeYUnit": "pixel",
    }
    tifffile.imwrite(in_pixels, GREY, ome=True, metadata={"axes": "YX", **sizes})
    tifffile.imwrite(in_x, GREY, ome=True, metadata={"axes": "YX", "PhysicalSizeX": 0.0046})
    assert scales_of(in_pixels) == ()
    assert scales_of(in_x) == ()


def test_imagej_names_its_unit_in_the_description(tmp_path: Path) -> None:
    (scale,) = scales_of(simulated.write_imagej_tiff(tmp_path / "slide.tif", GREY, 4.6))
    assert scale.x_nm_per_px == pytest.approx(4.6, rel=1e-6)
    assert scale.origin == ScaleOrigin.TIFF_RESOLUTION
    in_micron = tmp_path / "micron.tif"
    tifffile.imwrite(in_micron, GREY, imagej=True, resolution=(1 / 0.0046,) * 2, metadata={"unit": "micron"})
    assert scales_of(in_micron)[0].x_nm_per_px == pytest.approx(4.6, rel=1e-6)


def test_imagej_in_pixels_is_no_scale(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, GREY, imagej=True, resolution=(1, 1), metadata={"unit": "pixel"})
    assert scales_of(path) == ()


def test_a_file_states_every_scale_it_has_and_the_read_decides(tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tif"
    tifffile.imwrite(
        path,
        GREY,
        ome=True,
        resolution=(NM_PER_CM / 9.2,) * 2,
        resolutionunit="CENTIMETER",
        metadata={"axes": "YX", "PhysicalSizeX": 0.0046, "PhysicalSizeY": 0.0046},
    )
    found = {scale.origin: scale.x_nm_per_px for scale in scales_of(path)}
    assert found[ScaleOrigin.OME] == pytest.approx(4.6)
    assert found[ScaleOrigin.TIFF_RESOLUTION] == pytest.approx(9.2)


def test_png_and_jpeg_state_no_scale(tmp_path: Path) -> None:
    assert scales_of(simulated.write_png(tmp_path / "slide.png", GREY)) == ()
    assert scales_of(simulated.write_jpeg(tmp_path / "slide.jpg", GREY)) == ()
