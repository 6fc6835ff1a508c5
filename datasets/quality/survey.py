"""Quality control of an image without a model: the same looks, sketch and limits as in a read."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx, whole
from ultraread.datasets.quality.assess import ImageQuality, assess
from ultraread.datasets.quality.contrast import SAMPLE_TILES, Contrast, contrast_of
from ultraread.datasets.quality.sketch import ImageSketch
from ultraread.datasets.quality.tile_look import (
    SPECTRUM_TILES,
    StoredRange,
    empty_looks,
    look_at_tile,
    look_closely,
    patch_side,
    stored_range,
)
from ultraread.datasets.slide import ImageInfo, Slide
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.datasets.tile_stream import TilePixels, TileReader, block_means, stream

TILE_PX = 224
"""What the demonstration model speaks of: figures of a survey and of a read are of the same squares."""
RANGE_TILES = 128
WINDOW_TILES = 64
PICTURE_PX = 1024
SHOWN_DEVIATIONS = 3.0
Floats = NDArray[np.float32]


def survey(
    slide: Slide, image: ImageInfo, zoom: float = 1.0, burnt_in: Sequence[BoxPx] = ()
) -> tuple[ImageQuality, Contrast]:
    """The artefacts of an image, and its contrast. `zoom` is level-0 pixels a pixel that is looked at.

    Raises NonFinitePixels. What cannot be decoded is left out.
    """
    plan = TilePlan(image.index, whole(image.size), zoom, TILE_PX, RANGE_TILES)
    reader = TileReader(slide, plan)
    first = list(_first_tiles(reader, plan))
    of = _range_of(first, image.bit_depth)
    side, shown_px = patch_side(TILE_PX), TILE_PX // _stride(plan)
    sketch = ImageSketch(plan, side, shown_px)
    with ThreadPoolExecutor(1) as pool:
        for number in range(plan.ranges):
            tiles = list(plan.tiles(*plan.range_bounds(number)))
            _add(sketch, tiles, stream(reader, tiles, pool, ahead=4), of, (side, shown_px))
    return assess(sketch, burnt_in), contrast_of(first[:SAMPLE_TILES])


def _add(
    sketch: ImageSketch,
    tiles: list[PlannedTile],
    read: Iterable[TilePixels],
    of: StoredRange,
    sides: tuple[int, int],
) -> None:
    side, shown_px = sides
    closely = min(max(0, SPECTRUM_TILES - tiles[0].index), len(tiles))
    looks = empty_looks(len(tiles), side, closely)
    shown = np.zeros((len(tiles), shown_px, shown_px), np.uint8)
    for place, pixels in enumerate(read):
        if pixels.grey is None:
            continue
        look_at_tile(looks, place, pixels.grey, side, of)
        if place < closely and pixels.grid is not None and not pixels.is_blank:
            look_closely(looks, place, pixels.grey, pixels.grid)
        shown[place] = _shown(block_means(pixels.grey, TILE_PX // shown_px), of)
    sketch.add(looks, shown, tiles)


def _first_tiles(reader: TileReader, plan: TilePlan) -> Iterator[Floats]:
    usable = (pixels.grey for pixels in map(reader, plan.tiles()) if pixels.grey is not None)
    return islice(usable, WINDOW_TILES)


def _range_of(tiles: Sequence[Floats], bit_depth: int) -> StoredRange:
    if not tiles:
        return stored_range(0.0, 1.0, bit_depth)
    means = np.array([tile.mean(dtype=np.float64) for tile in tiles])
    squares = np.array([np.square(tile, dtype=np.float64).mean() for tile in tiles])
    mean = float(means.mean())
    return stored_range(mean, float(np.sqrt(max(squares.mean() - mean**2, 0.0))), bit_depth)


def _stride(plan: TilePlan) -> int:
    """Pixels a picture pixel: the smallest divisor of the tile that keeps within PICTURE_PX."""
    longest = max(plan.size.width, plan.size.height)
    divisors = (stride for stride in range(1, TILE_PX + 1) if TILE_PX % stride == 0)
    return next((stride for stride in divisors if longest <= PICTURE_PX * stride), TILE_PX)


def _shown(means: Floats, of: StoredRange) -> NDArray[np.uint8]:
    share = (means - np.float32(of.mean)) / np.float32(2 * SHOWN_DEVIATIONS * of.std) + np.float32(0.5)
    return np.asarray(np.clip(share, 0, 1) * 255 + 0.5, np.uint8)
