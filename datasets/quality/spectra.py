"""Blur, its direction and periodic bands from power spectra of tiles.

The power spectrum of tissue falls as a power p of the frequency f; blur by a Gaussian of `sigma` pixels
multiplies it by exp(-(2 pi f sigma)^2), and noise adds a floor. So log(power - floor) = a - p log f -
(2 pi f sigma)^2, and sigma^2 is found by least squares beside the tissue's own p, without a sharp reference.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.quality import filters

SECTORS, RINGS = 8, 16
RING_EDGES = np.geomspace(0.02, 0.5, RINGS + 1)
"""Cycles a pixel."""
FREQUENCIES = np.sqrt(RING_EDGES[:-1] * RING_EDGES[1:])
BANDS = 36
"""Chatter is looked for among waves of 4 to BANDS a tile, in every direction."""
SPECTRUM_VALUES = SECTORS * RINGS + (2 * BANDS + 1) * (BANDS + 1)
FIT_BELOW = 0.4
"""Cycles a pixel; above, interpolation and the sensor's own blur shape the spectrum."""
FLOOR_TIMES = 0.5
DYNAMIC = 1e-5
"""Power below this share of the lowest ring's is leakage of the window (Hann) and rounding to 8 bit."""
STRUCTURE_TIMES = 30.0
"""A tile whose lowest ring is not so far above the noise holds nothing to judge blur by: resin, lumen."""
TISSUE_POWER = 2.0
"""Of f, by which the spectra of drosophila_vnc/stack1 fall (2.05 to 2.1) beside their blur."""
NEAR_WAVES = 4
Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Blur:
    """Variance of the blur in px^2, over all directions and by sector; NaN where noise hides it.

    Sector n holds waves that run at n * 180 / SECTORS degrees: blur along that direction takes them away.
    """

    variance: float
    by_sector: NDArray[np.float64]

    @property
    def sigma_px(self) -> float:
        return float(np.sqrt(max(self.variance, 0.0)))


