"""Open files as a slide: by their bytes, never by their names. Refuses only what is no image."""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from ultraread.datasets.slide import Slide, SlideFormat
from ultraread.datasets.slide_address import ZARR_METADATA, FileAddress, SlideAddress, address_of
from ultraread.datasets.stored_file import open_file
from ultraread.errors import SlideEmpty, SlideTypeMismatch

MAGIC_BYTES = 512
"""Enough for every mark below: DICOM's stands at 128, that of MRC at 208."""
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_MAGIC = b"\x89PNG"
JPEG_MAGIC = b"\xff\xd8\xff"

Reader = Callable[[SlideAddress], Slide]
"""Opens the files of an address; the Slide owns them, and closes them where opening fails."""


def open_slide(slide: Path | str | SlideAddress) -> Slide:
    """Return the opened slide. Raises an InputRefused that says why it is no image UltraRead opens."""
    address = slide if isinstance(slide, SlideAddress) else address_of(slide)
    if any(PurePosixPath(file.name).name in ZARR_METADATA for file in address.files):
        from ultraread.datasets.formats.ome_zarr import OmeZarrSlide

        return OmeZarrSlide(address)
    kind = _kind(address.files[0])
    if len(address.files) > 1 and kind not in _OF_SEVERAL_FILES:
        from ultraread.datasets.formats.fields import FieldsSlide

        return FieldsSlide(address, open_slide)
    return _READERS[kind](address)


def _kind(first: FileAddress) -> str:
    """Which reader opens it. Raises SlideEmpty, SlideTypeMismatch."""
    file = open_file(first.location, first.name)
    try:
        if file.size == 0:
            raise SlideEmpty("the file has no bytes")
        magic = file.read_at(0, MAGIC_BYTES)
    finally:
        file.close()
    for kind, matches in _MAGIC.items():
        if matches(magic):
            return kind
    raise SlideTypeMismatch("the bytes are of no image format that is opened here, whatever the name says")


def _tiff(address: SlideAddress) -> Slide:
    from ultraread.datasets.formats.tiff import TiffSlide

    return TiffSlide(open_file(address.files[0].location, address.files[0].name))


def _png(address: SlideAddress) -> Slide:
    from ultraread.datasets.formats.raster import RasterSlide

    return RasterSlide(open_file(address.files[0].location, address.files[0].name), SlideFormat.PNG)


def _jpeg(address: SlideAddress) -> Slide:
    from ultraread.datasets.formats.raster import RasterSlide

    return RasterSlide(open_file(address.files[0].location, address.files[0].name), SlideFormat.JPEG)


_MAGIC: Mapping[str, Callable[[bytes], bool]] = {
    "tiff": lambda magic: magic[:4] in TIFF_MAGIC,
    "png": lambda magic: magic.startswith(PNG_MAGIC),
    "jpeg": lambda magic: magic.startswith(JPEG_MAGIC),
}
_READERS: Mapping[str, Reader] = {"tiff": _tiff, "png": _png, "jpeg": _jpeg}
_OF_SEVERAL_FILES: frozenset[str] = frozenset()
"""Kinds whose files belong together; several files of any other kind are fields."""
