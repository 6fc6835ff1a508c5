"""The tag tree of a DM3 or DM4 file, as DigitalMicrograph writes it, read within bounds.

Layout: Gatan publishes none; the one followed here is the description by C. Boothroyd
("dm3_format"), which agrees with what ncempy and rosettasciio read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from ultraread.errors import SlideDamaged, SlidePixelFormat, SlideTruncated

MAX_DEPTH = 64
MAX_TAGS = 200_000
"""GMS files of large sessions hold some ten thousand."""
MAX_HELD_BYTES = 65_536
"""A longer array is pixels or a colour table: only where it lies is kept."""
GROUP, DATA = 20, 21
STRUCT, TEXT, ARRAY = 15, 18, 20
TYPES = {2: "i2", 3: "i4", 4: "u2", 5: "u4", 6: "f4", 7: "f8", 8: "u1", 9: "i1", 10: "i1", 11: "i8", 12: "u8"}
DELIMITER = b"%%%%"
IMAGE, PIXELS = ".ImageData.", ".ImageData.Data"


@dataclass(frozen=True, slots=True)
class LongArray:
    """An array that was left where it is. `dtype` is None for an array of structures."""

    offset_bytes: int
    count: int
    dtype: np.dtype[np.generic] | None


Value = str | int | float | tuple[int | float, ...] | LongArray
Tags = dict[str, Value]
"""Values by their path: `ImageList.2.ImageData.DataType`; unnamed tags are numbered from 1."""


def read_tags(stream: BinaryIO, file_bytes: int) -> tuple[int, Tags]:
    """Return the version (3 or 4) and every tag. Raises SlideTruncated, SlideDamaged, SlidePixelFormat."""
    return _Reader(stream, file_bytes).read()


class _Reader:
    """Walks the tree once, forwards."""

    def __init__(self, stream: BinaryIO, file_bytes: int) -> None:
        self._stream = stream
        self._file_bytes = file_bytes
        self._tags: Tags = {}
        self._seen = 0
        self._word = ">I"
        self._order = "<"

    def read(self) -> tuple[int, Tags]:
        version = self._number(">I")
        if version not in (3, 4):
            raise SlideDamaged(f"version {version} of the DM format")
        self._word = ">I" if version == 3 else ">Q"
        if self._number(self._word) > self._file_bytes:
            raise SlideTruncated("the file is shorter than its header says")
        order = self._number(">I")
        if order not in (0, 1):
            raise SlideDamaged("the byte order is neither of two")
        self._order = "<" if order else ">"
        self._group("", 0, is_dm4=version == 4)
        if any(self._stream.read(MAX_HELD_BYTES)):
            raise SlideDamaged("tags follow that no group counts")
        return version, self._tags

    def _group(self, path: str, depth: int, is_dm4: bool) -> None:
        if depth > MAX_DEPTH:
            raise SlideDamaged("tags are nested too deep")
        self._take(2)  # whether it is sorted and open in the program's window
        for number in range(1, self._number(self._word) + 1):
            self._entry(path, number, depth, is_dm4)

    def _entry(self, path: str, number: int, depth: int, is_dm4: bool) -> None:
        self._seen += 1
        if self._seen > MAX_TAGS:
            raise SlideDamaged("more tags than a file has")
        kind = self._number(">B")
        name = self._take(self._number(">H")).decode("latin-1") or str(number)
        path = f"{path}.{name}" if path else name
        declared = self._number(self._word) if is_dm4 else 0
        start = self._stream.tell()
        if kind == GROUP:
            self._group(path, depth + 1, is_dm4)
        elif kind == DATA:
            self._data(path)
        else:
            raise SlideDamaged(f"a tag of kind {kind}")
        if is_dm4 and self._stream.tell() - start != declared:
            raise SlideDamaged("a tag is longer or shorter than it says")

    def _data(self, path: str) -> None:
        if self._take(4) != DELIMITER:
            raise SlideDamaged("a tag does not start where it should")
        count = self._number(self._word)
        if not 1 <= count <= 1 + 2 * 64:
            raise SlideDamaged("a tag of more parts than there are")
        kind = iter([self._number(self._word) for _ in range(count)])
        value = self._value(kind, is_pixels=path.endswith(PIXELS))
        if next(kind, None) is not None or (path in self._tags and IMAGE in path):
            raise SlideDamaged("a tag says more than one thing")
        self._tags[path] = value

    def _value(self, kind: Iterator[int], is_pixels: bool) -> Value:
        match _next(kind):
            case code if code in TYPES:
                return self._numbers(np.dtype(self._order + TYPES[code]), 1)[0]
            case code if code == STRUCT:
                return self._fields(list(_fields_of_struct(kind)))
            case code if code == TEXT:
                return _as_text(self._take(self._held(_next(kind) * 2)), self._order)
            case code if code == ARRAY:
                return self._array(kind, is_pixels)
            case other:
                raise SlideDamaged(f"a value of kind {other}")

    def _fields(self, kinds: list[int]) -> Value:
        return tuple(self._numbers(np.dtype(self._order + TYPES[kind]), 1)[0] for kind in kinds)

    def _array(self, kind: Iterator[int], is_pixels: bool) -> Value:
        element = _next(kind)
        if element == STRUCT:
            item_bytes = sum(np.dtype(TYPES[each]).itemsize for each in _fields_of_struct(kind))
            return self._left_behind(_next(kind), item_bytes, None)
        if element not in TYPES:
            raise SlidePixelFormat(f"an array of kind {element}")
        dtype, count = np.dtype(self._order + TYPES[element]), _next(kind)
        if is_pixels or dtype.itemsize * count > MAX_HELD_BYTES:
            return self._left_behind(count, dtype.itemsize, dtype)
        start = self._stream.tell()
        values = self._take(dtype.itemsize * count)
        if dtype.itemsize == 2 and dtype.kind == "u":
            return _as_text(values, self._order)
        return tuple(np.frombuffer(values, dtype).tolist()) if count <= 64 else LongArray(start, count, dtype)

    def _left_behind(self, count: int, item_bytes: int, dtype: np.dtype[np.generic] | None) -> LongArray:
        start = self._stream.tell()
        if start + count * item_bytes > self._file_bytes:
            raise SlideTruncated("the file ends before an array in it does")
        self._stream.seek(count * item_bytes, 1)
        return LongArray(start, count, dtype)

    def _numbers(self, dtype: np.dtype[np.generic], count: int) -> list[int | float]:
        values: list[int | float] = np.frombuffer(self._take(dtype.itemsize * count), dtype).tolist()
        return values

    def _number(self, layout: str) -> int:
        return int(struct.unpack(layout, self._take(struct.calcsize(layout)))[0])

    def _held(self, count: int) -> int:
        if count > MAX_HELD_BYTES:
            raise SlideDamaged("a text longer than a text is")
        return count

    def _take(self, count: int) -> bytes:
        taken = self._stream.read(count)
        if len(taken) != count:
            raise SlideTruncated("the header is cut off")
        return taken


def _fields_of_struct(kind: Iterator[int]) -> Iterator[int]:
    """The types of a structure's fields, which are announced as (length of name, type)."""
    _next(kind)
    for _ in range(_next(kind)):
        _next(kind)
        field = _next(kind)
        if field not in TYPES:
            raise SlideDamaged(f"a field of kind {field}")
        yield field


def _next(kind: Iterator[int]) -> int:
    value = next(kind, None)
    if value is None:
        raise SlideDamaged("a tag says less than it announces")
    return value


def _as_text(values: bytes, order: str) -> str:
    return values.decode("utf-16-le" if order == "<" else "utf-16-be", "replace").rstrip("\0")
