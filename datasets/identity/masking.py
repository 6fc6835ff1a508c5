"""Paint over what is burnt into pixels: flat, so that nobody takes it for tissue."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx

MASK_GREY = 160
"""Of 8-bit pictures: brighter than electron-dense deposit (near 0), darker than a hole (near 255), and flat,
as tissue with its noise never is."""

Kind = TypeVar("Kind", bound=np.generic)


def masked(pixels: NDArray[Kind], box: BoxPx, masks: Sequence[BoxPx], downsample: float = 1) -> NDArray[Kind]:
    """Return (h, w) or (h, w, 3) pixels with the masks painted flat; the same array where none touches it.

    `box` is where the pixels lie, in pixels of their own level; `masks` are level-0 px; `downsample` is the
    level-0 px a pixel. A mask is rounded outward, below level 0 by one pixel more: means mix neighbours.
    """
    inside = [part for mask in masks if (part := _within(box, mask, downsample)) is not None]
    if not inside:
        return pixels
    hidden = np.zeros(pixels.shape[:2], bool)
    for rows, columns in inside:
        hidden[rows, columns] = True
    painted = pixels.copy()
    painted[hidden] = _fill(pixels, hidden)
    return painted


def _within(box: BoxPx, mask: BoxPx, downsample: float) -> tuple[slice, slice] | None:
    """Rows and columns of the pixels that a mask covers."""
    more = 1 if downsample > 1 else 0
    left = max(box.x, math.floor(mask.x / downsample) - more)
    top = max(box.y, math.floor(mask.y / downsample) - more)
    right = min(box.right, math.ceil(mask.right / downsample) + more)
    bottom = min(box.bottom, math.ceil(mask.bottom / downsample) + more)
    if right <= left or bottom <= top:
        return None
    return slice(top - box.y, bottom - box.y), slice(left - box.x, right - box.x)


def _fill(pixels: NDArray[Kind], hidden: NDArray[np.bool_]) -> NDArray[Kind]:
    """MASK_GREY; of deeper pixels, whose range is their own, the median of what stays visible there."""
    if pixels.dtype == np.uint8:
        return np.asarray(MASK_GREY, pixels.dtype)
    visible = pixels[~hidden] if not hidden.all() else pixels[hidden]
    return np.asarray(np.median(visible.astype(np.float64), axis=0), np.float64).astype(pixels.dtype)
