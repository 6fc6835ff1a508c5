"""MRC2014: each section of a stack is one image. mrcfile's tables say what the header means."""

import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ultraread.datasets.formats.pixel_kinds import bit_depth_of
from ultraread.datasets.formats.raw_planes import MAX_PLANES, RawPlane, RawPlanesSlide, check_planes
from ultraread.datasets.formats.tags import flattened, number_in, printable_texts
from ultraread.datasets.geometry import SizePx
from ultraread.datasets.scale import ScaleOrigin, StatedScale
from ultraread.datasets.slide import Acquisition, ImageInfo, Modality, SlideFormat, SlideInfo, Tag
from ultraread.datasets.stored_file import StoredFile
from ultraread.errors import SlideDamaged, SlideNotAnImage, SlidePixelFormat, SlideTooLarge, SlideTruncated

HEADER_BYTES = 1024
MAX_EXTENDED_BYTES = 64 * 2**20
MARKS = (b"MAP", bytes(3))
"""Some programs leave the mark out; machine stamp, axes and the exact size then have to do."""
STAMPS = (b"\x44\x44", b"\x44\x41", b"\x11\x11")
ANGSTROM_PER_NM = 10.0
UNSET_ANGSTROM_PER_PX = 1.0
"""Programs that know no pixel size write cells of one Ångström a pixel: that is no scale."""
FEI_MODES = {1: Modality.TEM, 2: Modality.STEM}
FEI_DIFFRACTION = 1
IMOD_STAMP_AT, IMOD_STAMP = 152, 1146047817
MODES = (0, 1, 2, 3, 4, 6, 12, 101)
"""Of MRC2014. 3 and 4 are complex and 101 packs two pixels in a byte: recognised, and refused by name."""


def open_mrc(stored: StoredFile) -> RawPlanesSlide:
    """Open an MRC file, rows in stored order, as mrcfile and rosettasciio read them.

    Raises SlideNotAnImage, SlidePixelFormat, SlideTruncated, SlideTooLarge, SlideDamaged.
    """
    header = _header(stored.read_at(0, HEADER_BYTES))
    extended = _extended(stored, header)
    planes = _planes(header, stored.size)
    check_planes(planes, [stored])
    says = _fei(header, extended)
    image = _describe(header, planes[0], says)
    return RawPlanesSlide(
        [stored],
        planes,
        SlideInfo(
            format=SlideFormat.MRC,
            images=tuple(replace(image, index=n) for n in range(len(planes))),
            tags=tuple(_tags(header, extended, says)),
        ),
    )


def is_mrc(magic: bytes) -> bool:
    """Whether the first bytes are an MRC header: by its mark, else by machine stamp, mode and axes."""
    if magic[208:211] == b"MAP":
        return True
    stamp = magic[212:214]
    if magic[208:211] != bytes(3) or stamp not in STAMPS:
        return False
    order = ">" if stamp == STAMPS[2] else "<"
    numbers = np.frombuffer(magic[:76], f"{order}i4")
    return int(numbers[3]) in MODES and tuple(numbers[16:19]) == (1, 2, 3) and min(numbers[:3]) > 0


def _header(stored: bytes) -> Any:  # noqa: ANN401  # a structured record of mrcfile's
    """The header in its own byte order. Raises SlideTruncated, SlideDamaged."""
    from mrcfile.dtypes import HEADER_DTYPE
    from mrcfile.utils import byte_order_from_machine_stamp

    if len(stored) < HEADER_BYTES:
        raise SlideTruncated("the header is cut off")
    header = np.frombuffer(stored, HEADER_DTYPE).reshape(()).view(np.recarray)
    if bytes(header.map)[:3] not in MARKS:
        raise SlideDamaged("the mark of an MRC file is missing")
    try:
        order = byte_order_from_machine_stamp(header.machst)
    except ValueError as failure:
        raise SlideDamaged("the machine stamp is none that is known") from failure
    return np.frombuffer(stored, HEADER_DTYPE.newbyteorder(order)).reshape(()).view(np.recarray)


def _extended(stored: StoredFile, header: Any) -> bytes:  # noqa: ANN401
    declared = int(header.nsymbt)
    if declared < 0 or HEADER_BYTES + declared > stored.size:
        raise SlideTruncated("the file ends before its extended header does")
    if declared > MAX_EXTENDED_BYTES:
        raise SlideTooLarge(f"an extended header of {declared:,} bytes")
    return stored.read_at(HEADER_BYTES, declared)


