"""From 8-bit pixels to the bytes of a picture file."""

from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

JPEG_QUALITY = 90
PNG_LEVEL = 1
"""zlib level: pictures are made to be looked at once."""


class PictureFormat(StrEnum):
    """A format by the suffix of its address."""

    JPG = "jpg"
    PNG = "png"

    @property
    def media_type(self) -> str:
        return "image/jpeg" if self is PictureFormat.JPG else "image/png"


@dataclass(frozen=True, slots=True)
class Finish:
    """What is done last: quarter turns clockwise (0 to 3), colours to grey, and the format."""

    format: PictureFormat = PictureFormat.JPG
    quarter_turns: int = 0
    grey: bool = False


AS_JPEG = Finish()


def encoded(pixels: NDArray[np.uint8], finish: Finish) -> bytes:
    """The file's bytes; colours keep their full resolution (4:4:4): thin stained lines carry meaning."""
    if finish.grey and pixels.ndim == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    turned = np.rot90(pixels, -finish.quarter_turns).copy()  # strides of a picture one pixel wide are odd
    if finish.format is PictureFormat.PNG:
        return cast(bytes, imagecodecs.png_encode(turned, level=PNG_LEVEL))
    return cast(bytes, imagecodecs.jpeg_encode(turned, level=JPEG_QUALITY, subsampling="444"))
