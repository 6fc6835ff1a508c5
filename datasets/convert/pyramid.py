"""The levels of a pyramid as bands of pixel rows, from the full size down; memory holds a few bands."""

from collections.abc import Iterator
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from ultraread.datasets.convert.source import TILE_PX, SourceImage, TellRows, halved, pyramid_sizes
from ultraread.datasets.geometry import SizePx
from ultraread.datasets.slide import ImageInfo

HALVED_ROWS = 64
"""Rows that are halved at once: their sums take four times the memory of the pixels."""


def levels_of(image: SourceImage, tell: TellRows) -> Iterator[tuple[SizePx, Iterator[Any]]]:
    """Yield size and bands of each level, TILE_PX rows a band.

    All bands of a level must be taken before the next level: it is made of them, in a temporary file.
    """
    sizes = pyramid_sizes(image.info.size)
    with ExitStack() as kept:
        bands: Iterator[Any] = _counted(image.bands(TILE_PX), tell)
        for level, size in enumerate(sizes):
            if level + 1 == len(sizes):
                yield size, bands
                return
            smaller = kept.enter_context(TemporaryFile())
            yield size, _spilling(bands, smaller)
            bands = _spilled(smaller, sizes[level + 1], image.info)


def tiles_of(band: Any) -> Iterator[Any]:  # noqa: ANN401  # (rows, width) or (rows, width, 3) of any kind
    """Stored tiles of a band, from left to right; the last may be narrower."""
    for left in range(0, band.shape[1], TILE_PX):
        yield np.ascontiguousarray(band[:, left : left + TILE_PX])


def stored_kind(info: ImageInfo) -> np.dtype[Any]:
    """The kind of pixel that an image is written with: what `read_box` returns."""
    return np.dtype({8: np.uint8, 16: np.uint16, 32: np.float32}[info.bit_depth])


def colour_axis(info: ImageInfo) -> tuple[int, ...]:
    return (3,) if info.samples_per_px == 3 else ()


def _spilling(bands: Iterator[Any], smaller: IO[bytes]) -> Iterator[Any]:
    """Keep each band at half the size in a file, from which the next level is written; then hand it on.

    In that order: a writer asks for nothing after the last tile.
    """
    for band in bands:
        for top in range(0, band.shape[0], HALVED_ROWS):
            rows = band[top : top + HALVED_ROWS]
            if rows.shape[0] > 1 or smaller.tell() == 0:
                smaller.write(halved(rows).tobytes())
        yield band


def _spilled(file: IO[bytes], size: SizePx, info: ImageInfo) -> Iterator[Any]:
    file.seek(0)
    shape, kind = (size.width, *colour_axis(info)), stored_kind(info)
    row_bytes = int(np.prod(shape)) * kind.itemsize
    for top in range(0, size.height, TILE_PX):
        rows = min(TILE_PX, size.height - top)
        yield np.frombuffer(file.read(rows * row_bytes), kind).reshape(rows, *shape)


def _counted(bands: Iterator[Any], tell: TellRows) -> Iterator[Any]:
    for band in bands:
        tell(band.shape[0])
        yield band
