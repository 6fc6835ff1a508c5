"""Open a file as a slide: by its bytes, never by its name. Refuses only what is no image."""

from pathlib import Path

from ultraread.datasets.formats.raster import RasterSlide
from ultraread.datasets.formats.tiff import TiffSlide
from ultraread.datasets.slide import Slide
from ultraread.errors import SlideEmpty, SlideNotFound, SlideTypeMismatch

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_MAGIC = b"\x89PNG"
JPEG_MAGIC = b"\xff\xd8\xff"


def open_slide(path: Path) -> Slide:
    """Return the opened slide. Raises an InputRefused that says why it is no image UltraRead opens."""
    magic = _first_bytes(path)
    if magic in TIFF_MAGIC:
        return TiffSlide(path)
    if magic == PNG_MAGIC:
        return RasterSlide(path, "png")
    if magic.startswith(JPEG_MAGIC):
        return RasterSlide(path, "jpeg")
    raise SlideTypeMismatch(f"{path.name} is no TIFF, PNG or JPEG image, whatever its name says")


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise SlideTypeMismatch(f"{path.name} is a folder", "Name the image files in it.")
    if not path.is_file():
        raise SlideNotFound(f"there is no file {path}")
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
    except PermissionError as failure:
        raise SlideNotFound(f"{path.name} may not be opened", "Ask for permission to read it.") from failure
    if not magic:
        raise SlideEmpty(f"{path.name} has no bytes")
    return magic
