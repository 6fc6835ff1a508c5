"""Whether the directories of a TIFF fit the file that they are in: checked before any pixel is decoded."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from tifffile import COMPRESSION, TiffFrame, TiffPage, TiffPageSeries

from ultraread.datasets.formats.limits import MAX_STORED_TILE_PX
from ultraread.datasets.formats.orientation import ORIENTATION_TAG, refuse_turned
from ultraread.datasets.formats.tiff_pixels import TiffPixels, pixels_of
from ultraread.datasets.geometry import SizePx
from ultraread.errors import (
    SlideDamaged,
    SlideIfdLoop,
    SlideOffsetInvalid,
    SlidePyramidInvalid,
    SlideTooLarge,
    SlideTooManyIfds,
    SlideTruncated,
)

MAX_DECLARED_PER_HELD_BYTE = 10
"""A header that declares more than ten times what the file holds is refused, not read as damage."""
MAX_IFDS = 10_000
SUBIFDS_TAG = 330
LAST_ORDINARY_TAG = 532
"""Higher codes are private: programs that rewrite a file lose their values, and it opens none the worse."""
BYTES_OF_TYPE = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
"""TIFF 6.0, section 2, and those that BigTIFF adds."""


@dataclass(frozen=True, slots=True)
class StoredPlane:
    """Where the stored tiles of one plane lie, how its page codes them, and what their pixels become."""

    key: TiffPage
    offsets: tuple[int, ...]
    byte_counts: tuple[int, ...]
    jpeg_tables: bytes | None
    pixels: TiffPixels

    @property
    def step(self) -> tuple[int, int]:
        """Width and height of what the file compresses as one."""
        key = self.key
        if key.is_tiled:
            return key.tilewidth, key.tilelength
        return key.imagewidth, min(key.rowsperstrip or key.imagelength, key.imagelength)

    @property
    def size(self) -> SizePx:
        return SizePx(self.key.imagewidth, self.key.imagelength)

    @property
    def columns(self) -> int:
        return -(-self.size.width // self.step[0])

    def shown(self, index: int) -> tuple[int, int]:
        """Rows and columns of a stored tile that lie in the image; the rest fills it up."""
        row, column = divmod(index, self.columns)
        rows, columns = self.size.height - row * self.step[1], self.size.width - column * self.step[0]
        return min(rows, self.step[1]), min(columns, self.step[0])


def planes_in(level: TiffPageSeries) -> int:
    """How many planes a level has. ImageJ writes one directory for a whole stack above 4 GB.

    Raises SlideTruncated where the file says that there are more than it lists.
    """
    listed = len(level.pages)
    declared = level.size // max(1, level.keyframe.size)
    if declared <= listed:
        return listed
    if listed > 1 or level.dataoffset is None:
        raise SlideTruncated(f"{declared:,} planes declared, {listed:,} listed")
    if declared > MAX_IFDS:
        raise SlideTooLarge(f"{declared:,} images in one file")
    return declared


def plane_of(level: TiffPageSeries, number: int) -> StoredPlane:
    """One plane of a level. Raises SlideTruncated, SlidePixelFormat, SlideCodecUnsupported, SlideDamaged."""
    page = level.pages[min(number, len(level.pages) - 1)]
    key = page.keyframe if page else None
    if page is None or key is None:
        raise SlideTruncated("a plane that the header declares is missing")
    refuse_turned(_whole(page, key).tags.valueof(ORIENTATION_TAG))
    behind_last = max(0, number - len(level.pages) + 1) * key.nbytes
    offsets, counts = tuple(offset + behind_last for offset in page.dataoffsets), tuple(page.databytecounts)
    return StoredPlane(key, offsets, counts, page.jpegtables, pixels_of(key))


def _whole(page: TiffPage | TiffFrame, key: TiffPage) -> TiffPage:
    """The page with all its tags: tifffile parses later ones in part, and ImageJ leaves some out."""
    if isinstance(page, TiffPage):
        return page
    return key if page.is_virtual else page.aspage()


def check_planes(levels: list[StoredPlane], file_bytes: int) -> None:
    """Raise SlideTruncated, SlideTooLarge, SlideOffsetInvalid, SlideDamaged or SlidePyramidInvalid."""
    for plane in levels:
        _check_layout(plane, file_bytes)
        _check_counts(plane)
    _check_overlap(levels)
    for larger, smaller in pairwise(levels):
        _check_step_of_pyramid(larger, smaller)


def check_ifds(stream: BinaryIO) -> None:
    """Follow every directory from the first, sub-directories among them; leave what is cut off to the parser.

    Raises SlideIfdLoop where one leads back to itself, SlideTooManyIfds beyond MAX_IFDS, SlideTruncated where
    the first, or the value of an ordinary tag, lies beyond the end of the file.
    """
    file_bytes = stream.seek(0, 2)
    stream.seek(0)
    order = ">" if stream.read(2) == b"MM" else "<"
    head = stream.read(14)
    layout = _Layout(order, _number(order + "H", head[:2]) == 43, file_bytes)
    first = _number(order + layout.offset, head[6:14] if layout.is_big else head[2:6])
    if first >= file_bytes:
        raise SlideTruncated("the first directory lies beyond the end of the file")
    _walk(first, lambda offset: layout.following(stream, offset))
    stream.seek(0)


def _walk(first: int, following: Callable[[int], list[int]]) -> None:
    """Depth first. Two ways may lead to a directory, as to chained sub-directories; none may lead back."""
    way, done = dict[int, list[int]](), set[int]()
    waiting = [first]
    while True:
        while not waiting:
            if not way:
                return
            ended, waiting = way.popitem()
            done.add(ended)
        offset = waiting.pop()
        if offset in way:
            raise SlideIfdLoop("a directory leads back to itself")
        if offset == 0 or offset in done:
            continue
        if len(way) + len(done) >= MAX_IFDS:
            raise SlideTooManyIfds(f"more than {MAX_IFDS:,} directories")
        way[offset] = waiting
        waiting = following(offset)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Widths of the numbers in the directories of a TIFF and of a BigTIFF."""

    order: str
    is_big: bool
    file_bytes: int

    @property
    def offset(self) -> str:
        return "Q" if self.is_big else "I"

    def following(self, stream: BinaryIO, offset: int) -> list[int]:
        """Where the next directory and the sub-directories of this one lie."""
        stream.seek(offset)
        entries = _number(self.order + ("Q" if self.is_big else "H"), stream.read(8 if self.is_big else 2))
        if entries > 4096:  # tifffile takes such a directory for damaged, too
            return []
        size = 20 if self.is_big else 12
        stored = stream.read(entries * size + 8)
        next_at = entries * size
        found = [_number(self.order + self.offset, stored[next_at : next_at + (8 if self.is_big else 4)])]
        for start in range(0, next_at, size):
            entry = stored[start : start + size]
            self._check_value(entry)
            if _number(self.order + "H", entry[:2]) == SUBIFDS_TAG:
                found.extend(self._subifds(stream, entry))
        return found

    def _check_value(self, entry: bytes) -> None:
        width = 8 if self.is_big else 4
        code, kind = (_number(self.order + "H", entry[at : at + 2]) for at in (0, 2))
        value_bytes = _number(self.order + self.offset, entry[4 : 4 + width]) * BYTES_OF_TYPE.get(kind, 0)
        if code > LAST_ORDINARY_TAG or value_bytes <= width:
            return
        if _number(self.order + self.offset, entry[4 + width :]) + value_bytes > self.file_bytes:
            raise SlideTruncated("a tag of the header lies beyond the end of the file")

    def _subifds(self, stream: BinaryIO, entry: bytes) -> list[int]:
        width = 8 if self.is_big else 4
        kind = _number(self.order + "H", entry[2:4])
        each = 8 if kind in (16, 17, 18) else 4
        count, value = _number(self.order + self.offset, entry[4 : 4 + width]), entry[4 + width :]
        if not 0 < count <= MAX_IFDS:
            return []
        if count * each > width:
            stream.seek(_number(self.order + self.offset, value))
            value = stream.read(count * each)
        held = len(value) // each
        return list(struct.unpack_from(f"{self.order}{min(count, held)}{'Q' if each == 8 else 'I'}", value))


