"""PNG and JPEG: decoded whole, after the header has said that they are small enough."""

import logging
from io import BytesIO
from typing import BinaryIO, cast

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from ultraread.datasets.formats.limits import MAX_STORED_TILE_PX, is_whole_jpeg
from ultraread.datasets.formats.orientation import refuse_turned
from ultraread.datasets.formats.raster_tags import orientation_of, tags_of_raster
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.slide import ClosedByWith, ImageInfo, Modality, Pixels, SlideFormat, SlideInfo
from ultraread.datasets.stored_file import StoredFile
from ultraread.errors import (
    SlideBomb,
    SlideDamaged,
    SlidePixelFormat,
    SlideTooLarge,
    SlideTruncated,
    SlideTypeMismatch,
)

MAX_BYTES_PER_PX = 8
"""Four channels of 16 bit; no codec makes them longer by more than the room for tags."""
ROOM_FOR_TAGS_BYTES = 64 * 2**20


class RasterSlide(ClosedByWith):
    """One decoded PNG or JPEG. Their resolution fields serve printing and are never a scale."""

    def __init__(self, stored: StoredFile, kind: SlideFormat) -> None:
        with stored.stream() as stream:
            size = _checked_size(stream)
        if stored.size > size[0] * size[1] * MAX_BYTES_PER_PX + ROOM_FOR_TAGS_BYTES:
            raise SlideBomb(f"{stored.size:,} bytes for {size[1]} x {size[0]} px")
        whole = stored.read_at(0, stored.size)
        stored.close()
        self._pixels = _decode(whole, kind)
        if self._pixels.shape[:2] != size:  # libjpeg gives up without a word, with a picture of 0 x 0
            raise SlideDamaged("the picture is not of the size that its header says")
        with _header(BytesIO(whole)) as header:
            refuse_turned(orientation_of(header))
            tags = tags_of_raster(header, whole, kind)
        self.info = SlideInfo(kind, (_describe(self._pixels, kind),), tags)

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        return self._pixels[box.y : box.bottom, box.x : box.right]

    def close(self) -> None:
        """Nothing stays open."""


def _checked_size(stream: BinaryIO) -> tuple[int, int]:
    """Height and width, from the header alone: Pillow would make 16-bit RGB one of 8 bit."""
    try:
        with _header(stream) as header:
            width, height = header.size
    except UnidentifiedImageError as failure:
        raise SlideTypeMismatch("the file is no PNG or JPEG image") from failure
    except Image.DecompressionBombError as failure:
        raise SlideTooLarge("the file declares more pixels than a plain image may have") from failure
    except Exception as failure:  # SyntaxError, OSError, struct.error for cut headers
        raise SlideTruncated("the header is cut off") from failure
    if width * height > MAX_STORED_TILE_PX:
        raise SlideTooLarge(f"{width} x {height} px in one piece")
    return height, width


def _header(stream: BinaryIO) -> Image.Image:
    """At level DEBUG Pillow logs the values of tags, names of people among them: not here."""
    logging.getLogger("PIL").setLevel(logging.INFO)
    return Image.open(stream, formats=("PNG", "JPEG"))


def _decode(stored: bytes, kind: SlideFormat) -> Pixels:
    decode = imagecodecs.png_decode if kind == SlideFormat.PNG else imagecodecs.jpeg_decode
    if kind == SlideFormat.JPEG and not is_whole_jpeg(stored):
        raise SlideTruncated("the file ends before its picture does")
    try:
        pixels = np.asarray(decode(stored))
    except Exception as failure:  # imagecodecs has one error type for each codec
        raise SlideTruncated("the picture cannot be decoded") from failure
    if pixels.dtype not in (np.uint8, np.uint16):
        raise SlidePixelFormat(f"pixels are {pixels.dtype}")
    return _without_alpha(pixels, kind)


def _without_alpha(pixels: np.ndarray, kind: SlideFormat) -> Pixels:
    """Drop the alpha of a PNG that hides nothing, and refuse any other; so are the inks of a JPEG."""
    if kind == SlideFormat.PNG and pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        if (pixels[..., -1] != np.iinfo(pixels.dtype).max).any():
            raise SlidePixelFormat("pixels are partly transparent")
        pixels = pixels[..., :-1]
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        raise SlidePixelFormat(f"{pixels.shape[2]} samples a pixel")
    return cast(Pixels, np.ascontiguousarray(pixels))


def _describe(pixels: Pixels, kind: SlideFormat) -> ImageInfo:
    samples = 3 if pixels.ndim == 3 else 1
    return ImageInfo(
        index=0,
        levels=(SizePx(pixels.shape[1], pixels.shape[0]),),
        bit_depth=8 * pixels.dtype.itemsize,
        samples_per_px=samples,
        modality=Modality.TEM if samples == 1 else Modality.SEMITHIN_LIGHT,
        modality_is_stated=False,
        scales=(),
        stored_as=str(pixels.dtype),
        compression=kind,
    )
