"""SER of TIA (FEI), with or without the EMI file that describes it: 2D images; line scans are refused.

Layout: the description of the format by C. Boothroyd ("TIA file format"), which agrees with what ncempy and
rosettasciio read. Rows are stored from the bottom up.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ultraread.datasets.formats.emi import Emi, read_emi
from ultraread.datasets.formats.pixel_kinds import bit_depth_of
from ultraread.datasets.formats.raw_planes import MAX_PLANES, RawPlane, RawPlanesSlide, check_planes
from ultraread.datasets.formats.tags import flattened
from ultraread.datasets.formats.units import NM_PER_METRE
from ultraread.datasets.geometry import SizePx
from ultraread.datasets.scale import ScaleOrigin, StatedScale
from ultraread.datasets.slide import ImageInfo, Modality, SlideFormat, SlideInfo, Tag
from ultraread.datasets.slide_address import SlideAddress
from ultraread.datasets.stored_file import StoredFile, open_file
from ultraread.errors import SlideDamaged, SlideNotAnImage, SlidePixelFormat, SlideTooLarge, SlideTruncated

LITTLE_ENDIAN, SERIES_ID = 0x4949, 0x0197
OLD, NEW = 0x0210, 0x0220
"""Series versions: offsets of 4 bytes before TIA 4.7.3, of 8 from then on."""
LINES, PICTURES = 0x4120, 0x4122
TIME_ONLY, TIME_AND_PLACE = 0x4152, 0x4142
DTYPES = {1: "<u1", 2: "<u2", 3: "<u4", 4: "<i1", 5: "<i2", 6: "<i4", 7: "<f4", 8: "<f8"}
COMPLEX = (9, 10)
MAX_DIMENSIONS = 8
MAX_STEP_M = 1.0
"""SER names no unit: a step of a picture is far below a metre, one of diffraction millions per metre."""
MAX_TEXT_BYTES = 4096
HEADER_BYTES = 65_536
ELEMENT_BYTES = 50
"""Before the pixels of an image: two calibrations of 20 bytes, the data type, the two sides."""


@dataclass(frozen=True, slots=True)
class _Header:
    valid: int
    offsets_at: int
    offset_kind: str
    tag_kind: int
    dimensions: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _Element:
    """One image of a series; its steps are in metres a pixel."""

    plane: RawPlane
    step_m: tuple[float, float]


def open_ser(address: SlideAddress) -> RawPlanesSlide:
    """Open the SER files of an address, described by its EMI file where it has one.

    Raises SlideNotAnImage, SlidePixelFormat, SlideTruncated, SlideTooLarge, SlideDamaged.
    """
    files = [open_file(each.location, each.name, each.blocks) for each in address.files]
    try:
        return _opened(files)
    except BaseException:
        for file in files:
            file.close()
        raise


def _opened(files: list[StoredFile]) -> RawPlanesSlide:
    series = [file for file in files if _is_series(file)]
    emis = [read_emi(file) for file in files if file not in series]
    if not series:
        raise SlideNotAnImage("an EMI file holds no pixels: its SER files are missing")
    emi = emis[0] if emis else Emi()
    headers = [_header(file) for file in series]
    elements = [each for n, file in enumerate(series) for each in _elements(file, n, headers[n])]
    check_planes([each.plane for each in elements], series)
    if emi.is_diffraction or any(max(map(abs, each.step_m)) >= MAX_STEP_M for each in elements):
        raise SlideNotAnImage("a diffraction pattern")
    info = SlideInfo(
        format=SlideFormat.SER,
        images=tuple(_describe(n, element, emi) for n, element in enumerate(elements)),
        tags=(*emi.tags, *_tags(headers)),
    )
    slide = RawPlanesSlide(series, [each.plane for each in elements], info)
    for file in files:
        if file not in series:
            file.close()
    return slide


def _is_series(file: StoredFile) -> bool:
    return file.read_at(0, 4) == struct.pack("<HH", LITTLE_ENDIAN, SERIES_ID)


class _Fields:
    """Numbers and texts one after the other. Raises SlideTruncated at the end of the file."""

    def __init__(self, stored: bytes) -> None:
        self._stored, self._at = stored, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        size = struct.calcsize(layout)
        if self._at + size > len(self._stored):
            raise SlideTruncated("the header is cut off")
        values = struct.unpack_from(layout, self._stored, self._at)
        self._at += size
        return values

    def text(self) -> str:
        (length,) = self.take("<i")
        if not 0 <= length <= MAX_TEXT_BYTES:
            raise SlideDamaged("a text longer than a text is")
        return bytes(self.take(f"<{length}s")[0]).decode("latin-1")


def _header(file: StoredFile) -> _Header:
    fields = _Fields(file.read_at(0, HEADER_BYTES))
    _, _, version, kind, tag_kind, total, valid = fields.take("<3H4i")
    if version not in (OLD, NEW):
        raise SlideDamaged("a version of SER that is not known")
    if kind == LINES:
        raise SlideNotAnImage("spectra or line scans")
    if kind != PICTURES or tag_kind not in (TIME_ONLY, TIME_AND_PLACE) or not 1 <= valid <= total:
        raise SlideDamaged("the header of the series contradicts itself")
    if valid > MAX_PLANES:
        raise SlideTooLarge(f"{valid:,} images in one file")
    (offsets_at,) = fields.take("<i" if version == OLD else "<q")
    dimensions = _dimensions(fields)
    if np.prod([float(each["size"]) for each in dimensions]) != total:
        raise SlideDamaged("the series has not as many images as its dimensions say")
    return _Header(valid, offsets_at, "<i4" if version == OLD else "<i8", tag_kind, dimensions)


def _dimensions(fields: _Fields) -> tuple[dict[str, Any], ...]:
    (count,) = fields.take("<i")
    if not 0 <= count <= MAX_DIMENSIONS:
        raise SlideDamaged("a series of more dimensions than there are")
    found = []
    for _ in range(count):
        size, offset, delta, element = fields.take("<iddi")
        found.append({
            "size": size, "offset": offset, "delta": delta, "element": element,
            "description": fields.text(), "units": fields.text(),
        })  # fmt: skip
    return tuple(found)


def _elements(file: StoredFile, number: int, header: _Header) -> list[_Element]:
    kind = np.dtype(header.offset_kind)
    stored = file.read_at(header.offsets_at, kind.itemsize * header.valid) if header.offsets_at > 0 else b""
    if len(stored) != kind.itemsize * header.valid:
        raise SlideTruncated("the list of images is cut off")
    offsets = [int(each) for each in np.frombuffer(stored, kind)]
    elements = [_element(file, number, offset) for offset in offsets]
    _refuse_overlap(elements, header.offsets_at)
    return elements


def _element(file: StoredFile, number: int, offset: int) -> _Element:
    if not 0 < offset < file.size:
        raise SlideTruncated("an image begins beyond the end of the file")
    fields = _Fields(file.read_at(offset, ELEMENT_BYTES))
    (_, step_x, _), (_, step_y, _) = fields.take("<ddi"), fields.take("<ddi")
    (kind,) = fields.take("<h")
    width, height = fields.take("<ii")
    if kind not in DTYPES:
        raise SlidePixelFormat("complex pixels" if kind in COMPLEX else f"pixels of SER type {kind}")
    if min(width, height) < 1:
        raise SlideDamaged("an image without a size")
    plane = RawPlane(
        offset + ELEMENT_BYTES, SizePx(width, height), np.dtype(DTYPES[kind]), number, is_bottom_up=True
    )
    return _Element(plane, (step_x, step_y))


def _refuse_overlap(elements: Sequence[_Element], offsets_at: int) -> None:
    """Images lie one after the other, between the list of their places and the end of the file."""
    end = offsets_at
    for element in sorted(elements, key=lambda each: each.plane.offset_bytes):
        if element.plane.offset_bytes - ELEMENT_BYTES < end:
            raise SlideDamaged("two images share their bytes")
        end = element.plane.end_bytes


def _describe(index: int, element: _Element, emi: Emi) -> ImageInfo:
    nm = [step * NM_PER_METRE for step in element.step_m]
    possible = all(0 < each < float("inf") for each in nm)
    return ImageInfo(
        index=index,
        levels=(element.plane.size,),
        bit_depth=bit_depth_of(element.plane.dtype),
        samples_per_px=1,
        modality=emi.modality or Modality.TEM,
        modality_is_stated=emi.modality is not None,
        scales=(StatedScale(nm[0], nm[1], ScaleOrigin.INSTRUMENT_TAG),) if possible else (),
        stored_as=element.plane.dtype.name,
        acquisition=replace(emi.acquisition),
    )


def _tags(headers: Sequence[_Header]) -> Sequence[Tag]:
    return [tag for header in headers for tag in flattened(list(header.dimensions), "Dimensions")]
