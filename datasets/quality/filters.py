"""What is taken from scipy, with types: filters on grids and the spectrum of a tile. Loaded at first use."""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
SQUARE = np.ones((3, 3), bool)


def smoothed(values: Floats, sigma: float) -> Floats:
    """Gaussian."""
    return np.asarray(_ndimage().gaussian_filter(values, sigma), np.float32)


def means(values: Floats, size: tuple[int, int]) -> Floats:
    """Mean of a box of `size` rows and columns around each value."""
    return np.asarray(_ndimage().uniform_filter(values, size), np.float32)


def medians(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Median of a square around each value."""
    return np.asarray(_ndimage().median_filter(values, size), np.float64)


def spread_over(mask: Mask, size: tuple[int, int]) -> Mask:
    """True where a box of `size` rows and columns around holds any."""
    return np.asarray(_ndimage().maximum_filter(mask, size), bool)


def turned(values: Floats, degrees: float) -> Floats:
    """Rotated, interpolated linearly, NaN outside; the result holds all of the values."""
    return np.asarray(_ndimage().rotate(values, degrees, order=1, cval=np.nan), np.float32)


def turned_mask(mask: Mask, degrees: float) -> Mask:
    """Rotated to the nearest cell, False outside."""
    return np.asarray(_ndimage().rotate(mask.astype(np.uint8), degrees, order=0), bool)


def widened(mask: Mask, cells: int) -> Mask:
    """The mask and the cells beside it, also across corners."""
    return np.asarray(_ndimage().binary_dilation(mask, SQUARE, iterations=cells), bool)


def cores(mask: Mask) -> Mask:
    """Cells all of whose eight neighbours belong to the mask; beyond the border, everything does."""
    return np.asarray(_ndimage().binary_erosion(mask, SQUARE, border_value=1), bool)


def grown(seeds: Mask, within: Mask) -> Mask:
    """The seeds, and all of `within` that hangs together with them."""
    return np.asarray(_ndimage().binary_propagation(seeds, SQUARE, mask=within), bool)


def regions(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers from 1 for what hangs together, 0 outside; and the cells of each number, 0 for number 0."""
    labels, count = _ndimage().label(mask, SQUARE)
    numbers = np.asarray(labels, np.int64)
    sizes = np.bincount(numbers.ravel(), minlength=int(count) + 1).astype(np.int64)
    sizes[0] = 0
    return numbers, sizes


def nearest_known(unknown: Mask) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of the nearest place that is not unknown, for every place."""
    found = _ndimage().distance_transform_edt(unknown, return_distances=False, return_indices=True)
    rows, columns = (np.asarray(each, np.intp) for each in found)
    return rows, columns


def power_spectrum(square: Floats) -> Floats:
    """(n, n // 2 + 1) power of a real square's waves."""
    waves: Any = import_module("scipy.fft").rfft2(square)
    return np.asarray(np.square(waves.real) + np.square(waves.imag), np.float32)


def _ndimage() -> Any:  # noqa: ANN401  # scipy has no types
    return import_module("scipy.ndimage")
