"""Chunks of OME-Zarr that unpack to gigabytes: not one of them is unpacked, and each is named unreadable."""

import bz2
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr.codecs
from bombs import ALLOWED_BYTES, opened_in_a_child
from numpy.typing import NDArray
from simulated import simulated_tissue
from simulated_wide import write_ome_zarr

from ultraread.datasets.geometry import whole
from ultraread.datasets.open_slide import open_slide
from ultraread.errors import InputRefused

GREY = simulated_tissue(300, 200)
UNPACKED_BYTES = 2**30
LARGE = {"chunks": (2048, 1024)}
"""So that the bytes that a chunk may take in its file do not stop the bombs before."""
CHUNK = bytes(2048 * 1024)
SHARDS: dict[str, Any] = {"chunks": (1024, 1024), "shards": (2048, 2048)}
ONE_CHUNK_SHARDS: dict[str, Any] = {"chunks": (1024, 1024), "shards": (1024, 1024)}
Packer = Callable[[int], bytes]


def _deflated(size: int, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    block = bytes(2**20)
    return b"".join(packer.compress(block) for _ in range(size // len(block))) + packer.flush()


def gzip_bomb(size: int) -> bytes:
    return _deflated(size, 31)


def second_member_of_gzip_bomb(size: int) -> bytes:
    """The first member is a whole chunk."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(CHUNK) + packer.flush() + gzip_bomb(size)


def zlib_bomb(size: int) -> bytes:
    return _deflated(size, 15)


def bz2_bomb(size: int) -> bytes:
    """bzip2 has streams follow each other."""
    return bz2.compress(bytes(2**24)) * (size // 2**24)


def zstd_bomb(size: int) -> bytes:
    """A frame that is a chunk, then frames of 64 KiB that repeat one byte (RFC 8878, section 3.1.1)."""
    block = 128 * 2**10
    run = [
        (block << 3 | 1 << 1 | (n == size // block - 1)).to_bytes(3, "little") + b"\0"
        for n in range(size // block)
    ]
    frame = b"\x28\xb5\x2f\xfd" + b"\xa0" + size.to_bytes(4, "little") + b"".join(run)
    return numcodecs.Zstd().encode(CHUNK) + frame


def zstd_bomb_of_unknown_size(size: int) -> bytes:
    """The same, in a frame whose header leaves its size out."""
    block = 128 * 2**10
    run = [
        (block << 3 | 1 << 1 | (n == size // block - 1)).to_bytes(3, "little") + b"\0"
        for n in range(size // block)
    ]
    return b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x38" + b"".join(run)


def lz4_bomb(size: int) -> bytes:
    """A block of ones: each 255 in the length of a match stands for 255 bytes."""
    match = b"\x1f\0\x01\0" + b"\xff" * ((size - 30) // 255) + bytes([(size - 30) % 255])
    return size.to_bytes(4, "little") + match + b"\x50" + bytes(5)


def blosc_bomb(size: int) -> bytes:
    stored = bytearray(numcodecs.Blosc(cname="zlib").encode(CHUNK))
    stored[4:8] = size.to_bytes(4, "little")
    return bytes(stored)


BOMBS: list[tuple[numcodecs.abc.Codec, Packer]] = [
    (numcodecs.GZip(), gzip_bomb),
    (numcodecs.GZip(), second_member_of_gzip_bomb),
    (numcodecs.Zlib(), zlib_bomb),
    (numcodecs.BZ2(), bz2_bomb),
    (numcodecs.Zstd(), zstd_bomb),
    (numcodecs.Zstd(), zstd_bomb_of_unknown_size),
    (numcodecs.LZ4(), lz4_bomb),
    (numcodecs.Blosc(), blosc_bomb),
]


QUICK = (second_member_of_gzip_bomb, bz2_bomb, zstd_bomb_of_unknown_size)
"""One of each way of unpacking; a child process a bomb takes seconds."""


def _in_their_suites() -> list[Any]:
    """The others run with the large counts."""
    return [pytest.param(*one, marks=() if one[1] in QUICK else pytest.mark.full) for one in BOMBS]


def _named(value: object) -> str:
    return getattr(value, "__name__", "")


def _with_chunk(folder: Path, name: str, chunk: bytes) -> Path:
    bomb = folder.with_name("bomb.zarr")
    shutil.copytree(folder, bomb)
    (bomb / name).write_bytes(chunk)
    return bomb


def _assert_not_unpacked(folder: Path, bomb: Path) -> None:
    opened = opened_in_a_child(folder, bomb)
    assert opened.outcome == "tile_unreadable"
    assert opened.grown_bytes < ALLOWED_BYTES


@pytest.mark.parametrize(("codec", "pack"), _in_their_suites(), ids=_named)
def test_a_chunk_that_would_unpack_to_gigabytes_is_not_unpacked(
    codec: numcodecs.abc.Codec, pack: Packer, tmp_path: Path
) -> None:
    folder = write_ome_zarr(tmp_path / "a.zarr", GREY, compressors=codec, **LARGE)
    _assert_not_unpacked(folder, _with_chunk(folder, "0/0.0", pack(UNPACKED_BYTES)))


@pytest.mark.parametrize(("codec", "pack"), BOMBS[:6], ids=_named)
def test_the_bombs_are_no_duds(codec: numcodecs.abc.Codec, pack: Packer) -> None:
    """A codec alone unpacks them: what is refused is their size."""
    assert len(codec.decode(pack(2**24))) >= 2**24


def _sharded(folder: Path, options: dict[str, Any]) -> Path:
    return write_ome_zarr(
        folder / "a.zarr", GREY, version="0.5", compressors=zarr.codecs.GzipCodec(), **options
    )


def _shard_of(chunk: bytes, count: int) -> bytes:
    """A shard whose chunks are all the same bytes, and its index with a checksum."""
    index = (bytes(8) + len(chunk).to_bytes(8, "little")) * count
    return chunk + bytes(numcodecs.get_codec({"id": "crc32c", "location": "end"}).encode(index))


SHARDED = [pytest.param(SHARDS, 4, marks=pytest.mark.full), (ONE_CHUNK_SHARDS, 1)]


@pytest.mark.parametrize(("options", "count"), SHARDED, ids=["four", "one"])
def test_a_chunk_in_a_shard_is_not_unpacked_either(
    options: dict[str, Any], count: int, tmp_path: Path
) -> None:
    folder = _sharded(tmp_path, options)
    bomb = _with_chunk(folder, "0/c/0/0", _shard_of(gzip_bomb(UNPACKED_BYTES), count))
    _assert_not_unpacked(folder, bomb)


@pytest.mark.parametrize("codec", [codec for codec, _ in BOMBS], ids=lambda codec: codec.codec_id)
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_whole_chunks_of_every_codec_are_read(codec: numcodecs.abc.Codec, kind: str, tmp_path: Path) -> None:
    pixels: NDArray[Any] = GREY.astype(kind)
    with open_slide(write_ome_zarr(tmp_path / "a.zarr", pixels, compressors=codec)) as slide:
        assert np.array_equal(slide.read_box(0, 0, whole(slide.info.images[0].size)), pixels)


@pytest.mark.parametrize("options", [SHARDS, ONE_CHUNK_SHARDS], ids=["four", "one"])
def test_whole_chunks_of_shards_are_read(options: dict[str, Any], tmp_path: Path) -> None:
    with open_slide(_sharded(tmp_path, options)) as slide:
        assert slide.info.images[0].compression == "sharded gzip"
        assert np.array_equal(slide.read_box(0, 0, whole(slide.info.images[0].size)), GREY)


def _code_of(folder: Path) -> str:
    with pytest.raises(InputRefused) as refused:
        open_slide(folder)
    return refused.value.code


def test_two_compressors_after_each_other_are_refused(tmp_path: Path) -> None:
    first = write_ome_zarr(tmp_path / "v2.zarr", GREY, compressors=numcodecs.GZip())
    described = json.loads((first / "0/.zarray").read_text())
    (first / "0/.zarray").write_text(json.dumps(described | {"filters": [{"id": "zlib", "level": 1}]}))
    packers = (zarr.codecs.GzipCodec(), zarr.codecs.ZstdCodec())
    second = write_ome_zarr(tmp_path / "v3.zarr", GREY, version="0.5", compressors=packers)
    assert [_code_of(first), _code_of(second)] == ["slide_codec_unsupported"] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"index_location": "start"},
        {"index_codecs": [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 1}}]},
        {"codecs": [{"name": "bytes"}, {"name": "gzip"}, {"name": "zstd"}]},
        {"codecs": [{"name": "sharding_indexed"}]},
    ],
    ids=["index at the start", "packed index", "two compressors", "shards in shards"],
)
def test_shards_that_cannot_be_bounded_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = _sharded(tmp_path, SHARDS)
    described = json.loads((folder / "0/zarr.json").read_text())
    described["codecs"][0]["configuration"] |= changes
    (folder / "0/zarr.json").write_text(json.dumps(described))
    assert _code_of(folder) == "slide_codec_unsupported"


def test_what_was_checked_is_what_is_opened(tmp_path: Path) -> None:
    """zarr takes a backslash for a slash: the name of a checked array may not become that of another."""
    folder = write_ome_zarr(tmp_path / "a.zarr", GREY)
    shutil.copytree(folder / "0", folder / "x" / "y")
    shutil.copytree(folder / "0", folder / "x\\y")
    attributes = json.loads((folder / ".zattrs").read_text())
    attributes["multiscales"][0]["datasets"][0]["path"] = "x\\y"
    (folder / ".zattrs").write_text(json.dumps(attributes))
    assert _code_of(folder) == "slide_truncated"
