"""What a decoded stored tile of a TIFF becomes: grey or RGB, by the declared table."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, TIFF, TiffPage

from ultraread.datasets.formats.pixel_kinds import converted, handed_on_as
from ultraread.datasets.slide import Pixels, TileUnreadable
from ultraread.errors import SlideCodecUnsupported, SlideDamaged, SlidePixelFormat

JPEG_CODINGS = (COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY)
COLOUR_CODINGS = (*JPEG_CODINGS, COMPRESSION.APERIO_JP2000_YCBC, COMPRESSION.JPEG2000)
"""Codings whose decoders turn YCbCr into RGB; anything else under that name would be shown as it is not."""
COLOURS_OF = {
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.YCBCR: 3,
}
PHOTOMETRIC_TAG = 262
PACKED_BITS = (10, 12, 14)
"""Of cameras, handed on as uint16 with the stored values, as if they had been written with 16 bits."""
ALPHA = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)


@dataclass(frozen=True, slots=True)
class TiffPixels:
    """How pixels of one plane are handed on. `samples` is 1 or 3; `palette` is (entries,) or (entries, 3)."""

    samples: int
    dtype: np.dtype[Any]
    is_inverted: bool = False
    has_alpha: bool = False
    palette: NDArray[np.uint8] | None = None

    def handed_on(self, segment: np.ndarray[Any, Any], shown: tuple[int, int]) -> Pixels:
        """`segment`: (height, width, stored samples), of which `shown` rows and columns lie in the image.

        Raises Transparent where alpha hides anything in them.
        """
        if self.has_alpha:
            _refuse_transparency(segment[: shown[0], : shown[1]])
            segment = segment[..., :-1]
        pixels = segment[..., 0] if segment.shape[-1] == 1 else segment
        if self.palette is not None:
            return cast(Pixels, self.palette[pixels])
        if self.is_inverted:
            pixels = np.bitwise_not(pixels)  # of unsigned values: maximum minus value
        return converted(pixels)


def pixels_of(key: TiffPage) -> TiffPixels:
    """Return the rule for a page's pixels. Raises SlidePixelFormat, SlideCodecUnsupported, SlideDamaged."""
    stored = _stored_dtype(key)
    colours = _colours(key)
    has_alpha = key.samplesperpixel == colours + 1
    _check_coding(key)
    if key.photometric == PHOTOMETRIC.PALETTE:
        palette = _palette(key, stored)
        return TiffPixels(palette.ndim * 2 - 1, palette.dtype, has_alpha=has_alpha, palette=palette)
    inverted = key.photometric == PHOTOMETRIC.MINISWHITE
    if inverted and (stored.kind != "u" or key.bitspersample not in (8, 16)):
        raise SlidePixelFormat("white is the smallest value of a kind that has none")
    return TiffPixels(colours, handed_on_as(stored), inverted, has_alpha)


def stored_as(key: TiffPage) -> str:
    """The kind of a page's pixels in numpy's words, and `uint12` for integers that are packed."""
    dtype = _stored_dtype(key)
    return f"uint{key.bitspersample}" if key.bitspersample in PACKED_BITS else dtype.name


def _stored_dtype(key: TiffPage) -> np.dtype[Any]:
    if key.dtype is None:
        raise SlidePixelFormat("pixels of no known kind")
    dtype = np.dtype(key.dtype)
    handed_on_as(dtype)
    if not _has_declared_bits(key, dtype):
        raise SlidePixelFormat(f"{dtype.name} of {key.bitspersample} bits")
    return dtype


def _has_declared_bits(key: TiffPage, dtype: np.dtype[Any]) -> bool:
    """Whether values fill their kind: grey of 4 bits would be shown as 8 bit with nothing above 15.

    The values of a palette are places in it, so their bits do not matter.
    """
    bits = key.bitspersample
    if key.photometric == PHOTOMETRIC.PALETTE or bits == 8 * dtype.itemsize:
        return True
    return dtype == np.uint16 and bits in PACKED_BITS


def _colours(key: TiffPage) -> int:
    """1 for grey or a palette, 3 for RGB; the number of samples has to agree."""
    if PHOTOMETRIC_TAG not in key.tags:
        raise SlideDamaged("the file does not say what its values mean")
    if key.photometric not in COLOURS_OF:
        raise SlidePixelFormat(f"photometric interpretation {int(key.photometric)}")
    colours, samples = COLOURS_OF[PHOTOMETRIC(key.photometric)], key.samplesperpixel
    with_alpha = samples == colours + 1 and key.extrasamples and key.extrasamples[0] in ALPHA
    if samples != colours and not with_alpha:
        raise SlidePixelFormat(f"{samples} samples a pixel")
    if samples > 1 and key.planarconfig != 1:
        raise SlidePixelFormat(f"{samples} samples a pixel in planes of their own")
    if key.imagedepth != 1:
        raise SlidePixelFormat("a volume in one page")
    return colours


def _check_coding(key: TiffPage) -> None:
    if key.compression not in TIFF.DECOMPRESSORS:
        raise SlideCodecUnsupported(f"TIFF compression {int(key.compression)} is not decoded here")
    if key.photometric == PHOTOMETRIC.YCBCR and key.compression not in COLOUR_CODINGS:
        raise SlidePixelFormat("luma and chroma that no decoder turns into colours")


def _palette(key: TiffPage, stored: np.dtype[Any]) -> NDArray[np.uint8]:
    """(entries,) where the colours are greys, else (entries, 3): the upper byte of each, as Pillow takes it.

    Raises SlidePixelFormat, SlideDamaged.
    """
    if stored.kind != "u" or key.colormap is None:
        raise SlidePixelFormat("a palette without colours")
    colours = np.asarray(key.colormap)
    if colours.shape != (3, 2**key.bitspersample) or key.bitspersample > 16:
        raise SlideDamaged("a palette of more or fewer colours than there are values")
    upper = (colours >> 8).astype(np.uint8).T
    is_grey = (colours[0] == colours[1]).all() and (colours[0] == colours[2]).all()
    return np.ascontiguousarray(upper[:, 0] if is_grey else upper)


class Transparent(TileUnreadable):
    """What lies behind is not in the file."""


def _refuse_transparency(segment: np.ndarray[Any, Any]) -> None:
    """Alpha that is opaque everywhere says nothing; any other would have to be painted on something."""
    opaque = np.iinfo(segment.dtype).max if segment.dtype.kind in "iu" else 1
    if (segment[..., -1] != opaque).any():
        raise Transparent("its pixels are partly transparent")
