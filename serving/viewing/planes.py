"""One change of a picture for every kind of pixel: 8 bit at once, others channel by channel as floats."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultraread.datasets.slide import Pixels

Change = Callable[[Image.Image], Image.Image]
"""A linear filter that keeps the mean: reducing or resizing."""


def each_plane(pixels: Pixels, change: Change) -> Pixels:
    """Return the changed picture: 8 bit as 8 bit, all else as float32 in stored intensities.

    A value that is NaN or infinite takes no part; a pixel made mostly of such values is NaN.
    """
    if pixels.dtype == np.uint8:
        return np.asarray(change(Image.fromarray(pixels)), np.uint8)
    values = np.ascontiguousarray(pixels, np.float32)
    if values.ndim == 2:
        return _changed(values, change)
    channels = [_changed(np.ascontiguousarray(values[..., n]), change) for n in range(values.shape[2])]
    return np.stack(channels, axis=2)


def _changed(plane: NDArray[np.float32], change: Change) -> NDArray[np.float32]:
    known = np.isfinite(plane)
    if known.all():
        return np.asarray(change(Image.fromarray(plane)), np.float32)
    sums = np.asarray(change(Image.fromarray(np.where(known, plane, np.float32(0)))), np.float32)
    shares = np.asarray(change(Image.fromarray(known.astype(np.float32))), np.float32)
    few = shares < 0.5
    return np.where(few, np.float32(np.nan), sums / np.where(few, np.float32(1), shares))
