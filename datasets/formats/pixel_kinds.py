"""The one table of pixel kinds: what a file may hold, and what every reader hands on for it."""

from typing import Any, cast

import numpy as np

from ultraread.datasets.slide import Pixels
from ultraread.errors import SlidePixelFormat

HANDED_ON_AS = {
    "uint8": "uint8",
    "uint16": "uint16",
    "int8": "float32",
    "int16": "float32",
    "int32": "float32",
    "uint32": "float32",
    "float16": "float32",
    "float32": "float32",
    "float64": "float32",
}
"""Stored kind to the kind that `read_box` returns, both in numpy's words.

float32 holds every integer up to 2**24 exactly; larger ones of int32 and uint32 are rounded to 24 bits, and
float64 to float32. Complex numbers, 64-bit integers, booleans and packed colours have no declared meaning.
"""


def handed_on_as(stored: np.dtype[Any]) -> np.dtype[Any]:
    """The kind that is handed on, in native byte order. Raises SlidePixelFormat."""
    if stored.name not in HANDED_ON_AS:
        raise SlidePixelFormat(f"pixels are {stored.name}")
    return np.dtype(HANDED_ON_AS[stored.name])


def bit_depth_of(stored: np.dtype[Any]) -> int:
    """8, 16, or 32 for what is handed on as float32. Raises SlidePixelFormat."""
    return 8 * handed_on_as(stored).itemsize


def converted(pixels: np.ndarray[Any, Any]) -> Pixels:
    """Stored pixels as they are handed on. Raises SlidePixelFormat.

    A float64 beyond the range of float32 becomes infinite, and is refused by the read that meets it.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return cast(Pixels, pixels.astype(handed_on_as(pixels.dtype), copy=False))