def tile_spectrum(core: NDArray[np.float32]) -> NDArray[np.float32]:
    """(SPECTRUM_VALUES,) natural logarithms of power: by sector and ring, then the square of low waves."""
    side = min(core.shape)
    square = core[:side, :side]
    power = filters.power_spectrum((square - square.mean()) * _window(side)) + np.float32(1e-6)
    order, starts, counts = _places(side)
    rings = np.full(SECTORS * RINGS, np.log(1e-6), np.float32)
    rings[counts > 0] = np.log(np.add.reduceat(power.ravel()[order], starts) / counts[counts > 0])
    reach = min(BANDS, side // 2 - 1)
    low = np.full((2 * BANDS + 1, BANDS + 1), np.nan, np.float32)
    lowest = np.concatenate([power[-reach:, : reach + 1], power[: reach + 1, : reach + 1]])
    low[BANDS - reach : BANDS + reach + 1, : reach + 1] = np.log(lowest)
    found: NDArray[np.float32] = np.concatenate([rings, low.ravel()]).astype(np.float32)
    return found


def mean_rings(spectra: Floats) -> NDArray[np.float64]:
    """(SECTORS, RINGS) mean power of (M, SPECTRUM_VALUES) spectra."""
    logs = np.asarray(spectra, np.float64)[:, : SECTORS * RINGS]
    return np.asarray(np.exp(logs).mean(axis=0).reshape(SECTORS, RINGS))


def blur_of(rings: NDArray[np.float64]) -> Blur:
    """Fit the fall of the spectrum over all directions, and in each sector."""
    return Blur(_variance(rings.mean(axis=0)), np.array([_variance(each) for each in rings]))


def direction_loss(rings: NDArray[np.float64]) -> tuple[float, int]:
    """How much more the most blurred direction has lost than the sharpest (natural logarithms of power).

    And the sector of the sharpest. Loss is that of waves of 0.1 to 0.25 cycles a pixel against long ones of
    the same direction, above the noise; tissue that runs one way has more power there, at all lengths.
    """
    floor = rings[:, -1].min()
    signal = np.maximum(rings - floor, 0.05 * floor)
    short = (FREQUENCIES > 0.1) & (FREQUENCIES < 0.25)
    long = (FREQUENCIES > 0.025) & (FREQUENCIES < 0.05)
    kept = np.log(signal[:, short]).mean(axis=1) - np.log(signal[:, long]).mean(axis=1)
    return float(np.ptp(kept)), int(kept.argmax())


def noise_of(rings: NDArray[np.float64]) -> float:
    """Power of the shortest waves against that of the longest, in natural logarithms."""
    whole = rings.mean(axis=0)
    return float(np.log(whole[-1] / whole[0]))


def band_peak(spectra: Floats) -> float:
    """How far the strongest peak of the mean logarithmic spectrum rises over its surroundings (natural logs).

    Less by what another peak, that is no harmonic of it, has above half its height: bands run in one
    direction, and a spectrum that is rough everywhere has no bands.
    """
    height = _heights(spectra)
    peak = np.unravel_index(int(height.argmax()), height.shape)
    highest = float(height[peak])
    other = float(np.where(_of_one_wave(peak, height.shape), -np.inf, height).max())
    return highest - max(0.0, 2 * other - highest)


def _heights(spectra: Floats) -> NDArray[np.float64]:
    """(2 BANDS + 1, 2 BANDS + 1) by waves down and across: power over the median around, in logarithms."""
    logs = np.asarray(spectra, np.float64)[:, SECTORS * RINGS :]
    low = logs.mean(axis=0).reshape(2 * BANDS + 1, BANDS + 1)
    mirrored = np.concatenate([low[::-1, :0:-1], low], axis=1)
    flat = np.nan_to_num(mirrored, nan=float(np.nanmin(mirrored)))
    down, across = np.mgrid[-BANDS : BANDS + 1, -BANDS : BANDS + 1]
    radius = np.hypot(down, across)
    looked_at = (radius >= NEAR_WAVES) & (radius <= BANDS) & (across >= 0)
    around = filters.medians(flat, 2 * NEAR_WAVES + 1)
    return np.asarray(np.where(looked_at, flat - around, -np.inf))


def _of_one_wave(peak: tuple[np.intp, ...], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Places near the peak, its opposite and its harmonics."""
    down, across = np.mgrid[0 : shape[0], 0 : shape[1]] - BANDS
    first = int(peak[0]) - BANDS, int(peak[1]) - BANDS
    near = np.zeros(shape, bool)
    for times in (-3, -2, -1, 0.5, 1, 2, 3):
        distance = np.hypot(down - times * first[0], across - times * first[1])
        near |= distance <= max(NEAR_WAVES, 0.15 * abs(times) * float(np.hypot(*first)))
    return near


def _variance(power: NDArray[np.float64]) -> float:
    floor = power[-1]
    signal = power - floor
    above = (signal > FLOOR_TIMES * floor) & (signal > DYNAMIC * power[0]) & (FREQUENCIES < FIT_BELOW)
    used = np.logical_and.accumulate(above | (np.arange(RINGS) == 0)) & above
    if used.sum() < 2 or power[0] < STRUCTURE_TIMES * floor:
        return float("nan")
    f, target = FREQUENCIES[used], np.log(signal[used])
    terms = np.stack([np.ones_like(f), -np.square(2 * np.pi * f), -np.log(f)], axis=1)
    if used.sum() < 5:  # too few rings above the noise to tell the tissue's own fall: take the usual one
        target, terms = target + TISSUE_POWER * np.log(f), terms[:, :2]
    return float(np.linalg.lstsq(terms, target, rcond=None)[0][1])


@lru_cache(maxsize=4)
def _window(side: int) -> NDArray[np.float32]:
    hann = np.hanning(side)
    return np.outer(hann, hann).astype(np.float32)


@lru_cache(maxsize=4)
def _places(side: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Waves of rfft2 in the order of their sector and ring, where each that has any starts, waves of each."""
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    ring = np.digitize(np.hypot(down, across), RING_EDGES) - 1
    turn = np.mod(np.arctan2(down, across), np.pi) / np.pi
    sector = np.floor(turn * SECTORS + 0.5).astype(np.intp) % SECTORS
    inside = (ring >= 0) & (ring < RINGS)
    places = np.where(inside, sector * RINGS + ring, SECTORS * RINGS).ravel()
    counts = np.bincount(places, minlength=SECTORS * RINGS + 1)[:-1]
    order = np.argsort(places, kind="stable")[: counts.sum()]
    starts = (np.cumsum(counts) - counts)[counts > 0]
    return order, starts, counts.astype(np.float32)
