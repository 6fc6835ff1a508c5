"""Fingerprints of pictures: near for the same picture in other grey values or size, turned or mirrored."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 32
BITS = 64
NEAR_BITS = 12
"""Pictures of which at most this many of 64 bits differ count as near-duplicates. Measured on the pinned
corpora: copies with other contrast, gamma, noise, size or orientation differ in 0 to 6, neighbouring sections
in 0 to 26, pictures of different corpora in 18 or more (1,841 pairs)."""

Fingerprint = NDArray[np.uint64]
"""(8,) one hash for each way to turn and mirror the picture; the first is as it lies."""


def fingerprint(grey: NDArray[np.float32]) -> Fingerprint:
    """Hash the 64 lowest frequencies of a picture (H, W): which of them lie above their median.

    Neither brightness nor contrast moves that order, and size only through resampling.
    """
    small = np.asarray(
        Image.fromarray(grey, mode=None).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX), np.float64
    )
    turned = [np.rot90(picture, times) for picture in (small, small.T) for times in range(4)]
    return np.array([_hash(picture) for picture in turned], np.uint64)


def distance(one: Fingerprint, other: Fingerprint) -> int:
    """Bits that differ in the best of eight orientations, 0 to 64."""
    return int(np.bitwise_count(other ^ one[0]).min())


def near_duplicates(fingerprints: list[Fingerprint], at_most: int = NEAR_BITS) -> list[tuple[int, int, int]]:
    """Pairs (first, second, bits that differ) of places in the list, in its order."""
    measured = (
        (first, second, distance(fingerprints[first], fingerprints[second]))
        for first, second in combinations(range(len(fingerprints)), 2)
    )
    return [pair for pair in measured if pair[2] <= at_most]


def _hash(picture: NDArray[np.float64]) -> int:
    waves = _cosines()
    spectrum = waves @ picture @ waves.T
    lowest = spectrum[_lowest_frequencies()]
    return int.from_bytes(np.packbits(lowest > np.median(lowest)).tobytes(), "big")


def _cosines() -> NDArray[np.float64]:
    """(SIDE_PX, SIDE_PX): row k is the wave of k half turns (DCT-II)."""
    places = np.arange(SIDE_PX)
    waves: NDArray[np.float64] = np.cos(np.pi * places[:, None] * (places + 0.5) / SIDE_PX)
    return waves


def _lowest_frequencies() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the BITS lowest frequencies, without the mean, which is brightness alone."""
    down, across = np.divmod(np.arange(SIDE_PX**2), SIDE_PX)
    lowest = np.lexsort((down, down + across))[1 : BITS + 1]
    return down[lowest], across[lowest]
