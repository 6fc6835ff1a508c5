"""How stored intensities become the 8-bit grey or colour that a screen shows."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.slide import Pixels
from ultraread.errors import ViewRequestInvalid

DARKEST_PERCENT = 0.5
BRIGHTEST_PERCENT = 99.5
"""What lies outside shows as black or white. Chosen by reasoning: hot pixels and detector edges are fewer."""
NARROWEST = 1e-30
LOWEST_GAMMA, HIGHEST_GAMMA = 0.1, 10.0


@dataclass(frozen=True, slots=True)
class Display:
    """Stored intensities from `low` to `high` show as black to white.

    Between them share ** (1 / gamma): above 1 the middle brightens. `invert` swaps black and white.
    """

    low: float
    high: float
    gamma: float = 1.0
    invert: bool = False


@dataclass(frozen=True, slots=True)
class AskedDisplay:
    """What a request states about the display; None leaves the choice to the image's own window."""

    low: float | None = None
    high: float | None = None
    gamma: float = 1.0
    invert: bool = False

    def over(self, default: Display) -> Display:
        """The image's own window, with what is stated in its place.

        Raises ViewRequestInvalid where that is no window.
        """
        low = default.low if self.low is None else self.low
        high = default.high if self.high is None else self.high
        if not (math.isfinite(low) and math.isfinite(high) and high - low >= NARROWEST):
            raise ViewRequestInvalid(f"low {low:g} and high {high:g} are no window")
        if not LOWEST_GAMMA <= self.gamma <= HIGHEST_GAMMA:
            raise ViewRequestInvalid(f"gamma {self.gamma:g} is not {LOWEST_GAMMA:g} to {HIGHEST_GAMMA:g}")
        return replace(default, low=low, high=high, gamma=self.gamma, invert=self.invert)


AS_IT_COMES = AskedDisplay()
AS_STORED = Display(0.0, 255.0)


def full_range(bit_depth: int) -> Display:
    """The window of all that `bit_depth` bits can hold."""
    return Display(0.0, 2.0**bit_depth - 1)


def measured(sample: Pixels) -> Display:
    """The window between DARKEST_PERCENT and BRIGHTEST_PERCENT of the finite values of a small picture."""
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return Display(0.0, 1.0)
    low, high = (float(edge) for edge in np.percentile(finite, (DARKEST_PERCENT, BRIGHTEST_PERCENT)))
    return Display(low, max(high, low + max(1e-6, 1e-6 * abs(low))))


def shown(pixels: Pixels, display: Display) -> NDArray[np.uint8]:
    """(height, width) or (height, width, 3) as 8 bit; what has no value (NaN) is black."""
    if pixels.dtype != np.uint8:
        return _windowed(pixels, display)
    eight_bit = pixels.astype(np.uint8, copy=False)
    return eight_bit if display == AS_STORED else _table(display)[eight_bit]


def _table(display: Display) -> NDArray[np.uint8]:
    return _windowed(np.arange(256, dtype=np.float32), display)


def _windowed(values: NDArray[np.generic], display: Display) -> NDArray[np.uint8]:
    exact = np.nan_to_num(values.astype(np.float64), nan=np.nan)  # infinities become the largest numbers
    with np.errstate(over="ignore"):
        share = np.clip((exact / 2 - display.low / 2) / (display.high / 2 - display.low / 2), 0, 1)
    if display.gamma != 1:
        share = share ** (1 / display.gamma)
    if display.invert:
        share = 1 - share
    return np.rint(np.nan_to_num(255 * share, nan=0.0)).astype(np.uint8)
