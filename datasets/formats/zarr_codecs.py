"""How an array of a zarr folder is coded, held to what can be bounded before zarr sees it.

zarr v2 knows filters that run code, and several compressors after each other unpack a few bytes to gigabytes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ultraread.datasets.formats.pixel_kinds import handed_on_as
from ultraread.datasets.formats.unpacked_size import COMPRESSORS, refuse_unless_unpacks_to
from ultraread.errors import SlideCodecUnsupported, SlidePixelFormat, SlideTruncated

AROUND_COMPRESSION = frozenset({"bytes", "crc32c", "transpose", "sharding_indexed"})
INDEX_ENTRY_BYTES = 16
CHECKSUM_BYTES = 4
NOT_STORED = 2**64 - 1
"""Offset and length of a chunk that a shard does not hold (zarr v3, sharding codec 1.0)."""
OVERHEAD_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Coding:
    """The one compressor of an array, and where it has shards, the bytes of their index's checksum."""

    compressor: str = "none"
    index_checksum_bytes: int | None = None

    @property
    def name(self) -> str:
        return self.compressor if self.index_checksum_bytes is None else f"sharded {self.compressor}"


@dataclass(frozen=True, slots=True)
class CodedChunks:
    """What a stored chunk, or each of the chunks in a shard, has to unpack to."""

    coding: Coding
    unpacked_bytes: int
    chunks_per_shard: int = 1

    @property
    def largest_stored_bytes(self) -> int:
        """No compressor makes twice as much of what it cannot pack."""
        return (2 * self.unpacked_bytes + OVERHEAD_BYTES) * self.chunks_per_shard

    def check_chunk(self, stored: bytes) -> None:
        """Raises OSError where it unpacks to another size, or the compressor's own error."""
        if self.coding.compressor != "none":
            refuse_unless_unpacks_to(self.unpacked_bytes, stored, self.coding.compressor)

    def check_file(self, stored: bytes) -> None:
        """A chunk, or all chunks of a shard. Raises OSError, or the compressor's own error."""
        if self.coding.index_checksum_bytes is None:
            self.check_chunk(stored)
            return
        index_bytes = self.chunks_per_shard * INDEX_ENTRY_BYTES
        start = len(stored) - index_bytes - self.coding.index_checksum_bytes
        if start < 0:
            raise OSError("a shard is smaller than its index")
        for offset, count in np.frombuffer(stored, "<u8", index_bytes // 8, start).reshape(-1, 2).tolist():
            if (offset, count) != (NOT_STORED, NOT_STORED):
                self.check_chunk(stored[offset : offset + count])


def coding_of(described: dict[str, Any], zarr_format: int) -> Coding:
    """What the metadata of an array say. Raises SlideCodecUnsupported, SlidePixelFormat."""
    _check_kind(described.get("dtype" if zarr_format == 2 else "data_type"))
    return _of_v2(described) if zarr_format == 2 else _of_v3(_mappings(described.get("codecs")))


def mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def json_mapping(text: bytes) -> dict[str, Any]:
    """A metadata file, empty where it is no mapping. Raises SlideTruncated."""
    try:
        return mapping(json.loads(text))
    except (ValueError, RecursionError) as failure:
        raise SlideTruncated("a metadata file of the zarr folder is damaged") from failure


def _check_kind(kind: object) -> None:
    """Before zarr makes anything of it: objects and records are no pixels."""
    try:
        handed_on_as(np.dtype(str(kind)))
    except TypeError as failure:
        raise SlidePixelFormat("the pixels of an array are of no kind that is read here") from failure


def _of_v2(described: dict[str, Any]) -> Coding:
    """A filter of any kind is named too, and so refused: Pickle is one of them."""
    used = [described.get("compressor"), *(described.get("filters") or ())]
    names = [str(mapping(codec).get("id", "unnamed")) for codec in used if codec is not None]
    _check_known(names, COMPRESSORS)
    return Coding(_only(names))


def _of_v3(codecs: Sequence[dict[str, Any]]) -> Coding:
    names = _names(codecs)
    _check_known(names, COMPRESSORS | AROUND_COMPRESSION)
    if names == ["sharding_indexed"]:
        return _of_shards(mapping(codecs[0].get("configuration")))
    return Coding(_compressor_between(names))


def _of_shards(says: dict[str, Any]) -> Coding:
    inner, index = (_names(_mappings(says.get(part))) for part in ("codecs", "index_codecs"))
    _check_known([*inner, *index], COMPRESSORS | AROUND_COMPRESSION)
    if index not in (["bytes"], ["bytes", "crc32c"]) or says.get("index_location", "end") != "end":
        raise SlideCodecUnsupported("shards whose index is packed or does not stand at their end")
    return Coding(_compressor_between(inner), CHECKSUM_BYTES * (len(index) - 1))


def _compressor_between(names: Sequence[str]) -> str:
    """Of pixels as bytes, at most one compressor, at most one checksum: any other order packs twice."""
    in_order = [name for name in names if name != "transpose"]
    after = in_order[1:-1] if in_order[-1:] == ["crc32c"] else in_order[1:]
    if in_order[:1] != ["bytes"]:
        raise SlideCodecUnsupported("zarr codecs in an order that is not decoded here")
    return _only(after)


def _only(names: Sequence[str]) -> str:
    if len(names) > 1 or not COMPRESSORS.issuperset(names):
        raise SlideCodecUnsupported("zarr codecs in an order that is not decoded here")
    return names[0] if names else "none"


def _check_known(names: Sequence[str], known: frozenset[str]) -> None:
    for name in names:
        if name not in known:
            raise SlideCodecUnsupported(f"zarr codec {name[:40]} is not decoded here")


def _names(codecs: Sequence[dict[str, Any]]) -> list[str]:
    return [str(codec.get("name", "unnamed")) for codec in codecs]


def _mappings(values: object) -> list[dict[str, Any]]:
    return [mapping(value) for value in values] if isinstance(values, list) else []
