"""DM3 and DM4 of DigitalMicrograph: images and stacks. Spectra, diffraction and packed RGB are refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ultraread.datasets.formats.dm_tags import LongArray, Tags, Value, read_tags
from ultraread.datasets.formats.pixel_kinds import bit_depth_of
from ultraread.datasets.formats.raw_planes import MAX_PLANES, RawPlane, RawPlanesSlide, check_planes
from ultraread.datasets.formats.tags import flattened, number_in
from ultraread.datasets.formats.units import nm_per, refuse_unless_of_space
from ultraread.datasets.geometry import SizePx
from ultraread.datasets.scale import ScaleOrigin, StatedScale
from ultraread.datasets.slide import Acquisition, ImageInfo, Modality, SlideFormat, SlideInfo, Tag
from ultraread.datasets.stored_file import StoredFile
from ultraread.errors import SlideDamaged, SlideNotAnImage, SlidePixelFormat, SlideTooLarge

DTYPE_OF_DATA_TYPE = {
    1: "int16", 2: "float32", 6: "uint8", 7: "int32", 9: "int8", 10: "uint16", 11: "uint32", 12: "float64",
}  # fmt: skip
"""`ImageData.DataType` of what is opened; 3, 5 and 13 are complex, 8 and 23 packed RGB, 14 is a mask."""
PACKED_RGB = 23


@dataclass(frozen=True, slots=True)
class _Image:
    """One entry of ImageList. `shape` is x, y and, of a stack, z, as DM counts them."""

    data: LongArray
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    units: tuple[str, ...]
    pixel_sizes: tuple[float, ...]
    says: dict[str, Value]

    @property
    def size(self) -> SizePx:
        return SizePx(self.shape[0], self.shape[1])

    @property
    def sections(self) -> int:
        return self.shape[2] if len(self.shape) > 2 else 1


def open_dm(stored: StoredFile) -> RawPlanesSlide:
    """Open the pictures of a DM file, each section of a stack as one image.

    Raises SlideNotAnImage, SlidePixelFormat, SlideTruncated, SlideTooLarge, SlideDamaged.
    """
    with stored.stream() as stream:
        version, tags = read_tags(stream, stored.size)
    images = _images(tags)
    planes = [plane for image in images for plane in _planes(image)]
    check_planes(planes, [stored])
    of_plane = [image for image in images for _ in range(image.sections)]
    info = SlideInfo(
        format=SlideFormat.DM3 if version == 3 else SlideFormat.DM4,
        images=tuple(_describe(n, image) for n, image in enumerate(of_plane)),
        tags=tuple(_as_tags(tags)),
    )
    return RawPlanesSlide([stored], planes, info)


def _images(tags: Tags) -> list[_Image]:
    """The pictures in it; refused with the reason of the first where it holds none."""
    found, reasons = [], []
    for entry in _pictures_of(tags):
        try:
            found.append(_image(entry))
        except (SlideNotAnImage, SlidePixelFormat) as refused:
            reasons.append(refused)
    if not found:
        raise reasons[0] if reasons else SlideNotAnImage("the file holds tags only")
    return found


def _pictures_of(tags: Tags) -> list[dict[str, Value]]:
    """The tags of every entry of ImageList but the thumbnails."""
    entries: dict[int, dict[str, Value]] = {}
    for path, value in tags.items():
        room, _, below = path.partition(".")
        number, _, name = below.partition(".")
        if room == "ImageList" and number.isdigit() and name:
            entries.setdefault(int(number), {})[name] = value
    numbers = sorted(entries)
    thumbnails = {value for path, value in tags.items() if _is_thumbnail_index(path)}
    first_is_colour = len(numbers) > 1 and entries[numbers[0]].get("ImageData.DataType") == PACKED_RGB
    return [
        entries[number]
        for place, number in enumerate(numbers)
        if "ImageData.Data" in entries[number]
        and not (first_is_colour and (place == 0 or place in thumbnails))
    ]


def _is_thumbnail_index(path: str) -> bool:
    return path.startswith("Thumbnails.") and path.endswith(".ImageIndex")


def _image(says: dict[str, Value]) -> _Image:
    shape = tuple(int(each) for each in _numbered(says, "ImageData.Dimensions.{}"))
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    units = tuple(
        str(each) for each in _numbered(says, "ImageData.Calibrations.Dimension.{}.Units")[: len(shape)]
    )
    _refuse_unless_picture(shape, units, says)
    data, dtype = _data(says)
    if np.prod([float(side) for side in shape]) != data.count:
        raise SlideDamaged("the image has not as many pixels as its sides say")
    scales = _numbered(says, "ImageData.Calibrations.Dimension.{}.Scale")[: len(shape)]
    return _Image(data, dtype, shape, units, tuple(float(each) for each in scales), says)


def _refuse_unless_picture(shape: tuple[int, ...], units: tuple[str, ...], says: dict[str, Value]) -> None:
    if len(shape) not in (2, 3) or min(shape[:2]) < 2:
        raise SlideNotAnImage("a spectrum, a line scan or a map of patterns")
    refuse_unless_of_space(units[:2])
    kind = f"{says.get('ImageTags.Meta Data.Format', '')} {says.get('ImageTags.Meta Data.Signal', '')}"
    if len(shape) == 3 and ("Spectrum" in kind or "eV" in units):
        raise SlideNotAnImage("a spectrum at every point")
    if len(shape) == 3 and shape[2] > MAX_PLANES:
        raise SlideTooLarge(f"{shape[2]:,} sections")
    if "Diffraction" in kind or (not any(map(nm_per, units[:2])) and _is_made_of_diffraction(says)):
        raise SlideNotAnImage("a diffraction pattern")


def _is_made_of_diffraction(says: dict[str, Value]) -> bool:
    """`Imaging Mode` where nothing scans; a scanning microscope always shows its camera diffraction."""
    info = "ImageTags.Microscope Info."
    is_scanned = _modality(says) is Modality.STEM or says.get(f"{info}Operation Mode") == "SCANNING"
    return not is_scanned and "DIFF" in str(says.get(f"{info}Imaging Mode", "")).upper()


def _data(says: dict[str, Value]) -> tuple[LongArray, np.dtype[Any]]:
    """Where the pixels lie and their kind, which the file states three times."""
    data, kind = says["ImageData.Data"], says.get("ImageData.DataType")
    if not isinstance(kind, int) or kind not in DTYPE_OF_DATA_TYPE:
        raise SlidePixelFormat(f"pixels of DM type {kind}")
    if not isinstance(data, LongArray) or data.dtype is None:
        raise SlideDamaged("the pixels are no array of numbers")
    depth = says.get("ImageData.PixelDepth")
    if data.dtype.name != DTYPE_OF_DATA_TYPE[kind] or depth != data.dtype.itemsize:
        raise SlideDamaged("the file contradicts itself about its kind of pixel")
    return data, data.dtype


def _numbered(says: dict[str, Value], name: str) -> list[Any]:
    values, number = [], 1
    while (path := name.format(number)) in says:
        values.append(says[path])
        number += 1
    return values


def _planes(image: _Image) -> Iterator[RawPlane]:
    section_bytes = image.size.area_px * image.dtype.itemsize
    for section in range(image.sections):
        yield RawPlane(image.data.offset_bytes + section * section_bytes, image.size, image.dtype)


def _describe(index: int, image: _Image) -> ImageInfo:
    modality = _modality(image.says)
    return ImageInfo(
        index=index,
        levels=(image.size,),
        bit_depth=bit_depth_of(image.dtype),
        samples_per_px=1,
        modality=modality or Modality.TEM,
        modality_is_stated=modality is not None,
        scales=_scales(image),
        stored_as=image.dtype.name,
        acquisition=_acquisition(image.says),
    )


def _scales(image: _Image) -> tuple[StatedScale, ...]:
    nm = [
        (nm_per(unit) or 0.0) * size
        for unit, size in zip(image.units[:2], image.pixel_sizes[:2], strict=True)
    ]
    possible = len(nm) == 2 and all(0 < each < float("inf") for each in nm)
    return (StatedScale(nm[0], nm[1], ScaleOrigin.INSTRUMENT_TAG),) if possible else ()


def _modality(says: dict[str, Value]) -> Modality | None:
    """`Illumination Mode` is TEM or one of STEM's; `Operation Mode` of a scanning microscope is SCANNING."""
    mode = str(says.get("ImageTags.Microscope Info.Illumination Mode", "")).upper()
    if mode.startswith("STEM"):
        return Modality.STEM
    return Modality.TEM if mode.startswith("TEM") else None


def _acquisition(says: dict[str, Value]) -> Acquisition:
    info, bar = "ImageTags.Microscope Info.", "ImageTags.DataBar."
    voltage = number_in(says.get(f"{info}Voltage"))
    magnification = says.get(f"{info}Actual Magnification") or says.get(f"{info}Indicated Magnification")
    date, time = (str(says.get(f"{bar}Acquisition {each}", "")) for each in ("Date", "Time"))
    return Acquisition(
        microscope=str(says.get(f"{info}Microscope") or says.get(f"{info}Name") or ""),
        camera=str(says.get("ImageTags.Acquisition.Device.Name") or says.get(f"{bar}Device Name") or ""),
        magnification=number_in(magnification),
        accelerating_kv=voltage / 1000 if voltage else None,
        acquired=f"{date} {time}".strip(),
    )


def _as_tags(tags: Tags) -> Iterator[Tag]:
    for path, value in tags.items():
        if not isinstance(value, LongArray):
            yield from flattened(value, path)
