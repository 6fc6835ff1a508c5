"""Planes that lie uncompressed in a file, read by bands of rows: no file is ever loaded whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ultraread.datasets.formats.pixel_kinds import converted, handed_on_as
from ultraread.datasets.formats.segment_cache import SegmentCache
from ultraread.datasets.formats.stored_tiles import assemble
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.slide import ClosedByWith, Pixels, SlideInfo, TileUnreadable
from ultraread.datasets.stored_file import StoredFile
from ultraread.errors import SlideTooLarge, SlideTruncated

BAND_BYTES = 2**20
"""What is fetched at once: enough for a request to an object store to be worth its while."""
MAX_ROW_BYTES = 64 * 2**20
MAX_PLANES = 10_000
"""Images of one file; more are a series that belongs into several files, or a damaged count."""


@dataclass(frozen=True, slots=True)
class RawPlane:
    """One plane of `size`, row after row from `offset_bytes` of file number `file`.

    `dtype` has the stored byte order. Where `is_bottom_up`, the first stored row is the lowest.
    """

    offset_bytes: int
    size: SizePx
    dtype: np.dtype[Any]
    file: int = 0
    is_bottom_up: bool = False

    @property
    def row_bytes(self) -> int:
        return self.size.width * self.dtype.itemsize

    @property
    def end_bytes(self) -> int:
        return self.offset_bytes + self.row_bytes * self.size.height

    @property
    def rows_per_band(self) -> int:
        return max(1, BAND_BYTES // self.row_bytes)


class RawPlanesSlide(ClosedByWith):
    """A slide of uncompressed planes; image n is plane n. It owns the files and closes them."""

    def __init__(self, files: Sequence[StoredFile], planes: Sequence[RawPlane], info: SlideInfo) -> None:
        self._files = tuple(files)
        self._planes = tuple(planes)
        self._bands = SegmentCache()
        self._is_closed = False
        self.info = info

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        if self._is_closed:
            raise ValueError("read of a closed slide")
        plane = self._planes[image]
        pixels = np.empty((box.height, box.width), handed_on_as(plane.dtype))
        step = (plane.size.width, plane.rows_per_band)
        assemble(
            pixels,
            box,
            step,
            lambda _, row: self._bands.get((image, level, row), lambda: self._band(plane, row)),
        )
        return cast(Pixels, pixels)

    def close(self) -> None:
        self._is_closed = True
        for file in self._files:
            file.close()

    def _band(self, plane: RawPlane, band: int) -> Pixels:
        """The rows of a band, converted, the uppermost first."""
        top = band * plane.rows_per_band
        bottom = min(top + plane.rows_per_band, plane.size.height)
        first = plane.size.height - bottom if plane.is_bottom_up else top
        wanted = (bottom - top) * plane.row_bytes
        stored = self._files[plane.file].read_at(plane.offset_bytes + first * plane.row_bytes, wanted)
        if len(stored) != wanted:
            raise TileUnreadable(f"rows {top} to {bottom} are cut off")
        rows = np.frombuffer(stored, plane.dtype).reshape(bottom - top, plane.size.width)
        return converted(rows[::-1] if plane.is_bottom_up else rows)


def check_planes(planes: Sequence[RawPlane], files: Sequence[StoredFile]) -> None:
    """Hold what a header declares to what the files hold.

    Raises SlidePixelFormat, SlideTooLarge, SlideTruncated.
    """
    if len(planes) > MAX_PLANES:
        raise SlideTooLarge(f"{len(planes):,} images in one file")
    for plane in planes:
        handed_on_as(plane.dtype)
        if plane.size.width < 1 or plane.size.height < 1 or plane.offset_bytes < 1:
            raise SlideTruncated("the header states no image size")
        if plane.row_bytes > MAX_ROW_BYTES:
            raise SlideTooLarge(f"rows of {plane.size.width:,} px")
        if plane.end_bytes > files[plane.file].size:
            raise SlideTruncated(f"pixels end at byte {plane.end_bytes:,}, the file before it")
