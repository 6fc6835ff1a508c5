"""Open files as a slide: by their bytes, never by their names. Refuses only what is no image."""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from ultraread.datasets.slide import Slide, SlideFormat
from ultraread.datasets.slide_address import ZARR_METADATA, FileAddress, SlideAddress, address_of
from ultraread.datasets.stored_file import StoredFile, open_file
from ultraread.errors import (
    ArchiveNotTaken,
    IntegrityFailed,
    SlideDamaged,
    SlideEmpty,
    SlideTypeMismatch,
    UltraReadError,
    Unavailable,
)

MAGIC_BYTES = 512
"""Enough for every mark below: DICOM's stands at 128, that of MRC at 208."""
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_MAGIC = b"\x89PNG"
JPEG_MAGIC = b"\xff\xd8\xff"
DICOM_MAGIC = b"DICM"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
DM_MAGIC = (b"\0\0\0\3", b"\0\0\0\4")
ARCHIVE_MAGIC = (
    b"PK\3\4",
    b"PK\5\6",
    b"PK\7\x08",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!",
)
"""Zip, gzip, bzip2, xz, 7z, RAR; tar has its mark at 257."""
TAR_MAGIC = b"ustar"
SER_MAGIC = b"II\x97\x01"
EMI_MAGIC = b"JK\0\2"

Reader = Callable[[SlideAddress], Slide]
"""Opens the files of an address; the Slide owns them, and closes them where opening fails."""


OpenSlide = Callable[[SlideAddress], Slide]
"""How a slide is opened: `open_slide` in this process, or in one of its own (serving/decoding)."""


def open_slide(slide: Path | str | SlideAddress) -> Slide:
    """Return the opened slide. Raises an InputRefused that says why it is no image UltraRead opens.

    Whatever else a library raises at a damaged file, MemoryError and RecursionError among it, becomes
    SlideDamaged here. An object store that falls silent while headers are parsed is no damage:
    Unavailable; what it delivers wrongly is none that a library found: IntegrityFailed.
    """
    address = slide if isinstance(slide, SlideAddress) else address_of(slide)
    try:
        return _opened(address)
    except Exception as failure:
        if of_store := _of_store_behind(failure):
            raise of_store from of_store.__cause__
        if isinstance(failure, UltraReadError):
            raise
        raise SlideDamaged(f"the file cannot be opened ({type(failure).__name__})") from failure


def _of_store_behind(failure: BaseException | None) -> Unavailable | IntegrityFailed | None:
    """What the store failed in, and a library or a reader took for damage, if there is such a thing."""
    while failure is not None and not isinstance(failure, Unavailable | IntegrityFailed):
        failure = failure.__cause__ or failure.__context__
    return failure


def _opened(address: SlideAddress) -> Slide:
    if any(PurePosixPath(file.name).name in ZARR_METADATA for file in address.files):
        from ultraread.datasets.formats.ome_zarr import OmeZarrSlide

        return OmeZarrSlide(address)
    kind = _kind(address.files[0])
    if len(address.files) > 1 and not _belong_together(kind, address):
        from ultraread.datasets.formats.fields import FieldsSlide

        return FieldsSlide(address, open_slide)
    return _READERS[kind](address)


def _belong_together(kind: str, address: SlideAddress) -> bool:
    """An EMI file with SER files alone is one slide; several files of any other kind are fields."""
    if kind == "emi":
        return all(_kind(file) == "ser" for file in address.files[1:])
    return kind in _OF_SEVERAL_FILES


def _kind(first: FileAddress) -> str:
    """Which reader opens it. Raises SlideEmpty, ArchiveNotTaken, SlideTypeMismatch."""
    file = open_file(first.location, first.name, first.blocks)
    try:
        if file.size == 0:
            raise SlideEmpty("the file has no bytes")
        magic = file.read_at(0, MAGIC_BYTES)
    finally:
        file.close()
    if magic.startswith(ARCHIVE_MAGIC) or magic[257:262] == TAR_MAGIC:
        raise ArchiveNotTaken("the file is an archive")
    for kind, matches in _MAGIC.items():
        if matches(magic):
            return kind
    raise SlideTypeMismatch("the bytes are of no image format that is opened here, whatever the name says")


def _of_one_file(reader: Callable[[], Callable[[StoredFile], Slide]]) -> Reader:
    """A reader of the first file; `reader` imports its library only when it is called."""

    def read(address: SlideAddress) -> Slide:
        first = address.files[0]
        stored = open_file(first.location, first.name, first.blocks)
        try:
            return reader()(stored)
        except BaseException:
            stored.close()
            raise

    return read


def _tiff() -> Callable[[StoredFile], Slide]:
    from ultraread.datasets.formats.tiff import TiffSlide

    return TiffSlide


def _png() -> Callable[[StoredFile], Slide]:
    from ultraread.datasets.formats.raster import RasterSlide

    return lambda stored: RasterSlide(stored, SlideFormat.PNG)


def _jpeg() -> Callable[[StoredFile], Slide]:
    from ultraread.datasets.formats.raster import RasterSlide

    return lambda stored: RasterSlide(stored, SlideFormat.JPEG)


def _dm() -> Callable[[StoredFile], Slide]:
    from ultraread.datasets.formats.dm import open_dm

    return open_dm


def _emd() -> Callable[[StoredFile], Slide]:
    from ultraread.datasets.formats.emd import EmdSlide

    return EmdSlide


def _mrc() -> Callable[[StoredFile], Slide]:
    from ultraread.datasets.formats.mrc import open_mrc

    return open_mrc


def _ser(address: SlideAddress) -> Slide:
    from ultraread.datasets.formats.ser import open_ser

    return open_ser(address)


def _is_mrc(magic: bytes) -> bool:
    from ultraread.datasets.formats.mrc import is_mrc

    return is_mrc(magic)


def _dicom(address: SlideAddress) -> Slide:
    from ultraread.datasets.formats.dicom import open_dicom

    return open_dicom(address, open_slide)


_MAGIC: Mapping[str, Callable[[bytes], bool]] = {
    "tiff": lambda magic: magic[:4] in TIFF_MAGIC,
    "png": lambda magic: magic.startswith(PNG_MAGIC),
    "jpeg": lambda magic: magic.startswith(JPEG_MAGIC),
    "emd": lambda magic: magic.startswith(HDF5_MAGIC),
    "dm": lambda magic: magic[:4] in DM_MAGIC,
    "ser": lambda magic: magic.startswith(SER_MAGIC),
    "emi": lambda magic: magic.startswith(EMI_MAGIC),
    "dicom": lambda magic: magic[128:132] == DICOM_MAGIC,
    "mrc": _is_mrc,
}
"""In this order: a mark that stands deep in the file comes after those at its start."""
_READERS: Mapping[str, Reader] = {
    "tiff": _of_one_file(_tiff),
    "png": _of_one_file(_png),
    "jpeg": _of_one_file(_jpeg),
    "emd": _of_one_file(_emd),
    "dm": _of_one_file(_dm),
    "ser": _ser,
    "emi": _ser,
    "dicom": _dicom,
    "mrc": _of_one_file(_mrc),
}
_OF_SEVERAL_FILES: frozenset[str] = frozenset({"dicom"})
"""Kinds whose files belong together; several files of any other kind are fields."""
