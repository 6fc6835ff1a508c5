"""OME-Zarr: planes of a stack, colours, sparse and damaged chunks; names are keys and never paths."""

import json
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from simulated import halved, simulated_colours, simulated_tissue
from simulated_wide import MARKED_NAME, RGB_CHANNELS, write_ome_zarr

from ultraread.datasets.geometry import BoxPx, SizePx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import ScaleOrigin
from ultraread.datasets.slide import Slide, SlideFormat, TileUnreadable
from ultraread.datasets.slide_address import FileAddress, SlideAddress, address_of
from ultraread.errors import InputRefused

GREY = simulated_tissue(300, 200)
VERSIONS = ["0.4", "0.5"]


def whole_image(slide: Slide, image: int = 0, level: int = 0) -> NDArray[Any]:
    return slide.read_box(image, level, whole(slide.info.images[image].levels[level]))


def raw_chunk(folder: Path, row: int, column: int) -> NDArray[Any]:
    """A chunk of level 0 as numcodecs decodes it by itself, zarr not asked (zarr v2)."""
    described = json.loads((folder / "0/.zarray").read_text())
    stored = (folder / f"0/{row}.{column}").read_bytes()
    raw = numcodecs.get_codec(described["compressor"]).decode(stored)
    return np.frombuffer(raw, described["dtype"]).reshape(described["chunks"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_pixels_keep_their_depth(tmp_path: Path, version: str, kind: str) -> None:
    pixels = GREY.astype(kind) * np.asarray(1 if kind == "uint8" else 200, kind)
    with open_slide(write_ome_zarr(tmp_path / "a.zarr", pixels, version=version)) as slide:
        info = slide.info.images[0]
        assert (slide.info.format, info.stored_as, info.size) == (
            SlideFormat.OME_ZARR,
            kind,
            SizePx(300, 200),
        )
        assert np.array_equal(whole_image(slide), pixels)
        assert np.array_equal(slide.read_box(0, 0, BoxPx(50, 60, 100, 90)), pixels[60:150, 50:150])


def test_chunks_are_what_the_codec_alone_decodes(tmp_path: Path) -> None:
    folder = write_ome_zarr(tmp_path / "a.zarr", GREY)
    with open_slide(folder) as slide:
        assert np.array_equal(slide.read_box(0, 0, BoxPx(128, 64, 64, 64)), raw_chunk(folder, 1, 2))


@pytest.mark.parametrize("version", VERSIONS)
def test_levels_and_scale_come_from_the_multiscales(tmp_path: Path, version: str) -> None:
    folder = write_ome_zarr(
        tmp_path / "a.zarr", GREY, version=version, levels=3, scale=(0.0046, 0.0046), unit="micrometer"
    )
    with open_slide(folder) as slide:
        info = slide.info.images[0]
        assert info.levels == (SizePx(300, 200), SizePx(150, 100), SizePx(75, 50))
        assert np.array_equal(whole_image(slide, level=2), halved(halved(GREY)))
        (scale,) = info.scales
        assert (scale.origin, scale.x_nm_per_px, scale.y_nm_per_px) == (
            ScaleOrigin.OME,
            *[pytest.approx(4.6)] * 2,
        )


def test_a_scale_without_a_unit_is_no_scale(tmp_path: Path) -> None:
    with open_slide(write_ome_zarr(tmp_path / "a.zarr", GREY, scale=(4.6, 4.6), unit=None)) as slide:
        assert slide.info.images[0].scales == ()


@pytest.mark.parametrize("options", [{}, {"shards": (1, 128, 128)}], ids=["chunks", "shards"])
def test_each_section_of_a_stack_is_an_image(tmp_path: Path, options: dict[str, Any]) -> None:
    stack = np.stack([GREY, 255 - GREY, GREY // 2])
    folder = write_ome_zarr(tmp_path / "a.zarr", stack, "zyx", "0.5", scale=(50, 4.6, 4.6), **options)
    with open_slide(folder) as slide:
        assert [image.index for image in slide.info.images] == [0, 1, 2]
        assert all(np.array_equal(whole_image(slide, n), stack[n]) for n in range(3))


def test_three_channels_are_colours_only_where_the_file_says_so(tmp_path: Path) -> None:
    colours = simulated_colours(100, 80)
    stored = np.moveaxis(colours, 2, 0)
    with open_slide(write_ome_zarr(tmp_path / "rgb.zarr", stored, "cyx", omero=RGB_CHANNELS)) as slide:
        assert slide.info.images[0].samples_per_px == 3
        assert np.array_equal(whole_image(slide), colours)
    with open_slide(write_ome_zarr(tmp_path / "grey.zarr", stored, "cyx")) as slide:
        assert [image.samples_per_px for image in slide.info.images] == [1, 1, 1]


def test_a_missing_chunk_is_blank_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    folder = write_ome_zarr(tmp_path / "a.zarr", GREY)
    (folder / "0/0.0").unlink()
    (folder / "0/0.1").write_bytes(b"\xa5" * 900)
    with open_slide(folder) as slide:
        assert not slide.read_box(0, 0, BoxPx(0, 0, 64, 64)).any()
        with pytest.raises(TileUnreadable):
            slide.read_box(0, 0, BoxPx(64, 0, 64, 64))
        assert np.array_equal(slide.read_box(0, 0, BoxPx(128, 0, 64, 64)), GREY[:64, 128:192])


def test_a_chunk_that_would_unpack_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    folder = write_ome_zarr(tmp_path / "a.zarr", GREY)
    stored = bytearray((folder / "0/0.0").read_bytes())
    stored[4:8] = (2**31 - 1).to_bytes(4, "little")
    (folder / "0/0.0").write_bytes(stored)
    with open_slide(folder) as slide, pytest.raises(TileUnreadable):
        slide.read_box(0, 0, BoxPx(0, 0, 64, 64))


def _change(path: Path, **changes: Any) -> None:  # noqa: ANN401
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"filters": [{"id": "pickle"}]}, "slide_codec_unsupported"),
        ({"compressor": {"id": "pickle"}}, "slide_codec_unsupported"),
        ({"dtype": "|O"}, "slide_pixel_format"),
        ({"dtype": "<c8"}, "slide_pixel_format"),
        ({"chunks": [100_000, 100_000]}, "slide_too_large"),
        ({"shape": [10**9, 10**9]}, "slide_too_large"),
        ({"shape": [200, 200]}, "slide_damaged"),
        ({"shape": [200, 300, 1], "chunks": [64, 64, 1]}, "slide_truncated"),
    ],
)
def test_an_array_that_is_not_safe_or_not_a_picture_is_refused(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    folder = write_ome_zarr(tmp_path / "a.zarr", GREY)
    _change(folder / "0/.zarray", **changes)
    with pytest.raises(InputRefused) as refused:
        open_slide(folder)
    assert refused.value.code == code


@pytest.mark.parametrize("path", ["../b.zarr/0", "/etc", "..", "1"])
def test_no_name_leads_out_of_the_slide(tmp_path: Path, path: str) -> None:
    write_ome_zarr(tmp_path / "b.zarr", GREY)
    folder = write_ome_zarr(tmp_path / "a.zarr", GREY)
    attributes = json.loads((folder / ".zattrs").read_text())
    attributes["multiscales"][0]["datasets"][0]["path"] = path
    (folder / ".zattrs").write_text(json.dumps(attributes))
    with pytest.raises(InputRefused):
        open_slide(folder)


def test_chunks_that_were_not_copied_are_missed(tmp_path: Path) -> None:
    folder = write_ome_zarr(tmp_path / "a.zarr", GREY)
    for chunk in (folder / "0").glob("[0-9]*"):
        chunk.unlink()
    with pytest.raises(InputRefused, match="none of the chunks"):
        open_slide(folder)


def test_files_that_a_store_keeps_by_number_are_the_same_slide(tmp_path: Path) -> None:
    address = address_of(write_ome_zarr(tmp_path / "a.zarr", GREY))
    kept = []
    for number, file in enumerate(address.files):
        (tmp_path / str(number)).write_bytes(Path(file.location).read_bytes())
        kept.append(FileAddress(file.name, str(tmp_path / str(number))))
    with open_slide(SlideAddress("kept", tuple(kept))) as slide:
        assert np.array_equal(whole_image(slide), GREY)


def test_texts_of_the_metadata_are_tags(tmp_path: Path) -> None:
    with open_slide(write_ome_zarr(tmp_path / "a.zarr", GREY)) as slide:
        assert [tag.value for tag in slide.info.tags if tag.name.endswith("name")] == [MARKED_NAME]
