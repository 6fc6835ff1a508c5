"""PNG and JPEG: decoded whole, after the header has said that they are small enough."""

from pathlib import Path
from types import TracebackType
from typing import Self, cast

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from ultraread.datasets.formats.limits import MAX_STORED_TILE_PX, is_whole_jpeg
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.slide import ImageInfo, Modality, Pixels, SlideInfo
from ultraread.errors import SlidePixelFormat, SlideTooLarge, SlideTruncated, SlideTypeMismatch


class RasterSlide:
    """One decoded PNG or JPEG. Their resolution fields serve printing and are never a scale."""

    def __init__(self, path: Path, kind: str) -> None:
        _check_header(path)
        self._pixels = _decode(path, kind)
        self.info = SlideInfo(kind, (_describe(self._pixels),))

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        return self._pixels[box.y : box.bottom, box.x : box.right]

    def close(self) -> None:
        """Nothing stays open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_header(path: Path) -> None:
    """Pillow reads the size without decoding; it would turn 16-bit RGB into 8, so it decodes nothing here."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as header:
            width, height = header.size
    except UnidentifiedImageError as failure:
        raise SlideTypeMismatch(f"{path.name} is no PNG or JPEG image") from failure
    except Image.DecompressionBombError as failure:
        raise SlideTooLarge(f"{path.name} declares more pixels than a plain image may have") from failure
    except Exception as failure:  # SyntaxError, OSError, struct.error for cut headers
        raise SlideTruncated(f"the header of {path.name} is cut off") from failure
    if width * height > MAX_STORED_TILE_PX:
        raise SlideTooLarge(f"{width} x {height} px in one piece")


def _decode(path: Path, kind: str) -> Pixels:
    decode = imagecodecs.png_decode if kind == "png" else imagecodecs.jpeg_decode
    stored = path.read_bytes()
    if kind == "jpeg" and not is_whole_jpeg(stored):
        raise SlideTruncated(f"{path.name} ends before its picture does")
    try:
        pixels = np.asarray(decode(stored))
    except Exception as failure:  # imagecodecs has one error type for each codec
        raise SlideTruncated(f"{path.name} cannot be decoded") from failure
    if pixels.dtype not in (np.uint8, np.uint16):
        raise SlidePixelFormat(f"pixels are {pixels.dtype}")
    return _without_alpha(pixels, kind)


def _without_alpha(pixels: np.ndarray, kind: str) -> Pixels:
    """Drop the alpha channel that a PNG may have; four channels of a JPEG are inks, and refused."""
    if kind == "png" and pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise SlidePixelFormat(f"{pixels.shape[2]} samples a pixel")
    return cast(Pixels, np.ascontiguousarray(pixels))


def _describe(pixels: Pixels) -> ImageInfo:
    samples = 3 if pixels.ndim == 3 else 1
    return ImageInfo(
        index=0,
        levels=(SizePx(pixels.shape[1], pixels.shape[0]),),
        bit_depth=8 * pixels.dtype.itemsize,
        samples_per_px=samples,
        modality=Modality.TEM if samples == 1 else Modality.SEMITHIN_LIGHT,
        modality_is_stated=False,
        scales=(),
    )
