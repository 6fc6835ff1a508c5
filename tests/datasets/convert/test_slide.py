"""A converted slide has the same pixels and scale, and nothing else of the original but its digest."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from simulated import (
    damage_stored_tiles,
    simulated_colours,
    simulated_tissue,
    write_ome_tiff,
    write_pyramid,
    write_svs,
    write_tiff,
)
from simulated_wide import MARKED_NAME, write_dicom_slide, write_ome_zarr

from ultraread.datasets.convert.slide import Converted, Wanted, convert
from ultraread.datasets.convert.source import halved, pyramid_sizes
from ultraread.datasets.convert.targets import Compression, Target
from ultraread.datasets.geometry import SizePx, whole
from ultraread.datasets.identity.found import IdentityPolicy
from ultraread.datasets.identity.policy import IdentityStatement
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import ScaleOrigin, operator_scale
from ultraread.datasets.slide_address import address_of
from ultraread.datasets.slide_digest import digest_slide
from ultraread.errors import InputRefused, RequestInvalid, ScalesDisagree, UltraReadError

GREY = simulated_tissue(1100, 700)
KEPT = IdentityStatement(IdentityPolicy.KEEP, "simulated", is_stated=True)
KINDS: dict[str, NDArray[Any]] = {
    "uint8": GREY,
    "uint16": GREY.astype(np.uint16) * 250 + 7,
    "float32": GREY.astype(np.float32) / 7,
    "RGB": simulated_colours(1100, 700),
}
LOSSLESS = [each for each in Compression if each.is_lossless]
DICOM = Wanted(target=Target.DICOM_WSI, identity=KEPT)


def converted(source: Path, out: Path, wanted: Wanted | None = None) -> Converted:
    return convert(address_of(source), out, wanted or Wanted(identity=KEPT), lambda rows: lambda done: None)


def pixels_of(path: Path, image: int = 0, level: int = 0) -> NDArray[Any]:
    with open_slide(path) as slide:
        return slide.read_box(image, level, whole(slide.info.images[image].levels[level]))


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_and_depth_survive_ome_tiff(tmp_path: Path, kind: str) -> None:
    source, out = write_tiff(tmp_path / "a.tif", KINDS[kind]), tmp_path / "a.ome.tif"
    converted(source, out)
    assert np.array_equal(pixels_of(out), KINDS[kind])
    assert pixels_of(out).dtype == KINDS[kind].dtype
    assert np.array_equal(tifffile.imread(out, series=0, level=0), KINDS[kind])


@pytest.mark.parametrize("compression", LOSSLESS)
def test_every_compression_but_jpeg_is_lossless(tmp_path: Path, compression: Compression) -> None:
    source, out = write_tiff(tmp_path / "a.tif", KINDS["uint16"]), tmp_path / "a.ome.tif"
    told = converted(source, out, Wanted(compression=compression, identity=KEPT))
    assert (told.is_lossless, told.compression) == (True, compression.value)
    assert np.array_equal(pixels_of(out), KINDS["uint16"])


def test_jpeg_is_told_as_lossy_and_only_of_8_bit(tmp_path: Path) -> None:
    jpeg = Wanted(compression=Compression.JPEG, identity=KEPT)
    told = converted(write_tiff(tmp_path / "a.tif", GREY), tmp_path / "a.ome.tif", jpeg)
    assert not told.is_lossless
    with pytest.raises(InputRefused) as refused:
        converted(write_tiff(tmp_path / "b.tif", KINDS["uint16"]), tmp_path / "b.ome.tif", jpeg)
    assert refused.value.code == "format_cannot_hold"
    assert not (tmp_path / "b.ome.tif").exists()


@pytest.mark.parametrize("kind", ["uint8", "uint16", "RGB"])
def test_pixels_and_depth_survive_dicom(tmp_path: Path, kind: str) -> None:
    source, out = write_tiff(tmp_path / "a.tif", KINDS[kind], nm_per_px=4.6), tmp_path / "dicom"
    converted(source, out, DICOM)
    assert np.array_equal(pixels_of(out), KINDS[kind])
    with open_slide(out) as slide:
        info = slide.info.images[0]
        assert info.levels == (SizePx(1100, 700), SizePx(550, 350), SizePx(275, 175))
        assert info.scales[0].x_nm_per_px == pytest.approx(4.6)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_noise_that_no_codec_makes_smaller_survives_dicom(tmp_path: Path, kind: type[np.uint8]) -> None:
    noise = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (600, 600), kind, endpoint=True)
    converted(write_tiff(tmp_path / "a.tif", noise, nm_per_px=4.6), tmp_path / "dicom", DICOM)
    assert np.array_equal(pixels_of(tmp_path / "dicom"), noise)


@pytest.mark.parametrize(
    ("pixels", "nm_per_px", "code"),
    [(KINDS["float32"], 4.6, "format_cannot_hold"), (GREY, None, "slide_no_pixel_size")],
)
def test_what_dicom_cannot_hold_is_refused(
    tmp_path: Path, pixels: NDArray[Any], nm_per_px: float | None, code: str
) -> None:
    source = write_tiff(tmp_path / "a.tif", pixels, nm_per_px=nm_per_px)
    with pytest.raises(UltraReadError) as refused:
        converted(source, tmp_path / "dicom", DICOM)
    assert refused.value.code == code
    assert not (tmp_path / "dicom").exists()


def test_levels_are_means_down_to_one_stored_tile(tmp_path: Path) -> None:
    source, out = write_tiff(tmp_path / "a.tif", GREY), tmp_path / "a.ome.tif"
    converted(source, out)
    with open_slide(out) as slide:
        assert slide.info.images[0].levels == (SizePx(1100, 700), SizePx(550, 350), SizePx(275, 175))
        assert slide.info.images[0].stored_tile == SizePx(512, 512)
    assert np.array_equal(pixels_of(out, level=2), halved(halved(GREY)))


@given(width=st.integers(1, 4000), height=st.integers(1, 4000))
def test_a_pyramid_ends_with_one_tile(width: int, height: int) -> None:
    sizes = pyramid_sizes(SizePx(width, height))
    assert max(sizes[-1].width, sizes[-1].height) <= 512
    assert all(max(each.width, each.height) > 512 for each in sizes[:-1])


def test_every_image_is_a_series_with_its_own_scale(tmp_path: Path) -> None:
    stack = np.stack([GREY, 255 - GREY])
    source = write_ome_zarr(tmp_path / "a.zarr", stack, "zyx", "0.5", scale=(50, 4.6, 4.6))
    converted(source, tmp_path / "a.ome.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert [series.shape for series in file.series] == [(700, 1100)] * 2
    for image in range(2):
        assert np.array_equal(pixels_of(tmp_path / "a.ome.tif", image), stack[image])
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert [image.scales[0].x_nm_per_px for image in slide.info.images] == [pytest.approx(4.6)] * 2


def test_one_image_can_be_chosen(tmp_path: Path) -> None:
    source = write_ome_zarr(
        tmp_path / "a.zarr", np.stack([GREY, 255 - GREY]), "zyx", "0.5", scale=(50, 4.6, 4.6)
    )
    chosen = Wanted(target=Target.DICOM_WSI, images=(1,), identity=KEPT)
    converted(source, tmp_path / "dicom", chosen)
    assert np.array_equal(pixels_of(tmp_path / "dicom"), 255 - GREY)
    for wanted in (DICOM, Wanted(images=(2,), identity=KEPT)):
        with pytest.raises(RequestInvalid):
            converted(source, tmp_path / "none", wanted)


def test_scale_origin_tolerance_reason_and_digest_are_noted(tmp_path: Path) -> None:
    source, out = write_tiff(tmp_path / "a.tif", GREY), tmp_path / "a.ome.tif"
    stated = Wanted(stated_scale=operator_scale(4.6, "calibrated µ", 0.02), identity=KEPT)
    converted(source, out, stated)
    with tifffile.TiffFile(out) as file:
        noted = file.ome_metadata or ""
    for text in (
        'PhysicalSizeX="4.6"',
        'PhysicalSizeXUnit="nm"',
        "operator",
        "0.02",
        digest_slide(address_of(source)).sha256,
    ):
        assert text in noted
    with open_slide(out) as slide:
        (scale,) = slide.info.images[0].scales
        assert (scale.origin, scale.x_nm_per_px, scale.tolerance) == (ScaleOrigin.OME, 4.6, 0.02)
        assert scale.reason == "calibrated µ"


def test_scales_that_disagree_are_not_hidden_in_a_copy(tmp_path: Path) -> None:
    source = write_ome_tiff(tmp_path / "a.ome.tif", GREY, nm_per_px=4.6)
    with pytest.raises(ScalesDisagree):
        converted(
            source, tmp_path / "b.ome.tif", Wanted(stated_scale=operator_scale(9, "guess"), identity=KEPT)
        )


@pytest.mark.parametrize("target", Target)
def test_no_name_date_or_tag_is_copied(tmp_path: Path, target: Target) -> None:
    folder = write_dicom_slide(tmp_path / "MARKED-folder", GREY[:300, :400], levels=1)
    out = tmp_path / "copy"
    converted(folder, out, Wanted(target=target))
    files = [out] if out.is_file() else list(out.iterdir())
    for marked in (b"MARKED", MARKED_NAME.encode(), b"20261124093000"):
        assert all(marked not in file.read_bytes() and marked not in file.name.encode() for file in files)


def test_operator_and_label_of_a_scanner_are_not_copied(tmp_path: Path) -> None:
    converted(write_svs(tmp_path / "a.svs", simulated_colours(600, 400)), tmp_path / "a.ome.tif")
    assert b"MARKED" not in (tmp_path / "a.ome.tif").read_bytes()
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert len(slide.info.images) == 1


def test_a_slide_that_names_somebody_is_refused_under_that_policy(tmp_path: Path) -> None:
    folder = write_dicom_slide(tmp_path / "slide", GREY[:300, :400], levels=1)
    with pytest.raises(InputRefused) as refused:
        converted(
            folder,
            tmp_path / "a.ome.tif",
            Wanted(identity=IdentityStatement(IdentityPolicy.REFUSE, "", True)),
        )
    assert refused.value.code == "identity_present"


def test_an_output_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    source, out = write_tiff(tmp_path / "a.tif", GREY), tmp_path / "a.ome.tif"
    out.write_bytes(b"mine")
    with pytest.raises(InputRefused) as refused:
        converted(source, out)
    assert (refused.value.code, out.read_bytes()) == ("output_exists", b"mine")


def test_a_damaged_tile_leaves_no_copy(tmp_path: Path) -> None:
    source = write_tiff(tmp_path / "a.tif", GREY, compression="deflate")
    damage_stored_tiles(source, [20])
    with pytest.raises(InputRefused):
        converted(source, tmp_path / "a.ome.tif")
    assert os.listdir(tmp_path) == ["a.tif"]


def test_the_digest_told_is_that_of_the_file_written(tmp_path: Path) -> None:
    source, out = write_pyramid(tmp_path / "a.tif", GREY, 2), tmp_path / "a.ome.tif"
    told = converted(source, out)
    assert told.written.sha256 == digest_slide(address_of(out)).sha256
    assert told.source.sha256 == digest_slide(address_of(source)).sha256


def test_the_same_slide_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write_tiff(tmp_path / "a.tif", KINDS["RGB"], nm_per_px=250)
    first, second = (converted(source, tmp_path / name) for name in ("1.ome.tif", "2.ome.tif"))
    assert first.written.sha256 == second.written.sha256


def test_rows_are_told_as_they_are_done(tmp_path: Path) -> None:
    told: list[int] = []
    source = write_tiff(tmp_path / "a.tif", GREY)
    convert(address_of(source), tmp_path / "a.ome.tif", Wanted(identity=KEPT), lambda rows: told.append)
    assert sum(told) == 700
