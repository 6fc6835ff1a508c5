"""What quality control keeps of one tile: small arrays, taken in the pass that scores.

Cheap features of every tile, lie by patch; a spectrum and the steps of the stored pixels only where asked.
"""

import math
import threading
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.quality.spectra import SPECTRUM_VALUES, tile_spectrum

BLOCK_PX = 4
"""Specks are looked for at this size: four model pixels a side, 18 nm at 4.6 nm/px."""
PATCH_PX = 16
SPECTRUM_TILES = 256
"""Only the first tiles of an image's plan, spread over all of it, get a spectrum."""
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TileLooks:
    """N tiles, each of p x p patches; intensities are in standard deviations of the image from its mean.

    mean, darkest, rough (N, p, p) float16: mean, darkest block, spread of blocks; clipped (N, p, p) uint8:
    share of pixels at the ends of the stored range in 255ths; steps (N, 2, p) float16: the highest ratio of
    any line's step to the tile's median line; signs (N, 2, p) float16: the mean sign of the step of most
    agreement; both for lines between rows, then between columns. spectra (M, SPECTRUM_VALUES) float16 and
    grids (M, 2, 8) float32 of the first M tiles of the plan.
    """

    mean: NDArray[np.float16]
    darkest: NDArray[np.float16]
    rough: NDArray[np.float16]
    clipped: NDArray[np.uint8]
    steps: NDArray[np.float16]
    signs: NDArray[np.float16]
    spectra: NDArray[np.float16]
    grids: NDArray[np.float32]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """By name, as a checkpoint keeps them."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def empty_looks(tiles: int, side: int, spectra: int) -> TileLooks:
    """Looks of tiles that nobody has looked at yet, and of those that cannot be decoded."""
    by_patch, by_line = (tiles, side, side), (tiles, 2, side)
    return TileLooks(
        np.zeros(by_patch, np.float16),
        np.zeros(by_patch, np.float16),
        np.zeros(by_patch, np.float16),
        np.zeros(by_patch, np.uint8),
        np.ones(by_line, np.float16),
        np.zeros(by_line, np.float16),
        np.full((spectra, SPECTRUM_VALUES), np.nan, np.float16),
        np.zeros((spectra, 2, 8), np.float32),
    )


@dataclass(frozen=True, slots=True)
class StoredRange:
    """Mean and standard deviation of the image, and the ends of what its pixels can be."""

    mean: float
    std: float
    low: float
    high: float


def stored_range(mean: float, std: float, bit_depth: int) -> StoredRange:
    """The ends of unsigned integers; floats have none that is known."""
    high = {8: 255.0, 16: 65535.0}.get(bit_depth, np.inf)
    return StoredRange(mean, max(std, 1e-6), 0.0 if np.isfinite(high) else -np.inf, high)


def look_at_tile(looks: TileLooks, place: int, core: Floats, side: int, of: StoredRange) -> None:
    """Fill row `place` from the (tile_px, tile_px) pixels that the scores speak of, cut into side x side."""
    core = np.ascontiguousarray(core)
    patch_px = core.shape[0] // side
    block_px = BLOCK_PX if patch_px % BLOCK_PX == 0 else 1
    blocks = (_block_means(core, block_px) - np.float32(of.mean)) / np.float32(of.std)
    looks.mean[place], looks.darkest[place], looks.rough[place] = _half(_by_patch(blocks, side))
    looks.clipped[place] = _clipped_share(core, side, of)
    for axis in (0, 1):
        looks.steps[place, axis], looks.signs[place, axis] = line_steps(core, axis, side, _alike(of.std))


def look_closely(looks: TileLooks, place: int, core: Floats, grid: Floats) -> None:
    """Fill row `place` of what only the first tiles of a plan get."""
    looks.spectra[place] = tile_spectrum(core).astype(np.float16)
    looks.grids[place] = grid


def line_steps(core: Floats, axis: int, side: int, alike: float = 2**-7) -> tuple[Floats, Floats]:
    """For each row of patches (axis 0) or column (axis 1), what its most step-like line is.

    A line is the border between two neighbouring rows. Its step is the mean absolute difference across it,
    as a ratio to the tile's median; its sign the mean sign of the difference: 1 where every pixel rises.
    A difference below `alike` counts as that much less than a sign: none, for integers and `alike` below 1.
    """
    step, sign = _line_sums(np.ascontiguousarray(core), axis, alike)
    lines, along = core.shape[axis], core.shape[1 - axis]
    ratios, signs = np.ones(lines, np.float32), np.zeros(lines, np.float32)
    ratios[1:], signs[1:] = step / max(_median(step), 1e-6), sign / np.float32(alike * along)
    by_patch = signs.reshape(side, -1)
    strongest = np.abs(by_patch).argmax(axis=1)
    highest = np.minimum(ratios.reshape(side, -1).max(axis=1), 1000.0)
    return highest, by_patch[np.arange(side), strongest]


def _line_sums(core: Floats, axis: int, alike: float) -> tuple[Floats, Floats]:
    """Of each line: the sum of absolute differences across it, and of differences cut to +-`alike`."""
    across, cut = _rooms.of(core.size)
    _differences(core, axis, across)
    np.clip(across, -alike, alike, out=cut)
    np.abs(across, out=across)
    sums = [each.reshape(core.shape).sum(axis=1 - axis)[:-1] for each in (across, cut)]
    return sums[0], sums[1]


def _differences(core: Floats, axis: int, out: Floats) -> None:
    """Fill (height * width,) with what each pixel is less than the next one below, or to the right.

    Taken in one row, as that is fast. The last line has no next one: what `out` holds there means nothing.
    """
    apart = core.shape[1] if axis == 0 else 1
    flat = core.ravel()
    np.subtract(flat[apart:], flat[:-apart], out=out[:-apart])
    out[-apart:] = 0


def _alike(std: float) -> float:
    """Next power of two below a 128th of the standard deviation: sums of it are exact."""
    return float(2.0 ** math.floor(math.log2(std / 128)))


def _median(values: Floats) -> float:
    """As numpy's, without what its generality costs on a few hundred values."""
    ordered, last = np.sort(values), len(values) - 1
    return float(ordered[last // 2] + ordered[last - last // 2]) / 2


class _Rooms(threading.local):
    """Memory for two copies of a tile, of each thread: to ask the system for it costs more than the sums."""

    def __init__(self) -> None:
        self._both = np.zeros((2, 0), np.float32)

    def of(self, pixels: int) -> Floats:
        if self._both.shape[1] != pixels:
            self._both = np.empty((2, pixels), np.float32)
        return self._both


_rooms = _Rooms()


def grid_steps(stored: Floats, x: int, y: int) -> Floats:
    """(2, 8): mean second difference of stored pixels at each phase of an 8-pixel grid, across and down.

    `x`, `y` is where the first pixel lies in its level. JPEG codes squares of 8 px, each by itself.
    """
    found = np.zeros((2, 8), np.float32)
    for axis, (length, first) in enumerate(((stored.shape[1], x), (stored.shape[0], y))):
        if length < 12:
            continue
        # |b - c| less the mean of |a - b| and |c - d|: a step, and not a slope
        near = _mean_steps(stored, 1 - axis)
        excess = near[1:-1] - (near[:-2] + near[2:]) / 2
        phase = (np.arange(len(excess)) + first + 2) % 8
        total = np.bincount(phase, excess, 8) / np.maximum(np.bincount(phase, minlength=8), 1)
        found[axis] = total / max(float(near.mean()), 1e-6)
    return found


def _mean_steps(stored: Floats, axis: int) -> Floats:
    """Mean absolute difference across each line."""
    across = np.empty(stored.size, np.float32)
    _differences(stored, axis, across)
    np.abs(across, out=across)
    return np.asarray(across.reshape(stored.shape).mean(axis=1 - axis)[:-1], np.float32)


def patch_side(core_px: int) -> int:
    """Patches a side: of the size next to PATCH_PX that divides the tile."""
    sizes = [size for size in range(1, core_px + 1) if core_px % size == 0]
    return core_px // min(sizes, key=lambda size: (abs(size - PATCH_PX), size))


def _block_means(core: Floats, block_px: int) -> Floats:
    """Rows first; then columns one by one, as numpy is slow where it sums few neighbours."""
    summed = core.reshape(core.shape[0] // block_px, block_px, -1).sum(axis=1, dtype=np.float32)
    means: Floats = sum(summed[:, first::block_px] for first in range(1, block_px)) + summed[:, ::block_px]
    return means / np.float32(block_px**2)


def _by_patch(blocks: Floats, side: int) -> Floats:
    """(3, side, side): mean, minimum and standard deviation of the blocks of each patch."""
    each = blocks.shape[0] // side
    patches = blocks.reshape(side, each, side, each).transpose(1, 3, 0, 2).reshape(-1, side, side)
    mean = patches.mean(axis=0)
    spread = np.sqrt(np.square(patches - mean).mean(axis=0))
    return np.stack([mean, patches.min(axis=0), spread])


def _clipped_share(core: Floats, side: int, of: StoredRange) -> NDArray[np.uint8]:
    if not np.isfinite(of.high) or (core.min() > of.low and core.max() < of.high):
        return np.zeros((side, side), np.uint8)
    at_end = (core <= of.low) | (core >= of.high)
    patch_px = core.shape[0] // side
    rows = at_end.view(np.uint8).reshape(side, patch_px, -1).sum(axis=1, dtype=np.uint16)
    counts = rows.reshape(side, side, patch_px).sum(axis=2, dtype=np.uint32)
    return np.asarray(np.rint(np.float32(255 / patch_px**2) * counts), np.uint8)


def _half(values: Floats) -> NDArray[np.float16]:
    """Within what float16 holds: nothing beyond a thousand standard deviations is told apart."""
    return np.clip(values, -1000, 1000).astype(np.float16)
