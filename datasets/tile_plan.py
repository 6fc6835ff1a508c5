"""The tiles of a read: which squares, at the model's pixel size, in what order, in which ranges.

A plan lives in *model pixels*: the region rescaled to the model's nm/px. Each of those pixels lies in exactly
one tile; a tile's level-0 box is rounded outward, so neighbouring boxes may share a rim of one pixel.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx, SizePx

ROUNDING_SLACK = 1e-6
"""Level-0 pixels; keeps 4.6 / 4.6 and its like from spilling into the next pixel."""


@dataclass(frozen=True, slots=True)
class PlannedTile:
    """One tile: its place in the plan, its box in model pixels of the region, its box in level-0 pixels."""

    index: int
    model_box: BoxPx
    box: BoxPx


@dataclass(frozen=True, slots=True)
class TilePlan:
    """All tiles over `region` (level-0 pixels) of one image; `zoom` is level-0 pixels per model pixel.

    Squares of `tile_px` cover the region once; the model sees `margin_px` of context more on each side.
    """

    image: int
    region: BoxPx
    zoom: float
    tile_px: int
    range_tiles: int
    margin_px: int = 0

    def __len__(self) -> int:
        return self.columns * self.rows

    @property
    def size(self) -> SizePx:
        """The region in model pixels; its last row and column may reach past it by part of a pixel."""
        width, height = (
            max(1, math.ceil((side - ROUNDING_SLACK) / self.zoom))
            for side in (self.region.width, self.region.height)
        )
        return SizePx(width, height)

    @property
    def seen_px(self) -> int:
        """Side of what is handed to the model."""
        return self.tile_px + 2 * self.margin_px

    @property
    def columns(self) -> int:
        return -(-self.size.width // self.tile_px)

    @property
    def rows(self) -> int:
        return -(-self.size.height // self.tile_px)

    @property
    def ranges(self) -> int:
        """Number of ranges; all but the last hold `range_tiles` tiles."""
        return -(-len(self) // self.range_tiles)

    def range_bounds(self, number: int) -> tuple[int, int]:
        """First tile of a range, and the one after its last."""
        return number * self.range_tiles, min((number + 1) * self.range_tiles, len(self))

    def tiles(self, start: int = 0, stop: int | None = None) -> Iterator[PlannedTile]:
        """Yield the tiles at places [start, stop) of the plan, coarse to fine."""
        order = coarse_to_fine(self.columns, self.rows)
        for index in range(start, len(self) if stop is None else stop):
            row, column = divmod(int(order[index]), self.columns)
            model_box = self._model_box(column, row)
            yield PlannedTile(index, model_box, self.level0_box(model_box))

    def level0_box(self, model_box: BoxPx) -> BoxPx:
        """The smallest level-0 box around a box of model pixels, inside the region."""
        left, right = self._span(model_box.x, model_box.right, self.region.x, self.region.width)
        top, bottom = self._span(model_box.y, model_box.bottom, self.region.y, self.region.height)
        return BoxPx(left, top, right - left, bottom - top)

    def seen_box(self, tile: PlannedTile) -> BoxPx:
        """The model pixels that a tile and its margin have inside the region."""
        x, y = (max(0, first - self.margin_px) for first in (tile.model_box.x, tile.model_box.y))
        right = min(self.size.width, tile.model_box.x + self.tile_px + self.margin_px)
        bottom = min(self.size.height, tile.model_box.y + self.tile_px + self.margin_px)
        return BoxPx(x, y, right - x, bottom - y)

    def _model_box(self, column: int, row: int) -> BoxPx:
        x, y = column * self.tile_px, row * self.tile_px
        return BoxPx(x, y, min(self.tile_px, self.size.width - x), min(self.tile_px, self.size.height - y))

    def _span(self, first: int, after: int, origin: int, side: int) -> tuple[int, int]:
        low = math.floor(first * self.zoom + ROUNDING_SLACK)
        high = math.ceil(after * self.zoom - ROUNDING_SLACK)
        return origin + min(low, side - 1), origin + min(high, side)


@lru_cache(maxsize=4)
def coarse_to_fine(columns: int, rows: int) -> NDArray[np.uint32]:
    """Return (columns * rows,) row-major grid places, ordered from a wide lattice to ever finer ones.

    The first n tiles are spread over the image for every n, so that an early estimate has seen all of it.
    """
    row, column = np.divmod(np.arange(columns * rows, dtype=np.int64), columns)
    either = np.bitwise_or(row, column)
    stride = np.bitwise_and(either, np.negative(either))  # lowest set bit: the widest lattice it lies on
    stride[0] = np.iinfo(np.int64).max
    return np.argsort(np.negative(stride), kind="stable").astype(np.uint32)
