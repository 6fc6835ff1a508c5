"""Chunks of HDF5 that unpack to gigabytes, beside the pixels and in them, and what other filters hold."""

import zlib
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import numpy as np
import pytest
from bombs import ALLOWED_BYTES, opened_in_a_child
from instrument_checks import STACK, assert_equal, first, read
from simulated_instruments import write_ncem, write_velox

from ultraread.datasets.geometry import whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import TileUnreadable
from ultraread.errors import SlideCodecUnsupported, SlideTooLarge

UNPACKED_BYTES = 2**30
CHUNK = (1, 1024, 1024)
"""So large that the bytes that a chunk may take in its file do not stop the bombs before."""
BLANK = np.zeros(CHUNK, np.uint8)


def _deflated(size: int) -> bytes:
    packer = zlib.compressobj()
    block = bytes(2**20)
    return b"".join(packer.compress(block) for _ in range(size // len(block))) + packer.flush()


def _with_chunk(path: Path, chunk: bytes) -> Path:
    with h5py.File(path, "a") as file:
        file["data/picture/data"].id.write_direct_chunk((0, 0, 0), chunk)
    return path


def test_pixels_that_would_unpack_to_gigabytes_are_not_unpacked(tmp_path: Path) -> None:
    good = write_ncem(tmp_path / "good.emd", BLANK, 4.6, chunks=CHUNK, compression="gzip")
    bomb = write_ncem(tmp_path / "bomb.emd", BLANK, 4.6, chunks=CHUNK, compression="gzip")
    opened = opened_in_a_child(good, _with_chunk(bomb, _deflated(UNPACKED_BYTES)))
    assert opened.outcome == "tile_unreadable"
    assert opened.grown_bytes < ALLOWED_BYTES


def test_texts_that_would_unpack_to_gigabytes_are_not_unpacked(tmp_path: Path) -> None:
    good = write_velox(tmp_path / "good.emd", STACK, 4.6e-9)
    bomb = write_velox(tmp_path / "bomb.emd", STACK, 4.6e-9)
    with h5py.File(bomb, "a") as file:
        for number in range(20):
            text = file.create_dataset(f"note{number}", (1,), dtype="S1000", chunks=(1,), compression="gzip")
            text.id.write_direct_chunk((0,), _deflated(2**22 if number else UNPACKED_BYTES))
    opened = opened_in_a_child(good, bomb)
    assert opened.outcome == "slide_bomb"
    assert opened.grown_bytes < ALLOWED_BYTES


def test_texts_that_are_as_large_as_they_say_are_not_all_kept(tmp_path: Path) -> None:
    good = write_velox(tmp_path / "good.emd", STACK, 4.6e-9)
    many = write_velox(tmp_path / "many.emd", STACK, 4.6e-9)
    with h5py.File(many, "a") as file:
        for number in range(20):
            size = 30 * 2**20
            text = file.create_dataset(f"n{number}", (1,), f"S{size}", chunks=(1,), compression="gzip")
            text[0] = b"blank"
    opened = opened_in_a_child(good, many)
    assert opened.outcome == "read"
    assert opened.grown_bytes < ALLOWED_BYTES


@pytest.mark.parametrize("chunk", [_deflated(2**21), zlib.compress(bytes(1000))], ids=["more", "fewer"])
def test_a_chunk_of_another_size_than_declared_is_unreadable(chunk: bytes, tmp_path: Path) -> None:
    path = write_ncem(tmp_path / "a.emd", BLANK, 4.6, chunks=CHUNK, compression="gzip")
    with open_slide(_with_chunk(path, chunk)) as slide, pytest.raises(TileUnreadable):
        slide.read_box(0, 0, whole(slide.info.images[0].size))


def test_a_chunk_of_lzf_that_unpacks_to_more_is_unreadable(tmp_path: Path) -> None:
    path = write_ncem(tmp_path / "a.emd", BLANK, 4.6, chunks=CHUNK, compression="lzf")
    bomb = bytes(imagecodecs.lzf_encode(bytes(2**24), header=False))
    with open_slide(_with_chunk(path, bomb)) as slide, pytest.raises(TileUnreadable):
        slide.read_box(0, 0, whole(slide.info.images[0].size))


def test_a_chunk_that_takes_far_more_bytes_than_its_pixels_is_refused(tmp_path: Path) -> None:
    path = write_ncem(tmp_path / "a.emd", STACK, 4.6, chunks=(1, 30, 50), compression="gzip")
    with pytest.raises(SlideTooLarge):
        open_slide(_with_chunk(path, _deflated(2**25)))


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf", "shuffle": True},
        {"shuffle": True, "fletcher32": True},
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("chunks", [(1, 30, 50), (2, 37, 41)], ids=["even", "over the edges"])
def test_filters_are_undone_as_hdf5_does(
    options: dict[str, Any], chunks: tuple[int, ...], tmp_path: Path
) -> None:
    pixels = STACK.astype(np.uint16) * 200
    path = write_ncem(tmp_path / "a.emd", pixels, 4.6, chunks=chunks, **options)
    assert first(path).size.width == pixels.shape[2]
    with h5py.File(path) as file:
        np.testing.assert_array_equal(np.stack(read(path)[1]), file["data/picture/data"][()])
    assert_equal(path, pixels)


def test_a_wrong_checksum_is_no_pixels(tmp_path: Path) -> None:
    path = write_ncem(tmp_path / "a.emd", STACK, 4.6, chunks=(1, 30, 50), fletcher32=True)
    with h5py.File(path) as file:
        at = file["data/picture/data"].id.get_chunk_info_by_coord((0, 0, 0)).byte_offset
    stored = bytearray(path.read_bytes())
    stored[at] ^= 1
    path.write_bytes(stored)
    with open_slide(path) as slide, pytest.raises(TileUnreadable):
        slide.read_box(0, 0, whole(slide.info.images[0].size))


def test_a_compression_of_what_is_compressed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        group = file.create_group("picture")
        group.attrs["emd_group_type"] = 1
        kind = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        kind.set_chunk((90, 150))
        kind.set_deflate(1)
        kind.set_deflate(1)
        space = h5py.h5s.create_simple((90, 150))
        made = h5py.h5d.create(group.id, b"data", h5py.h5t.STD_U8LE, space, kind)
        made.write_direct_chunk((0, 0), zlib.compress(zlib.compress(bytes(90 * 150))))
    with pytest.raises(SlideCodecUnsupported):
        open_slide(path)
