"""Simulated DM, MRC and SER files: what the data lack, held to two other libraries where there are two."""

import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from addresses import together
from instrument_checks import BOX, KINDS, PICTURE, STACK, as_kind, assert_equal, first, read
from simulated_instruments import (
    write_dm,
    write_emi,
    write_mrc,
    write_ncem,
    write_ser,
)

from ultraread.datasets.admission import ReadDemands, admit
from ultraread.datasets.geometry import BoxPx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import Acquisition, Modality, TileUnreadable
from ultraread.errors import (
    ModalityMismatch,
    SlideDamaged,
    SlideNotAnImage,
    SlidePixelFormat,
    SlideTooLarge,
    SlideTruncated,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [3, 4])
def test_a_dm_file_holds_what_ncempy_and_rosettasciio_read(version: int, kind: str, tmp_path: Path) -> None:
    pixels = as_kind(PICTURE, kind)
    path = write_dm(tmp_path / f"simulated.dm{version}", pixels)
    assert_equal(path, pixels, "ncempy", "rosettasciio")


@pytest.mark.parametrize("version", [3, 4])
def test_each_section_of_a_dm_stack_is_an_image(version: int, tmp_path: Path) -> None:
    pixels = as_kind(STACK, "uint16")
    path = write_dm(tmp_path / f"stack.dm{version}", pixels, thumbnail=False)
    assert_equal(path, pixels, "ncempy", "rosettasciio")
    assert [image.scales[0].x_nm_per_px for image in read(path)[0].images] == [4.6] * 3


def test_dm_tells_microscope_camera_and_operator(tmp_path: Path) -> None:
    says = {
        "Microscope Info": {"Microscope": "Simulated TEM", "Voltage": 120_000.0, "Illumination Mode": "STEM",
                            "Indicated Magnification": 4000.0, "Operator": "SIMULATED OPERATOR"},
        "Acquisition": {"Device": {"Name": "Simulated camera"}},
        "DataBar": {"Acquisition Date": "8/29/2017", "Acquisition Time": "1:58:43 PM"},
    }  # fmt: skip
    info, _ = read(write_dm(tmp_path / "simulated.dm4", PICTURE, image_tags=says))
    assert info.images[0].acquisition == Acquisition(
        "Simulated TEM", "Simulated camera", 4000.0, 120.0, "8/29/2017 1:58:43 PM"
    )
    assert (info.images[0].modality, info.images[0].modality_is_stated) == (Modality.STEM, True)
    assert "SIMULATED OPERATOR" in {tag.value for tag in info.tags}


@pytest.mark.parametrize("unit", ["1/nm", "eV", "mrad", "s"])
def test_what_dm_measures_in_anything_but_length_is_no_image(unit: str, tmp_path: Path) -> None:
    path = write_dm(tmp_path / "simulated.dm4", PICTURE, units=(unit, unit))
    with pytest.raises(SlideNotAnImage):
        open_slide(path)


def test_a_spectrum_at_every_point_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(SlideNotAnImage):
        open_slide(write_dm(tmp_path / "simulated.dm4", STACK, units=("nm", "nm", "eV")))


def test_a_pattern_without_units_is_known_by_the_mode_of_its_microscope(tmp_path: Path) -> None:
    path = tmp_path / "simulated.dm4"
    for mode in ("DIFFRACTION", "EFTEM DIFFRACTION"):
        says = {"Microscope Info": {"Imaging Mode": mode, "Illumination Mode": "TEM"}}
        with pytest.raises(SlideNotAnImage, match="diffraction"):
            open_slide(write_dm(path, PICTURE, units=("", ""), image_tags=says))
    scanned = {"Imaging Mode": "DIFFRACTION", "Illumination Mode": "STEM NANOPROBE"}
    for told in (scanned, {"Imaging Mode": "MAG1", "Illumination Mode": "TEM"}):
        write_dm(path, PICTURE, units=("", ""), image_tags={"Microscope Info": told})
        assert first(path).scales == ()


def test_packed_colours_of_dm_are_refused(tmp_path: Path) -> None:
    path = write_dm(tmp_path / "colours.dm4", PICTURE.astype(np.int32), thumbnail=False)
    stored = path.read_bytes()
    code = stored.index(b"DataType") + 8 + 8 + 4 + 8 + 8
    path.write_bytes(stored[:code] + bytes([23]) + stored[code + 1 :])
    with pytest.raises(SlidePixelFormat):
        open_slide(path)