def _planes(header: Any, file_bytes: int) -> list[RawPlane]:  # noqa: ANN401
    """Every section; what the file holds behind its headers must be exactly them."""
    from mrcfile.utils import data_dtype_from_header

    width, height, sections = int(header.nx), int(header.ny), int(header.nz)
    if min(width, height, sections) < 1:
        raise SlideDamaged("the header states no image size")
    if sections > MAX_PLANES:
        raise SlideTooLarge(f"{sections:,} sections")
    try:
        dtype = np.dtype(np.uint8) if _has_unsigned_bytes(header) else data_dtype_from_header(header)
    except ValueError as failure:
        raise SlidePixelFormat(f"MRC mode {int(header.mode)}") from failure
    start, plane_bytes = HEADER_BYTES + int(header.nsymbt), width * height * dtype.itemsize
    _check_axes(header)
    if start + sections * plane_bytes > file_bytes:
        raise SlideTruncated(f"{sections} sections of {width} x {height} px are more than the file holds")
    if start + sections * plane_bytes < file_bytes:
        raise SlideDamaged("the file holds more than its header says")
    return [RawPlane(start + n * plane_bytes, SizePx(width, height), dtype) for n in range(sections)]


def _has_unsigned_bytes(header: Any) -> bool:  # noqa: ANN401
    """Mode 0 is signed (MRC2014), but IMOD marks its files and says in a flag whether theirs are."""
    stored = header.tobytes()
    order = header.mode.dtype.byteorder.replace("=", "<" if sys.byteorder == "little" else ">")
    stamp, flags = struct.unpack_from(f"{order}ii", stored, IMOD_STAMP_AT)
    return int(header.mode) == 0 and stamp == IMOD_STAMP and not flags & 1


def _check_axes(header: Any) -> None:  # noqa: ANN401
    """Columns are x, rows y, sections z: any other order would turn the picture."""
    axes = (int(header.mapc), int(header.mapr), int(header.maps))
    if axes not in ((1, 2, 3), (0, 0, 0)):
        raise SlidePixelFormat("axes in another order than x, y, z")
    if min(int(header.mx), int(header.my), int(header.mz)) < 0:
        raise SlideDamaged("the header states a negative number of samples")


def _describe(header: Any, plane: RawPlane, says: dict[str, Any]) -> ImageInfo:  # noqa: ANN401
    modality = FEI_MODES.get(says.get("Instrument mode", 0))
    if modality == Modality.TEM and says.get("Projection mode") == FEI_DIFFRACTION:
        raise SlideNotAnImage("a diffraction pattern")
    return ImageInfo(
        index=0,
        levels=(plane.size,),
        bit_depth=bit_depth_of(plane.dtype),
        samples_per_px=1,
        modality=modality or Modality.TEM,
        modality_is_stated=modality is not None,
        scales=_scales(header),
        stored_as=plane.dtype.name,
        acquisition=_acquisition(says),
    )


def _scales(header: Any) -> tuple[StatedScale, ...]:  # noqa: ANN401
    """Cell over samples, in Ångström (MRC2014)."""
    samples = int(header.mx), int(header.my)
    cell = float(header.cella.x), float(header.cella.y)
    if min(samples) < 1 or not all(0 < each < float("inf") for each in cell):
        return ()
    x, y = (length / count for length, count in zip(cell, samples, strict=True))
    if x == y == UNSET_ANGSTROM_PER_PX:
        return ()
    return (StatedScale(x / ANGSTROM_PER_NM, y / ANGSTROM_PER_NM, ScaleOrigin.INSTRUMENT_TAG),)


def _fei(header: Any, extended: bytes) -> dict[str, Any]:  # noqa: ANN401
    """The first record of the extended header that FEI and Thermo Fisher write, empty in other files."""
    from mrcfile.dtypes import get_ext_header_dtype

    layout = get_ext_header_dtype(bytes(header.exttyp), header.mode.dtype.byteorder)
    if layout is None or len(extended) < layout.itemsize:
        return {}
    record = np.frombuffer(extended, layout, count=1)[0]
    return {name: record[name].item() for name in layout.names or ()}


def _acquisition(says: dict[str, Any]) -> Acquisition:
    voltage = number_in(says.get("HT"))
    return Acquisition(
        microscope=f"{_text(says.get('Microscope type'))} {_text(says.get('D-Number'))}".strip(),
        camera=_text(says.get("Camera name")),
        magnification=number_in(says.get("Magnification")),
        accelerating_kv=voltage / 1000 if voltage else None,
    )


def _text(stored: bytes | None) -> str:
    return (stored or b"").split(b"\0")[0].decode("latin-1").strip()


def _tags(header: Any, extended: bytes, says: dict[str, Any]) -> Iterator[Tag]:  # noqa: ANN401
    labels = [_text(bytes(label)) for label in header.label.tolist()]
    yield from flattened({f"label {n + 1}": label for n, label in enumerate(labels)})
    yield from flattened(
        {name: _text(each) if isinstance(each, bytes) else each for name, each in says.items()}
    )
    yield from printable_texts(extended, "extended header")
