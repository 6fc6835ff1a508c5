"""What a picture can be made from: stored levels, and an overview where those are too large."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np

from ultraread.datasets.geometry import BoxPx, SizePx, whole
from ultraread.datasets.slide import ImageInfo, Pixels, Slide, TileUnreadable
from ultraread.errors import ViewTooLarge
from ultraread.serving.viewing.planes import each_plane

OVERVIEW_SIDE_PX = 2048
MAX_DECODED_PX = 2**26
"""Pixels that one picture may decode: a stored tile may have as many."""
MAX_OVERVIEW_DECODED_PX = 2**30
"""Pixels that one pass for an overview may decode: a camera's largest stitched plane (30,000 px square)."""
CHUNK_PX = 2**22
"""Pixels in memory at a time while a plane is reduced: 16 MiB as float."""
SMALLEST_READ_PX = 256
"""What cannot be decoded is narrowed down to boxes of this side, so that the rest is shown."""

Read = Callable[[BoxPx], Pixels]
Told = Callable[[BoxPx], None]
"""Hears of a box that cannot be decoded."""


def ignored(_box: BoxPx) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The image at a smaller size; one of its pixels covers `across` x `down` level-0 pixels."""

    size: SizePx
    across: float
    down: float
    read: Read

    @property
    def scale(self) -> float:
        return max(self.across, self.down)


def stored_layers(slide: Slide, image: ImageInfo, told: Told = ignored) -> list[Layer]:
    """One a stored level, the full size first; unreadable parts are NaN, and `told` hears of each."""

    def reader(level: int) -> Read:
        return lambda box: _read_what_can_be(lambda part: slide.read_box(image.index, level, part), box, told)

    return [
        Layer(size, image.size.width / size.width, image.size.height / size.height, reader(number))
        for number, size in enumerate(image.levels)
    ]


def overview_factor(coarsest: SizePx) -> int:
    """How many of the coarsest level's pixels, across and down, one pixel of the overview covers."""
    return max(1, math.ceil(max(coarsest.width, coarsest.height) / OVERVIEW_SIDE_PX))


def overview_layer(coarsest: Layer, factor: int, made: Callable[[], Pixels]) -> Layer:
    """The layer of an overview that is made when it is first looked at."""
    size = SizePx(-(-coarsest.size.width // factor), -(-coarsest.size.height // factor))

    def read(box: BoxPx) -> Pixels:
        return made()[box.y : box.bottom, box.x : box.right]

    return Layer(size, coarsest.across * factor, coarsest.down * factor, read)


def make_overview(coarsest: Layer, factor: int) -> Pixels:
    """Block means of the whole level. Raises ViewTooLarge above MAX_OVERVIEW_DECODED_PX."""
    if coarsest.size.area_px > MAX_OVERVIEW_DECODED_PX:
        raise ViewTooLarge(
            f"a plane of {coarsest.size.width} x {coarsest.size.height} px has no smaller level"
        )
    small = reduced(coarsest, factor, factor)
    return small.read(whole(small.size))


def reduced(layer: Layer, across: int, down: int) -> Layer:
    """The layer with blocks of `across` x `down` pixels as their means, on a lattice from its first pixel.

    Blocks at the right and lower edge are means of what is there. Read in chunks of about CHUNK_PX.
    """
    if across == down == 1:
        return layer
    size = SizePx(-(-layer.size.width // across), -(-layer.size.height // down))

    def read(box: BoxPx) -> Pixels:
        block_px = across * down
        columns = max(1, min(box.width, CHUNK_PX // block_px))
        rows = max(1, min(box.height, CHUNK_PX // (columns * block_px)))
        bands = [
            [_block_means(layer, part, across, down) for part in _cut(band, columns, band.height)]
            for band in _cut(box, box.width, rows)
        ]
        return _joined(bands)

    return Layer(size, layer.across * across, layer.down * down, read)


def _block_means(layer: Layer, box: BoxPx, across: int, down: int) -> Pixels:
    right = min(box.right * across, layer.size.width)
    bottom = min(box.bottom * down, layer.size.height)
    pixels = layer.read(BoxPx(box.x * across, box.y * down, right - box.x * across, bottom - box.y * down))
    return each_plane(pixels, lambda plane: plane.reduce((across, down)))


def _read_what_can_be(read: Read, box: BoxPx, told: Told) -> Pixels:
    """The box's pixels; where parts of it cannot be decoded, as floats with NaN there."""
    try:
        return read(box)
    except TileUnreadable:
        columns, rows = _halves(box.x, box.right), _halves(box.y, box.bottom)
    if len(columns) == len(rows) == 1:
        told(box)
        return np.full((box.height, box.width), np.nan, np.float32)
    return _joined(
        [
            [_read_what_can_be(read, BoxPx(x, y, right - x, bottom - y), told) for x, right in columns]
            for y, bottom in rows
        ]
    )


def _halves(first: int, last: int) -> list[tuple[int, int]]:
    """Cut in two at a multiple of SMALLEST_READ_PX, where stored tiles mostly end; uncut without one."""
    middle = round((first + last) / 2 / SMALLEST_READ_PX) * SMALLEST_READ_PX
    return [(first, middle), (middle, last)] if first < middle < last else [(first, last)]


def _cut(box: BoxPx, width: int, height: int) -> list[BoxPx]:
    """Parts of at most this size, row by row."""
    return [
        BoxPx(x, y, min(width, box.right - x), min(height, box.bottom - y))
        for y in range(box.y, box.bottom, height)
        for x in range(box.x, box.right, width)
    ]


def _joined(rows: list[list[Pixels]]) -> Pixels:
    """One picture of parts; grey ones (all NaN) beside coloured ones become coloured."""
    coloured = any(part.ndim == 3 for row in rows for part in row)
    bands = [np.concatenate([_in_colour(part) if coloured else part for part in row], axis=1) for row in rows]
    return cast(Pixels, np.concatenate(bands, axis=0))


def _in_colour(part: Pixels) -> Pixels:
    return part if part.ndim == 3 else cast(Pixels, np.stack([part] * 3, axis=2))


def sample_boxes(size: SizePx) -> list[BoxPx]:
    """Small boxes on a lattice over an image."""
    width, height = min(SMALLEST_READ_PX, size.width), min(SMALLEST_READ_PX, size.height)
    return [
        BoxPx((size.width - width) * column // 3, (size.height - height) * row // 3, width, height)
        for row in range(4)
        for column in range(4)
    ]
