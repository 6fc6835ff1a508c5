"""Which kind of DICOM the files are: a whole slide, or one micrograph that was captured as an object."""

from collections.abc import Callable, Iterator

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from ultraread.datasets.formats.dicom_tags import acquisition_of, header_of, silent, tags_of
from ultraread.datasets.formats.dicom_wsi import NM_PER_MM, DicomWsiSlide, compression_of
from ultraread.datasets.formats.fields import FieldsSlide
from ultraread.datasets.formats.limits import MAX_STORED_TILE_PX
from ultraread.datasets.formats.pixel_kinds import bit_depth_of, converted
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.scale import ScaleOrigin, StatedScale
from ultraread.datasets.slide import ClosedByWith, ImageInfo, Modality, Pixels, Slide, SlideFormat, SlideInfo
from ultraread.datasets.slide_address import FileAddress, SlideAddress
from ultraread.datasets.stored_file import open_file
from ultraread.errors import DicomInvalid, SlidePixelFormat, SlideTooLarge, SlideTypeMismatch

UNDEFINED_LENGTH = 2**32 - 1


def open_dicom(address: SlideAddress, open_one: Callable[[SlideAddress], Slide]) -> Slide:
    """Open instances as one slide; several captures are fields, each opened by `open_one`.

    Raises DicomInvalid, SlideTypeMismatch, and what each kind refuses.
    """
    with silent():
        headers = [_header(file) for file in address.files]
    if {header.get("SOPClassUID") for header in headers} == {VLWholeSlideMicroscopyImageStorage}:
        return DicomWsiSlide(address.files, headers)
    if len(headers) > 1:
        return FieldsSlide(address, open_one)
    with silent():
        return DicomFrameSlide(address.files[0], headers[0])


class DicomFrameSlide(ClosedByWith):
    """One picture in a DICOM object that is no whole slide, a secondary capture say; decoded whole."""

    def __init__(self, file: FileAddress, header: Dataset) -> None:
        _check(header)
        self._pixels = _decoded(file)
        self.info = SlideInfo(SlideFormat.DICOM_WSI, (_describe(self._pixels, header),), tags_of(header))

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        return self._pixels[box.y : box.bottom, box.x : box.right]

    def close(self) -> None:
        """Nothing stays open."""


def _header(address: FileAddress) -> Dataset:
    file = open_file(address.location, address.name, address.blocks)
    try:
        with file.stream() as stream:
            return header_of(stream)
    finally:
        file.close()


def _check(header: Dataset) -> None:
    if "Rows" not in header or "Columns" not in header:
        raise SlideTypeMismatch("the DICOM object holds no picture")
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise SlideTypeMismatch(
            "a film or volume in DICOM, which is no slide", "Export its frames as images."
        )
    if header.get("PhotometricInterpretation") not in {"MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422"}:
        raise SlidePixelFormat("the DICOM object's photometric interpretation is not read here")
    if int(header.Rows) * int(header.Columns) > MAX_STORED_TILE_PX:
        raise SlideTooLarge(f"{header.Columns} x {header.Rows} px in one piece")


def _decoded(address: FileAddress) -> Pixels:
    file = open_file(address.location, address.name, address.blocks)
    try:
        with file.stream() as stream:
            read = pydicom.dcmread(stream)
            _refuse_overflow(read)
            pixels = np.asarray(read.pixel_array)
    except DicomInvalid:
        raise
    except Exception as failure:  # each decoder has an error type of its own
        raise DicomInvalid(f"the picture cannot be decoded ({type(failure).__name__})") from failure
    finally:
        file.close()
    return converted(pixels)


def _refuse_overflow(read: Dataset) -> None:
    """pydicom takes what is there for what was declared."""
    element = read.get_item("PixelData")
    if not isinstance(element, RawDataElement) or element.length == UNDEFINED_LENGTH:
        return
    if element.length != len(element.value or b""):
        raise DicomInvalid("the pixels are said to have another length than they have")


def _describe(pixels: Pixels, header: Dataset) -> ImageInfo:
    is_rgb = pixels.ndim == 3
    return ImageInfo(
        index=0,
        levels=(SizePx(pixels.shape[1], pixels.shape[0]),),
        bit_depth=bit_depth_of(pixels.dtype),
        samples_per_px=3 if is_rgb else 1,
        modality=Modality.SEMITHIN_LIGHT if is_rgb else Modality.TEM,
        modality_is_stated=False,
        scales=tuple(_scales(header)),
        stored_as=pixels.dtype.name,
        compression=compression_of(header.file_meta.TransferSyntaxUID),
        acquisition=acquisition_of(header),
    )


def _scales(header: Dataset) -> Iterator[StatedScale]:
    """Pixel Spacing, rows first, in mm. What a capture calls so is the instrument's own word for it."""
    spacing = header.get("PixelSpacing")
    if spacing is not None and len(spacing) == 2 and min(spacing) > 0:
        y_nm, x_nm = (float(each) * NM_PER_MM for each in spacing)
        yield StatedScale(x_nm, y_nm, ScaleOrigin.INSTRUMENT_TAG)