@pytest.mark.parametrize("kind", ["int8", "int16", "uint16", "float32", "float16"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_an_mrc_file_holds_what_mrcfile_and_rosettasciio_read(kind: str, order: str, tmp_path: Path) -> None:
    pixels = (STACK // 2).astype(kind) if kind in ("int8", "float16") else as_kind(STACK, kind)
    path = write_mrc(tmp_path / "simulated.mrc", pixels, 4.6, order)
    also = ("rosettasciio",) if order == "<" and kind != "int8" else ()  # it reads neither as MRC2014 says
    assert_equal(path, pixels, "mrcfile", *also)
    assert first(path).scales[0].x_nm_per_px == pytest.approx(4.6)
    assert "SIMULATED SECTION" in {tag.value for tag in read(path)[0].tags}


def test_bytes_of_imod_are_unsigned_unless_it_says_otherwise(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "simulated.mrc", PICTURE.view(np.int8), 4.6)
    stored = bytearray(path.read_bytes())
    for flags, expected in ((0, PICTURE), (1, PICTURE.view(np.int8))):
        stored[152:160] = struct.pack("<ii", 1146047817, flags)
        path.write_bytes(stored)
        np.testing.assert_array_equal(read(path)[1][0], expected)


def test_an_extended_header_of_fei_tells_how_an_mrc_file_was_made(tmp_path: Path) -> None:
    import mrcfile
    from mrcfile.dtypes import get_ext_header_dtype

    path = write_mrc(tmp_path / "simulated.mrc", PICTURE.astype(np.int16), 4.6)
    says = np.zeros(1, get_ext_header_dtype(b"FEI1", "<"))
    says["Microscope type"], says["HT"], says["Magnification"] = b"Simulated TEM", 120_000, 6500
    says["Instrument mode"], says["Projection mode"] = 1, 2
    with mrcfile.open(path, "r+") as file:
        file.set_extended_header(says)
        file.header.exttyp = b"FEI1"
    assert first(path).acquisition == Acquisition("Simulated TEM", "", 6500.0, 120.0)
    assert first(path).modality_is_stated
    assert "Simulated TEM" in {tag.value for tag in read(path)[0].tags}
    assert_equal(path, PICTURE.astype(np.int16), "mrcfile")
    says["Projection mode"] = 1
    with mrcfile.open(path, "r+") as file:
        file.set_extended_header(says)
    with pytest.raises(SlideNotAnImage):
        open_slide(path)


def test_one_angstrom_a_pixel_in_an_mrc_file_is_no_scale(tmp_path: Path) -> None:
    assert first(write_mrc(tmp_path / "simulated.mrc", PICTURE.astype(np.int16), 0.1)).scales == ()


def test_complex_and_packed_mrc_modes_are_refused(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "simulated.mrc", PICTURE.astype(np.complex64), 4.6)
    with pytest.raises(SlidePixelFormat):
        open_slide(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [0x0210, 0x0220])
def test_a_ser_file_holds_what_ncempy_and_rosettasciio_read(kind: str, version: int, tmp_path: Path) -> None:
    pixels = as_kind(STACK, kind)
    path = write_ser(tmp_path / "simulated_1.ser", list(pixels), 4.6e-9, version)
    assert_equal(path, pixels, "ncempy", "rosettasciio")


def test_emi_and_its_ser_files_are_one_slide(tmp_path: Path) -> None:
    says = {"Microscope": "Simulated TEM", "User": "SIMULATED OPERATOR", "Mode": "TEM uP SA Zoom Image",
            "Magnification": "4000"}  # fmt: skip
    emi = write_emi(tmp_path / "grid.emi", says)
    for number in (1, 2):
        write_ser(tmp_path / f"grid_{number}.ser", [PICTURE // number], 4.6e-9)
    info, found = read(emi)
    assert info.format == "ser"
    assert len(found) == 2
    assert info.images[1].acquisition == Acquisition(
        "Simulated TEM", "", 4000.0, 120.0, "Tue Oct 18 18:18:46 2011"
    )
    assert (info.images[0].modality, info.images[0].modality_is_stated) == (Modality.TEM, True)
    assert "SIMULATED OPERATOR" in {tag.value for tag in info.tags}


def test_a_folder_holds_series_of_several_emi_files_beside_other_fields(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_emi(tmp_path / f"{name}.emi", {"Mode": "TEM uP SA Zoom Image"})
        write_ser(tmp_path / f"{name}_1.ser", [PICTURE], 4.6e-9)
    assert _described(tmp_path) == ("fields", ["uint8", "uint8"])
    write_mrc(tmp_path / "c.mrc", STACK.astype(np.int16), 4.6)
    assert _described(tmp_path) == ("fields", ["uint8", "uint8", "int16", "int16", "int16"])


def _described(folder: Path) -> tuple[str, list[str]]:
    with open_slide(folder) as slide:
        return str(slide.info.format), [image.stored_as for image in slide.info.images]


def test_an_emi_file_of_unended_objects_is_looked_through_once(tmp_path: Path) -> None:
    path = tmp_path / "simulated.emi"
    path.write_bytes(b"JK\0\2" + b"<ObjectInfo>" * 300_000)  # more than an hour where each is sought an end
    with pytest.raises(SlideNotAnImage):
        open_slide(path)


def test_an_emi_file_of_more_objects_than_there_are_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "simulated.emi"
    path.write_bytes(b"JK\0\2" + b"<ObjectInfo><a>b</a></ObjectInfo>" * 600_000)
    with pytest.raises(SlideTooLarge):
        open_slide(path)


def test_an_emi_file_without_pixels_is_refused_and_one_of_diffraction_too(tmp_path: Path) -> None:
    emi = write_emi(tmp_path / "grid.emi", {"Mode": "TEM uP SA Zoom Diffraction"})
    with pytest.raises(SlideNotAnImage):
        open_slide(emi)
    ser = write_ser(tmp_path / "grid_1.ser", [PICTURE], 4.6e-9)
    with pytest.raises(SlideNotAnImage):
        open_slide(together(emi, ser))


def test_steps_of_a_diffraction_pattern_and_line_scans_are_no_image(tmp_path: Path) -> None:
    path = write_ser(tmp_path / "pattern.ser", [PICTURE], 1.1e8)
    with pytest.raises(SlideNotAnImage):
        open_slide(path)
    stored = bytearray(write_ser(path, [PICTURE], 4.6e-9).read_bytes())
    stored[6:8] = b"\x20\x41"
    path.write_bytes(stored)
    with pytest.raises(SlideNotAnImage):
        open_slide(path)


@pytest.mark.parametrize("suffix", ["dm3", "dm4", "mrc", "ser", "emd"])
def test_a_file_that_is_cut_off_is_refused(suffix: str, tmp_path: Path) -> None:
    path = _one_of_each(tmp_path, suffix)
    whole_file = path.read_bytes()
    for keep in (0.05, 0.3, 0.6, 0.9):
        path.write_bytes(whole_file[: int(len(whole_file) * keep)])
        with pytest.raises((SlideTruncated, SlideDamaged)):
            open_slide(path)


@pytest.mark.parametrize("suffix", ["dm3", "dm4", "mrc", "ser", "emd"])
def test_bytes_that_vanish_after_opening_are_damage_of_what_they_held(suffix: str, tmp_path: Path) -> None:
    path = _one_of_each(tmp_path, suffix)
    with open_slide(path) as slide:
        os.truncate(path, path.stat().st_size // 3)
        with pytest.raises(TileUnreadable):
            slide.read_box(0, 0, whole(slide.info.images[0].size))
    with pytest.raises(ValueError, match="closed"):
        slide.read_box(0, 0, BOX)


def _one_of_each(folder: Path, suffix: str) -> Path:
    path, pixels = folder / f"simulated.{suffix}", PICTURE.astype(np.uint16)
    if suffix.startswith("dm"):
        return write_dm(path, pixels)
    if suffix == "mrc":
        return write_mrc(path, pixels, 4.6)
    return write_ser(path, [pixels], 4.6e-9) if suffix == "ser" else write_ncem(path, pixels, 4.6)


def test_a_box_of_a_file_larger_than_memory_costs_its_rows(tmp_path: Path) -> None:
    side = 60_000
    path = write_mrc(tmp_path / "large.mrc", PICTURE.astype(np.int16), 4.6)
    stored = bytearray(path.read_bytes()[:1024])
    stored[:8] = struct.pack("<2i", side, side)
    path.write_bytes(stored)
    os.truncate(path, 1024 + 2 * side * side)  # a sparse file of 7 GB
    tracemalloc.start()
    with open_slide(path) as slide:
        found = slide.read_box(0, 0, BoxPx(side - 300, side - 300, 256, 256))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not found.any()
    assert peak_bytes < 64 * 2**20


def test_a_count_of_sections_beyond_all_reason_is_refused(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "simulated.mrc", PICTURE.astype(np.int16), 4.6)
    stored = bytearray(path.read_bytes())
    stored[8:12] = (50_000).to_bytes(4, "little")
    path.write_bytes(stored)
    with pytest.raises(SlideTooLarge):
        open_slide(path)


def test_a_scanned_image_is_not_read_by_a_model_of_tem(tmp_path: Path) -> None:
    says = {"Microscope Info": {"Illumination Mode": "STEM NANOPROBE"}}
    path = write_dm(tmp_path / "simulated.dm4", PICTURE, image_tags=says)
    with open_slide(path) as slide, pytest.raises(ModalityMismatch):
        admit(slide, ReadDemands(Modality.TEM, 4.6, 3.3, 6.9, tile_px=64))
