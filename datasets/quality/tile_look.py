"""What quality control keeps of one tile: small arrays, taken in the pass that scores.

Cheap features of every tile, lie by patch; a spectrum and the steps of the stored pixels only where asked.
"""

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
    patch_px = core.shape[0] // side
    block_px = BLOCK_PX if patch_px % BLOCK_PX == 0 else 1
    blocks = _block_means(core, block_px)
    blocks = (blocks - np.float32(of.mean)) / np.float32(of.std)
    grouped = blocks.reshape(side, patch_px // block_px, side, patch_px // block_px)
    patches = grouped.transpose(0, 2, 1, 3).reshape(side, side, -1)
    looks.mean[place] = _half(patches.mean(axis=2))
    looks.darkest[place] = _half(patches.min(axis=2))
    looks.rough[place] = _half(patches.std(axis=2))
    looks.clipped[place] = _clipped_share(core, side, of)
    room = np.empty((2, *core.shape), np.float32)
    for axis in (0, 1):
        looks.steps[place, axis], looks.signs[place, axis] = line_steps(core, axis, side, room)


def look_closely(looks: TileLooks, place: int, core: Floats, grid: Floats) -> None:
    """Fill row `place` of what only the first tiles of a plan get."""
    looks.spectra[place] = tile_spectrum(core).astype(np.float16)
    looks.grids[place] = grid


def line_steps(core: Floats, axis: int, side: int, room: Floats | None = None) -> tuple[Floats, Floats]:
    """For each row of patches (axis 0) or column (axis 1), what its most step-like line is.

    A line is the border between two neighbouring rows. Its step is the mean absolute difference across it,
    as a ratio to the tile's median; its sign the mean sign of the difference: 1 where every pixel rises.
    `room` is memory of twice the tile's size: to ask the system for it line by line costs more than the sums.
    """
    after, before = (core[1:], core[:-1]) if axis == 0 else (core[:, 1:], core[:, :-1])
    room = np.empty((2, *core.shape), np.float32) if room is None else room
    across = np.subtract(after, before, out=room[0, : after.shape[0], : after.shape[1]])
    along, lines = core.shape[1 - axis], core.shape[axis]
    signs = np.zeros(lines, np.float32)
    signs[1:] = np.sign(across, out=room[1, : after.shape[0], : after.shape[1]]).sum(axis=1 - axis)
    step = np.abs(across, out=across).sum(axis=1 - axis)
    ratios = np.ones(lines, np.float32)
    ratios[1:] = step / max(float(np.median(step)), 1e-6)
    by_patch = (signs / np.float32(along)).reshape(side, -1)
    strongest = np.abs(by_patch).argmax(axis=1)
    highest = np.minimum(ratios.reshape(side, -1).max(axis=1), 1000.0)
    return highest, by_patch[np.arange(side), strongest]


def grid_steps(stored: Floats, x: int, y: int) -> Floats:
    """(2, 8): mean second difference of stored pixels at each phase of an 8-pixel grid, across and down.

    `x`, `y` is where the first pixel lies in its level. JPEG codes squares of 8 px, each by itself.
    """
    found = np.zeros((2, 8), np.float32)
    for axis, (pixels, first) in enumerate(((stored.T, x), (stored, y))):
        if len(pixels) < 12:
            continue
        # |b - c| less the mean of |a - b| and |c - d|: a step, and not a slope
        near = np.abs(np.diff(pixels, axis=0)).mean(axis=1)
        excess = near[1:-1] - (near[:-2] + near[2:]) / 2
        phase = (np.arange(len(excess)) + first + 2) % 8
        total = np.bincount(phase, excess, 8) / np.maximum(np.bincount(phase, minlength=8), 1)
        found[axis] = total / max(float(near.mean()), 1e-6)
    return found


def patch_side(core_px: int) -> int:
    """Patches a side: of the size next to PATCH_PX that divides the tile."""
    sizes = [size for size in range(1, core_px + 1) if core_px % size == 0]
    return core_px // min(sizes, key=lambda size: (abs(size - PATCH_PX), size))


def _block_means(core: Floats, block_px: int) -> Floats:
    """Rows first, where additions are of long lines: twice as fast as both axes at once."""
    rows, columns = core.shape[0] // block_px, core.shape[1] // block_px
    summed = core.reshape(rows, block_px, -1).sum(axis=1, dtype=np.float32)
    means: Floats = summed.reshape(rows, columns, block_px).sum(axis=2) / np.float32(block_px**2)
    return means


def _clipped_share(core: Floats, side: int, of: StoredRange) -> NDArray[np.uint8]:
    if core.min() > of.low and core.max() < of.high:
        return np.zeros((side, side), np.uint8)
    at_end = (core <= of.low) | (core >= of.high)
    shares = _block_means(at_end.astype(np.float32), core.shape[0] // side)
    return np.rint(255 * shares).astype(np.uint8)


def _half(values: Floats) -> NDArray[np.float16]:
    """Within what float16 holds: nothing beyond a thousand standard deviations is told apart."""
    return np.clip(values, -1000, 1000).astype(np.float16)
