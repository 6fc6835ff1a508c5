"""Simulated instrument files: what the data lack, held to two other libraries each where there are two."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from addresses import together
from oracles import ORACLES, Array, handed_on
from simulated import simulated_tissue
from simulated_instruments import (
    sections,
    write_dm,
    write_emi,
    write_mrc,
    write_ncem,
    write_ser,
    write_velox,
)

from ultraread.datasets.admission import ReadDemands, admit
from ultraread.datasets.geometry import BoxPx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import Acquisition, ImageInfo, Modality, SlideInfo, TileUnreadable
from ultraread.errors import (
    ModalityMismatch,
    SlideCodecUnsupported,
    SlideDamaged,
    SlideExternalRef,
    SlideNotAnImage,
    SlidePixelFormat,
    SlideTooLarge,
    SlideTruncated,
)

PICTURE = simulated_tissue(150, 90)
STACK = np.stack([PICTURE, PICTURE // 2, 255 - PICTURE])
KINDS = ("uint8", "uint16", "int8", "int16", "int32", "uint32", "float32", "float64")
BOX = BoxPx(31, 17, 64, 40)


def _as_kind(pixels: Array, kind: str) -> Array:
    """The picture in values that need this kind: negative where it is signed, large where it is wide."""
    values = pixels.astype(np.int64)
    signed, wide = kind.startswith(("int", "float")), not kind.endswith("t8")
    return np.asarray((values - 100 * signed) // (1 if wide else 2) * (97 if wide else 1)).astype(kind)


def _read(path: Path) -> tuple[SlideInfo, list[Array]]:
    with open_slide(path) as slide:
        return slide.info, [slide.read_box(each.index, 0, whole(each.size)) for each in slide.info.images]


def _first(path: Path) -> ImageInfo:
    with open_slide(path) as slide:
        return slide.info.images[0]


def _assert_equal(path: Path, stored: Array, *oracles: str) -> None:
    info, found = _read(path)
    expected = [handed_on(section) for section in sections(stored)]
    assert [str(image.stored_as) for image in info.images] == [stored.dtype.name] * len(expected)
    for other in [expected, *(ORACLES[name](path) for name in oracles)]:
        assert len(found) == len(other)
        for one, another in zip(found, other, strict=True):
            assert one.dtype == another.dtype
            np.testing.assert_array_equal(one, another)
    with open_slide(path) as slide:
        box = expected[-1][BOX.y : BOX.bottom, BOX.x : BOX.right]
        np.testing.assert_array_equal(slide.read_box(len(expected) - 1, 0, BOX), box)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [3, 4])
def test_a_dm_file_holds_what_ncempy_and_rosettasciio_read(version: int, kind: str, tmp_path: Path) -> None:
    pixels = _as_kind(PICTURE, kind)
    path = write_dm(tmp_path / f"simulated.dm{version}", pixels)
    _assert_equal(path, pixels, "ncempy", "rosettasciio")


@pytest.mark.parametrize("version", [3, 4])
def test_each_section_of_a_dm_stack_is_an_image(version: int, tmp_path: Path) -> None:
    pixels = _as_kind(STACK, "uint16")
    path = write_dm(tmp_path / f"stack.dm{version}", pixels, thumbnail=False)
    _assert_equal(path, pixels, "ncempy", "rosettasciio")
    assert [image.scales[0].x_nm_per_px for image in _read(path)[0].images] == [4.6] * 3


def test_dm_tells_microscope_camera_and_operator(tmp_path: Path) -> None:
    says = {
        "Microscope Info": {"Microscope": "Simulated TEM", "Voltage": 120_000.0, "Illumination Mode": "STEM",
                            "Indicated Magnification": 4000.0, "Operator": "SIMULATED OPERATOR"},
        "Acquisition": {"Device": {"Name": "Simulated camera"}},
        "DataBar": {"Acquisition Date": "8/29/2017", "Acquisition Time": "1:58:43 PM"},
    }  # fmt: skip
    info, _ = _read(write_dm(tmp_path / "simulated.dm4", PICTURE, image_tags=says))
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
    pixels = (STACK // 2).astype(kind) if kind in ("int8", "float16") else _as_kind(STACK, kind)
    path = write_mrc(tmp_path / "simulated.mrc", pixels, 4.6, order)
    also = ("rosettasciio",) if order == "<" and kind != "int8" else ()  # it reads neither as MRC2014 says
    _assert_equal(path, pixels, "mrcfile", *also)
    assert _first(path).scales[0].x_nm_per_px == pytest.approx(4.6)
    assert "SIMULATED SECTION" in {tag.value for tag in _read(path)[0].tags}


def test_bytes_of_imod_are_unsigned_unless_it_says_otherwise(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "simulated.mrc", PICTURE.view(np.int8), 4.6)
    stored = bytearray(path.read_bytes())
    for flags, expected in ((0, PICTURE), (1, PICTURE.view(np.int8))):
        stored[152:160] = struct.pack("<ii", 1146047817, flags)
        path.write_bytes(stored)
        np.testing.assert_array_equal(_read(path)[1][0], expected)


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
    assert _first(path).acquisition == Acquisition("Simulated TEM", "", 6500.0, 120.0)
    assert _first(path).modality_is_stated
    assert "Simulated TEM" in {tag.value for tag in _read(path)[0].tags}
    _assert_equal(path, PICTURE.astype(np.int16), "mrcfile")
    says["Projection mode"] = 1
    with mrcfile.open(path, "r+") as file:
        file.set_extended_header(says)
    with pytest.raises(SlideNotAnImage):
        open_slide(path)


def test_one_angstrom_a_pixel_in_an_mrc_file_is_no_scale(tmp_path: Path) -> None:
    assert _first(write_mrc(tmp_path / "simulated.mrc", PICTURE.astype(np.int16), 0.1)).scales == ()


def test_complex_and_packed_mrc_modes_are_refused(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "simulated.mrc", PICTURE.astype(np.complex64), 4.6)
    with pytest.raises(SlidePixelFormat):
        open_slide(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [0x0210, 0x0220])
def test_a_ser_file_holds_what_ncempy_and_rosettasciio_read(kind: str, version: int, tmp_path: Path) -> None:
    pixels = _as_kind(STACK, kind)
    path = write_ser(tmp_path / "simulated_1.ser", list(pixels), 4.6e-9, version)
    _assert_equal(path, pixels, "ncempy", "rosettasciio")


def test_emi_and_its_ser_files_are_one_slide(tmp_path: Path) -> None:
    says = {"Microscope": "Simulated TEM", "User": "SIMULATED OPERATOR", "Mode": "TEM uP SA Zoom Image",
            "Magnification": "4000"}  # fmt: skip
    emi = write_emi(tmp_path / "grid.emi", says)
    for number in (1, 2):
        write_ser(tmp_path / f"grid_{number}.ser", [PICTURE // number], 4.6e-9)
    info, found = _read(emi)
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


@pytest.mark.parametrize("options", [{}, {"chunks": True}, {"chunks": (1, 30, 50), "compression": "gzip"}])
@pytest.mark.parametrize("kind", KINDS)
def test_an_emd_file_of_ncem_holds_what_was_written(
    kind: str, options: dict[str, bool], tmp_path: Path
) -> None:
    pixels = _as_kind(STACK, kind)
    path = write_ncem(tmp_path / "simulated.emd", pixels, 4.6, **options)
    _assert_equal(path, pixels)
    turned = np.stack(ORACLES["rosettasciio"](path)).transpose()  # it turns all axes of these files round
    np.testing.assert_array_equal(np.stack(_read(path)[1]), turned)
    first = _first(path)
    assert first.scales[0].x_nm_per_px == pytest.approx(4.6)
    assert (first.acquisition.microscope, first.acquisition.accelerating_kv) == ("Simulated TEM", 80.0)
    assert "SIMULATED OPERATOR" in {tag.value for tag in _read(path)[0].tags}


@pytest.mark.parametrize("options", [{}, {"chunks": (90, 150, 1)}, {"chunks": True, "compression": "gzip"}])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "int32", "float32"])
def test_each_frame_of_a_velox_file_is_an_image(kind: str, options: dict[str, bool], tmp_path: Path) -> None:
    pixels = _as_kind(STACK, kind)
    path = write_velox(tmp_path / "simulated.emd", pixels, 4.6e-9, **options)
    _assert_equal(path, pixels, "rosettasciio")
    first = _first(path)
    assert first.scales[0].y_nm_per_px == pytest.approx(4.6)
    assert (first.modality, first.modality_is_stated) == (Modality.TEM, True)


@pytest.mark.parametrize("unit", ["1/m", "rad"])
def test_a_diffraction_pattern_of_velox_is_no_image(unit: str, tmp_path: Path) -> None:
    path = write_velox(tmp_path / "simulated.emd", STACK, 1e8, unit)
    with pytest.raises(SlideNotAnImage):
        open_slide(path)


def test_a_picture_of_four_dimensions_and_a_line_are_no_image(tmp_path: Path) -> None:
    for shape in ((4, 4, 8, 8), (64,)):
        path = tmp_path / "simulated.emd"
        with h5py.File(path, "w") as file:
            file.create_group("cube").attrs["emd_group_type"] = 1
            file["cube"]["data"] = np.zeros(shape, np.uint8)
        with pytest.raises(SlideNotAnImage):
            open_slide(path)


def _with_external_link(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["data/elsewhere"] = h5py.ExternalLink("other.h5", "/data")


def _with_external_storage(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["data/picture/data"]
        file["data/picture"].create_dataset("data", (90, 150), "u1", external=[("raw.bin", 0, 13_500)])


def _with_virtual_dataset(path: Path) -> None:
    layout = h5py.VirtualLayout((90, 150), "u1")
    layout[:] = h5py.VirtualSource("other.h5", "data", (90, 150))
    with h5py.File(path, "a") as file:
        del file["data/picture/data"]
        file["data/picture"].create_virtual_dataset("data", layout)


@pytest.mark.parametrize("point", [_with_external_link, _with_external_storage, _with_virtual_dataset])
def test_hdf5_that_points_into_other_files_is_refused(point: Callable[[Path], None], tmp_path: Path) -> None:
    path = write_ncem(tmp_path / "simulated.emd", PICTURE, 4.6)
    (tmp_path / "raw.bin").write_bytes(PICTURE.tobytes())
    point(path)
    with pytest.raises(SlideExternalRef):
        open_slide(path)


def test_a_group_within_itself_ends(tmp_path: Path) -> None:
    path = write_ncem(tmp_path / "simulated.emd", PICTURE, 4.6)
    with h5py.File(path, "a") as file:
        file["data/round"] = file["data"]
    with pytest.raises(SlideDamaged):
        open_slide(path)


def test_a_chunk_that_was_never_written_is_no_black_tissue(tmp_path: Path) -> None:
    path = tmp_path / "simulated.emd"
    with h5py.File(path, "w") as file:
        group = file.create_group("picture")
        group.attrs["emd_group_type"] = 1
        data = group.create_dataset("data", (90, 150), "u1", chunks=(30, 50))
        data[:60] = PICTURE[:60]
    with pytest.raises(SlideDamaged):
        open_slide(path)


def test_filters_that_hdf5_would_load_from_elsewhere_are_refused(tmp_path: Path) -> None:
    import imagecodecs

    path = tmp_path / "simulated.emd"
    with h5py.File(path, "w") as file:
        group = file.create_group("picture")
        group.attrs["emd_group_type"] = 1
        kind = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        kind.set_chunk((90, 150))
        kind.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple((90, 150))
        made = h5py.h5d.create(group.id, b"data", h5py.h5t.STD_U8LE, space, kind)
        made.write_direct_chunk((0, 0), imagecodecs.zstd_encode(PICTURE.tobytes()))
    with pytest.raises(SlideCodecUnsupported):
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
