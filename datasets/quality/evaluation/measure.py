"""Quality control of a field that lies in memory, and what is counted of it."""

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.quality.assess import ImageQuality, assess
from ultraread.datasets.quality.sketch import ImageSketch
from ultraread.datasets.quality.tile_look import (
    empty_looks,
    grid_steps,
    look_at_tile,
    look_closely,
    stored_range,
)
from ultraread.datasets.tile_plan import TilePlan
from ultraread.datasets.tile_stream import block_means, is_blank, pad_reflect

TILE_PX, SIDE = 224, 14
"""As the demonstration model cuts a slide."""
SHOWN_DEVIATIONS = 3.0
Floats = NDArray[np.float32]


def quality_of(grey: Floats, bit_depth: int) -> ImageQuality:
    """The artefacts of a field (H, W) of stored intensities, at its own pixels."""
    plan = TilePlan(0, BoxPx(0, 0, grey.shape[1], grey.shape[0]), 1.0, TILE_PX, len_of_all(grey))
    stride = _stride(grey)
    sketch = ImageSketch(plan, SIDE, TILE_PX // stride)
    of = stored_range(float(grey.mean()), float(grey.std()), bit_depth)
    tiles = list(plan.tiles())
    looks = empty_looks(len(tiles), SIDE, min(len(tiles), 256))
    shown = np.zeros((len(tiles), TILE_PX // stride, TILE_PX // stride), np.uint8)
    for place, tile in enumerate(tiles):
        box = tile.model_box
        raw = np.ascontiguousarray(grey[box.y : box.bottom, box.x : box.right])
        core = pad_reflect(raw, TILE_PX)
        look_at_tile(looks, place, core, SIDE, of)
        if place < len(looks.spectra) and not is_blank(raw, bit_depth):
            look_closely(looks, place, core, grid_steps(raw, box.x, box.y))
        share = (block_means(core, stride) - of.mean) / (2 * SHOWN_DEVIATIONS * of.std) + 0.5
        shown[place] = np.clip(255 * share + 0.5, 0, 255)
    sketch.add(looks, shown, tiles)
    return assess(sketch)


def len_of_all(grey: Floats) -> int:
    """Tiles of a field: all of them are one range."""
    return -(-grey.shape[0] // TILE_PX) * -(-grey.shape[1] // TILE_PX)


def by_cell(mask: NDArray[np.bool_], cell_px: int) -> NDArray[np.bool_]:
    """(rows, columns): cells of which the mask covers at least a quarter, or that hold most of a speck."""
    height, width = (-(-side // cell_px) * cell_px for side in mask.shape)
    padded = np.zeros((height, width), np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    shares = padded.reshape(height // cell_px, cell_px, width // cell_px, cell_px).mean(axis=(1, 3))
    return np.asarray(shares >= 0.1)


def overlap(found: NDArray[np.bool_] | None, laid: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 0 where nothing was found."""
    if found is None or not (found | laid).any():
        return 0.0
    return float((found & laid).sum() / (found | laid).sum())


def _stride(grey: Floats) -> int:
    """As pictures of a slide are strided: at most 1,024 px a side."""
    longest = max(grey.shape)
    return next(stride for stride in (1, 2, 4, 7, 8, 14, 16, 28, 32, 56, 112, 224) if longest <= 1024 * stride)