def _number(layout: str, stored: bytes) -> int:
    """0 where the file is cut off: what is missing leads nowhere."""
    size = struct.calcsize(layout)
    return int(struct.unpack(layout, stored[:size])[0]) if len(stored) >= size else 0


def _check_layout(plane: StoredPlane, file_bytes: int) -> None:
    (step_x, step_y), size = plane.step, plane.size
    if step_x < 1 or step_y < 1:
        raise SlideTruncated("the header states no image size")
    if step_x * step_y > MAX_STORED_TILE_PX:
        raise SlideTooLarge(f"a stored tile of {step_x} x {step_y} px")
    expected = plane.columns * -(-size.height // step_y)
    if len(plane.offsets) != expected or len(plane.byte_counts) != expected:
        raise SlideOffsetInvalid(f"{len(plane.offsets)} stored tiles listed, {expected} needed")
    declared = sum(plane.byte_counts)
    if declared and not any(0 < offset < file_bytes for offset in plane.offsets):
        raise SlideTruncated("all pixel data lie beyond the end of the file")
    if declared > MAX_DECLARED_PER_HELD_BYTE * file_bytes:
        if any(offset >= file_bytes for offset in plane.offsets):
            raise SlideTruncated(f"the file holds {file_bytes:,} of the {declared:,} bytes that it declares")
        raise SlideTooLarge(f"the header declares {declared:,} bytes; the file holds {file_bytes:,}")


def _check_counts(plane: StoredPlane) -> None:
    """Uncompressed stored tiles have exactly the bytes of their pixels; the last strip may be a short one."""
    if plane.key.compression != COMPRESSION.NONE:
        return
    (step_x, step_y), size = plane.step, plane.size
    row_bytes = -(-step_x * plane.key.samplesperpixel * plane.key.bitspersample // 8)
    full, rest = row_bytes * step_y, row_bytes * (size.height % step_y)
    for index, count in enumerate(plane.byte_counts):
        is_last_strip = not plane.key.is_tiled and index == len(plane.byte_counts) - 1
        if count not in {0, full, rest if is_last_strip else full}:
            raise SlideDamaged(f"stored tile {index} has {count:,} bytes, its pixels need {full:,}")


def _check_overlap(levels: list[StoredPlane]) -> None:
    """No two stored tiles share bytes, but equal ones may be stored once and listed several times."""
    places = {
        place for plane in levels for place in zip(plane.offsets, plane.byte_counts, strict=True) if place[1]
    }
    for (offset, count), (following, _) in pairwise(sorted(places)):
        if offset + count > following:
            raise SlideOffsetInvalid("two stored tiles share bytes")


def _check_step_of_pyramid(larger: StoredPlane, smaller: StoredPlane) -> None:
    across, down = larger.size.width / smaller.size.width, larger.size.height / smaller.size.height
    rounding = 2 / smaller.size.width + 2 / smaller.size.height
    one, other = larger.pixels, smaller.pixels
    same_kind = one.dtype == other.dtype and one.samples == other.samples
    if not same_kind or across < 1 or abs(across / down - 1) > rounding:
        raise SlidePyramidInvalid("a level is not the same picture at a smaller size")
