"""EMD of NCEM and Velox: what h5py wrote, what rosettasciio reads, and what HDF5 must not do."""

import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from instrument_checks import KINDS, PICTURE, STACK, as_kind, assert_equal, first, read
from oracles import ORACLES
from simulated_instruments import write_ncem, write_velox

from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import Modality
from ultraread.errors import (
    SlideCodecUnsupported,
    SlideDamaged,
    SlideExternalRef,
    SlideNotAnImage,
    SlidePixelFormat,
    SlideTooLarge,
)


@pytest.mark.parametrize("options", [{}, {"chunks": True}, {"chunks": (1, 30, 50), "compression": "gzip"}])
@pytest.mark.parametrize("kind", KINDS)
def test_an_emd_file_of_ncem_holds_what_was_written(
    kind: str, options: dict[str, bool], tmp_path: Path
) -> None:
    pixels = as_kind(STACK, kind)
    path = write_ncem(tmp_path / "simulated.emd", pixels, 4.6, **options)
    assert_equal(path, pixels)
    turned = np.stack(ORACLES["rosettasciio"](path)).transpose()  # it turns all axes of these files round
    np.testing.assert_array_equal(np.stack(read(path)[1]), turned)
    image = first(path)
    assert image.scales[0].x_nm_per_px == pytest.approx(4.6)
    assert (image.acquisition.microscope, image.acquisition.accelerating_kv) == ("Simulated TEM", 80.0)
    assert "SIMULATED OPERATOR" in {tag.value for tag in read(path)[0].tags}


@pytest.mark.parametrize("values", [[0, 4.6, *range(10, 158)], [*np.arange(149) * 4.6, 1000.0]])
def test_an_uneven_axis_states_no_scale(values: list[float], tmp_path: Path) -> None:
    path = write_ncem(tmp_path / "simulated.emd", PICTURE, 4.6)
    with h5py.File(path, "a") as file:
        file["data/picture/dim2"][:] = np.asarray(values)
    assert first(path).scales == ()
    with h5py.File(path, "a") as file:
        file["data/picture/dim2"][:] = np.arange(150, dtype=np.float32) * np.float32(4.6)
    assert first(path).scales[0].x_nm_per_px == pytest.approx(4.6)


@pytest.mark.parametrize("options", [{}, {"chunks": (90, 150, 1)}, {"chunks": True, "compression": "gzip"}])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "int32", "float32"])
def test_each_frame_of_a_velox_file_is_an_image(kind: str, options: dict[str, bool], tmp_path: Path) -> None:
    pixels = as_kind(STACK, kind)
    path = write_velox(tmp_path / "simulated.emd", pixels, 4.6e-9, **options)
    assert_equal(path, pixels, "rosettasciio")
    image = first(path)
    assert image.scales[0].y_nm_per_px == pytest.approx(4.6)
    assert (image.modality, image.modality_is_stated) == (Modality.TEM, True)


@pytest.mark.parametrize("unit", ["1/m", "rad"])
def test_a_diffraction_pattern_of_velox_is_no_image(unit: str, tmp_path: Path) -> None:
    path = write_velox(tmp_path / "simulated.emd", STACK, 1e8, unit)
    with pytest.raises(SlideNotAnImage):
        open_slide(path)


def test_a_fourier_transform_beside_a_picture_is_left_out_and_alone_refused(tmp_path: Path) -> None:
    path = write_velox(tmp_path / "simulated.emd", STACK[:1], 4.6e-9)
    with h5py.File(path, "a") as file:
        other = file.create_group("Data/Image/fedcba9876543210fedcba9876543210")
        other["Data"] = np.zeros((64, 64, 1), np.complex64)
        other["Metadata"] = file["Data/Image/0123456789abcdef0123456789abcdef/Metadata"][()]
    assert_equal(path, STACK[:1])
    with h5py.File(path, "a") as file:
        del file["Data/Image/0123456789abcdef0123456789abcdef"]
    with pytest.raises(SlidePixelFormat):
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


@pytest.mark.parametrize("name", ["Data/Image/other/Text", "Features/note", "dim1"])
def test_nothing_beside_the_pixels_lies_in_another_file_either(name: str, tmp_path: Path) -> None:
    other = tmp_path / "secret.txt"
    other.write_bytes(b"Jane Doe" * 100)
    path = write_velox(tmp_path / "simulated.emd", STACK, 4.6e-9)
    with h5py.File(path, "a") as file:
        file.create_dataset(name, (1,), dtype="S100", external=[(str(other), 0, 100)])
    with pytest.raises(SlideExternalRef):
        open_slide(path)


@pytest.mark.parametrize("declared", [1, 2**28])
def test_a_text_that_unpacks_to_far_more_than_it_takes_is_refused(declared: int, tmp_path: Path) -> None:
    path = write_velox(tmp_path / "simulated.emd", STACK, 4.6e-9)
    with h5py.File(path, "a") as file:
        text = file.create_dataset("note", (1,), dtype=f"S{declared}", chunks=(1,), compression="gzip")
        text.id.write_direct_chunk((0,), zlib.compress(bytes(2**28)))
    with pytest.raises(SlideTooLarge):
        open_slide(path)
