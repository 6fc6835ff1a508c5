"""Read planned tiles at the model's pixel size, in threads, never more than a few ahead of their user."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.quality.tile_look import SPECTRUM_TILES, grid_steps
from ultraread.datasets.slide import ImageInfo, Pixels, Slide, TileUnreadable
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.errors import NonFinitePixels

BLANK_GREYS = {8: 0.02 * 255, 16: 0.5, 32: 0.0}
"""By bit depth: block means that differ by no more are blank. Low on purpose: to skip tissue would be silent,
to score empty resin only costs time. What 16-bit and float files use of their range is not known (12 bits of
a camera, counts of a detector), so there only constant tiles are blank. Chosen by reasoning, not fitted."""
BLANK_BLOCK_PX = 8

Item = TypeVar("Item")
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class TilePixels:
    """A tile as read: (seen_px, seen_px) float32 grey in stored intensities, or why there is none.

    `grid` (2, 8) tells steps of the stored pixels on a grid of 8, of the first tiles of a plan alone.
    """

    tile: PlannedTile
    grey: NDArray[np.float32] | None
    is_blank: bool = False
    failure: str = ""
    grid: NDArray[np.float32] | None = None


class TileReader:
    """Reads the tiles of one plan from one slide; safe to call from threads."""

    def __init__(self, slide: Slide, plan: TilePlan) -> None:
        self._slide = slide
        self._plan = plan
        self._info = slide.info.images[plan.image]
        self._level = best_level(self._info, plan.zoom)

    def __call__(self, tile: PlannedTile) -> TilePixels:
        """Raises NonFinitePixels; what cannot be decoded is returned as a failure that names it."""
        try:
            grey, grid = self._rescaled(tile)
        except TileUnreadable as failure:
            return TilePixels(tile, None, failure=str(failure))
        if not np.isfinite(grey).all():
            raise NonFinitePixels(f"NaN or infinite pixels near x={tile.box.x}, y={tile.box.y}")
        before = self._missing_before(tile)
        core = grey[self._plan.margin_px - before[0] :, self._plan.margin_px - before[1] :]
        core = core[: tile.model_box.height, : tile.model_box.width]
        padded = pad_reflect(grey, self._plan.seen_px, before)
        return TilePixels(tile, padded, is_blank(core, self._info.bit_depth), grid=grid)

    @property
    def bit_depth(self) -> int:
        return self._info.bit_depth

    def _missing_before(self, tile: PlannedTile) -> tuple[int, int]:
        """Rows above and columns to the left of the region that the margin would reach."""
        top, left = (max(0, self._plan.margin_px - first) for first in (tile.model_box.y, tile.model_box.x))
        return top, left

    def _rescaled(self, tile: PlannedTile) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        across, down = self._downsamples()
        size, seen = self._info.levels[self._level], self._plan.seen_box(tile)
        left, right = seen.x * self._plan.zoom, seen.right * self._plan.zoom
        top, bottom = seen.y * self._plan.zoom, seen.bottom * self._plan.zoom
        x0, x1 = (min((self._plan.region.x + x) / across, size.width) for x in (left, right))
        y0, y1 = (min((self._plan.region.y + y) / down, size.height) for y in (top, bottom))
        grids: list[NDArray[np.float32]] = []

        def read(box: BoxPx) -> Pixels:
            pixels = self._slide.read_box(self._plan.image, self._level, box)
            if tile.index < SPECTRUM_TILES:
                grids.append(grid_steps(as_grey(pixels), box.x, box.y))
            return pixels

        return resample(read, (x0, y0, x1, y1), seen), grids[0] if grids else None

    def _downsamples(self) -> tuple[float, float]:
        level, full = self._info.levels[self._level], self._info.size
        return full.width / level.width, full.height / level.height


def stream(read: Callable[[Item], Read], items: Iterable[Item], pool: Executor, ahead: int) -> Iterator[Read]:
    """Yield read(item) in order, with at most `ahead` items being read or waiting: the bounded queue."""
    waiting: deque[Future[Read]] = deque()
    rest = iter(items)
    try:
        for item in islice(rest, ahead):
            waiting.append(pool.submit(read, item))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(read, item) for item in islice(rest, 1))
    finally:
        for future in waiting:
            future.cancel()


def best_level(image: ImageInfo, zoom: float) -> int:
    """The smallest level that still has at least the model's resolution."""
    downsamples = [image.size.width / level.width for level in image.levels]
    return max(n for n, downsample in enumerate(downsamples) if downsample <= max(1.0, zoom * 1.001))


def resample(
    read: Callable[[BoxPx], Pixels], edges: tuple[float, float, float, float], target: BoxPx
) -> NDArray[np.float32]:
    """Return (target.height, target.width) grey of the source between `edges` (x0, y0, x1, y1).

    Triangle filter with support of one target pixel (Pillow BILINEAR), which does not alias when shrinking.
    """
    x0, y0, x1, y1 = edges
    left, top = int(x0 + 1e-6), int(y0 + 1e-6)
    right, bottom = int(np.ceil(x1 - 1e-6)), int(np.ceil(y1 - 1e-6))
    grey = as_grey(read(BoxPx(left, top, right - left, bottom - top)))
    inside = (max(0.0, x0 - left), max(0.0, y0 - top), min(x1, right) - left, min(y1, bottom) - top)
    is_target = np.allclose(inside, (0, 0, target.width, target.height), rtol=0, atol=1e-3)
    if is_target and grey.shape == (target.height, target.width):
        return grey
    picture = Image.fromarray(grey, mode=None).resize(
        (target.width, target.height), Image.Resampling.BILINEAR, box=inside
    )
    return np.asarray(picture, np.float32)


def as_grey(pixels: Pixels) -> NDArray[np.float32]:
    """(height, width) float32; of RGB the mean of its channels."""
    grey = pixels.mean(axis=2, dtype=np.float32) if pixels.ndim == 3 else pixels
    return np.ascontiguousarray(grey, np.float32)


def pad_reflect(
    grey: NDArray[np.float32], side_px: int, before: tuple[int, int] = (0, 0)
) -> NDArray[np.float32]:
    """Extend to (side_px, side_px) by reflection: no edge that the tissue does not have.

    `before` are rows above and columns to the left; the rest goes below and to the right.
    """
    top, left = before
    below, beside = side_px - grey.shape[0] - top, side_px - grey.shape[1] - left
    if grey.shape == (side_px, side_px):
        return grey
    return np.pad(grey, ((top, below), (left, beside)), mode="reflect" if min(grey.shape) > 1 else "edge")


def is_blank(grey: NDArray[np.float32], bit_depth: int) -> bool:
    """True where block means hardly differ: nothing that a model could see."""
    means = block_means(grey, BLANK_BLOCK_PX)
    return float(np.ptp(means)) <= BLANK_GREYS[bit_depth]


def block_means(grey: NDArray[np.float32], block_px: int) -> NDArray[np.float32]:
    """Means of whole blocks, (height // block_px, width // block_px); of the whole where it is smaller."""
    rows, columns = grey.shape[0] // block_px, grey.shape[1] // block_px
    if not rows or not columns:
        return grey
    blocks = grey[: rows * block_px, : columns * block_px].reshape(rows, block_px, columns, block_px)
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means
