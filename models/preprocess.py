"""From stored intensities to what the network was trained on: one window an image, one rule a card."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ultraread.models.card import FullRange, ImageMeanStd

SHOWN_STANDARD_DEVIATIONS = 3.0


@dataclass(frozen=True, slots=True)
class Window:
    """Mean and standard deviation of an image's intensities, as stored."""

    mean: float
    std: float


def measure_window(tiles: Iterable[NDArray[np.float32]]) -> Window:
    """Return the pooled window of (H, W) tiles; the unit window where there is none.

    Sums in float64 and in the order given, so that the same tiles give the same window to the last bit.
    """
    count, total, squares = 0, 0.0, 0.0
    for tile in tiles:
        exact = tile.astype(np.float64)
        count += exact.size
        total += float(exact.sum())
        squares += float(np.square(exact).sum())
    if not count:
        return Window(0.0, 1.0)
    mean = total / count
    return Window(mean, max(squares / count - mean * mean, 0.0) ** 0.5)


def full_range_window(bit_depth: int) -> Window:
    """The window with which `normalise` divides by the full range of unsigned integers: 0 to 1."""
    return Window(0.0, 2.0**bit_depth - 1)


def window_to_show(window: Window, rule: ImageMeanStd | FullRange) -> Window:
    """The window with which `for_showing` shows people what the network gets."""
    if isinstance(rule, FullRange):
        return Window(window.std / 2, window.std / (2 * SHOWN_STANDARD_DEVIATIONS))
    return window


def normalise(tiles: NDArray[np.float32], window: Window, clip: float) -> NDArray[np.float32]:
    """Map (N, H, W) stored intensities to (N, 1, H, W) float32 in standard deviations, clipped to +-clip."""
    scaled = (tiles - np.float32(window.mean)) / np.float32(max(window.std, 1e-6))
    clipped: NDArray[np.float32] = np.clip(scaled, -clip, clip, dtype=np.float32)
    return clipped[:, None]


def for_showing(grey: NDArray[np.float32], window: Window) -> NDArray[np.uint8]:
    """Map stored intensities to 8-bit grey for people: mean +- 3 standard deviations fill the range."""
    spread = 2 * SHOWN_STANDARD_DEVIATIONS * max(window.std, 1e-6)
    share = (grey - np.float32(window.mean)) / np.float32(spread) + np.float32(0.5)
    shown: NDArray[np.uint8] = (np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)
    return shown
