"""Whether an image is a negative: in TEM membranes are dark lines on brighter surroundings.

Two signals that must agree: lines brighter than both their sides, at two widths, and a histogram with its
long tail on the bright side. Either alone is fooled: myelin is broad and dark, resin is bright.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.quality.artefacts import RULES, Artefact

SAMPLE_TILES = 8
THIN_SHARE = 0.25
"""Of the limit, which thick lines must reach: noise hides the polarity of thin ones."""
BRIGHT_TAIL = 0.08
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Contrast:
    """Polarity of lines of about 3 and 6 pixels, 1 where all are dark, -1 where all are bright; and the tail
    of the histogram (Bowley's skewness with the 1st and 99th percentile), positive where it is bright."""

    thin: float
    thick: float
    tail: float

    @property
    def is_inverted(self) -> bool:
        """All three say so, each beyond what any of the tuned fields shows the other way round."""
        limit = RULES[Artefact.INVERTED].limit
        return self.thin <= -THIN_SHARE * limit and self.thick <= -limit and self.tail >= BRIGHT_TAIL


def contrast_of(tiles: Sequence[Floats]) -> Contrast:
    """Over the tiles of one image, (H, W) each; without tiles nothing is inverted."""
    if not tiles:
        return Contrast(0.0, 0.0, 0.0)
    thin = np.sum([_line_powers(_smoothed(tile)) for tile in tiles], axis=0)
    thick = np.sum([_line_powers(_smoothed(_halved(tile))) for tile in tiles], axis=0)
    low, middle, high = np.percentile(np.concatenate([tile[::4, ::4].ravel() for tile in tiles]), (1, 50, 99))
    tail = (high - 2 * middle + low) / max(high - low, 1e-6)
    return Contrast(_polarity(thin), _polarity(thick), float(tail))


def _polarity(powers: NDArray[np.float64]) -> float:
    dark, bright = powers
    return float((dark - bright) / max(dark + bright, 1e-12))


def _line_powers(grey: Floats) -> tuple[float, float]:
    """Mean cubes of the larger principal curvature where it is positive (a dark line) and negative."""
    xx = np.diff(grey, 2, axis=1)[1:-1]
    yy = np.diff(grey, 2, axis=0)[:, 1:-1]
    xy = (grey[2:, 2:] - grey[2:, :-2] - grey[:-2, 2:] + grey[:-2, :-2]) / 4
    mean, spread = (xx + yy) / 2, np.sqrt(np.square((xx - yy) / 2) + np.square(xy))
    largest = mean + np.where(mean >= 0, spread, -spread)
    cubes = largest.astype(np.float64) ** 3
    return float(np.maximum(cubes, 0).mean()), float(np.maximum(-cubes, 0).mean())


def _smoothed(grey: Floats) -> Floats:
    """Binomial, 5 x 5."""
    quarter, half = np.float32(0.25), np.float32(0.5)
    for _ in range(2):
        down = quarter * (grey[:-2] + grey[2:]) + half * grey[1:-1]
        grey = np.asarray(quarter * (down[:, :-2] + down[:, 2:]) + half * down[:, 1:-1], np.float32)
    return grey


def _halved(grey: Floats) -> Floats:
    even: Floats = grey[: grey.shape[0] // 2 * 2, : grey.shape[1] // 2 * 2]
    return np.float32(0.25) * (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2])
