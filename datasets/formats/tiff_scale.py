"""The pixel sizes that a TIFF states: instrument tag, OME, ImageJ and the ordinary resolution tags."""

from collections.abc import Mapping
from dataclasses import replace
from xml.etree import ElementTree

from tifffile import RESUNIT, TiffFile, TiffPage

from ultraread.datasets.formats.tags import number_in
from ultraread.datasets.formats.tiff_tags import zeiss
from ultraread.datasets.formats.units import NM_PER_CM, NM_PER_INCH, NM_PER_METRE, nm_per
from ultraread.datasets.safe_xml import parse_xml
from ultraread.datasets.scale import PRINTING_NM_PER_PX, ScaleOrigin, StatedScale
from ultraread.errors import SlideTruncated

OME_DEFAULT_UNIT = "µm"
SCALE_NAMESPACE = "ultraread/scale"
"""Of the OME annotation that tells where a pixel size is from, and how exact it is."""


def scales_of_series(file: TiffFile, series: int) -> tuple[StatedScale, ...]:
    """Every scale that the file states for one series, most trusted origin first."""
    instrument = (_olympus(file), _fei(file), _zeiss(file), _tvips(file))
    found = (*instrument, _ome(file, series), _resolution(file, file.series[series].keyframe))
    return tuple(scale for scale in found if scale is not None)


def _olympus(file: TiffFile) -> StatedScale | None:
    """Olympus/SIS tag 33560, in metres."""
    sizes = (file.sis_metadata or {}) if file.is_sis else {}
    if "pixelsizex" not in sizes or "pixelsizey" not in sizes:
        return None
    x, y = sizes["pixelsizex"] * NM_PER_METRE, sizes["pixelsizey"] * NM_PER_METRE
    return _stated(x, y, ScaleOrigin.INSTRUMENT_TAG)


def _fei(file: TiffFile) -> StatedScale | None:
    """Scanning microscopes of FEI: tags 34680 and 34682, section Scan, in metres."""
    scan = ((file.fei_metadata or {}) if file.pages.first.is_fei else {}).get("Scan")
    if not isinstance(scan, Mapping):
        return None
    x, y = (number_in(scan.get(f"Pixel{side}")) or 0.0 for side in ("Width", "Height"))
    return _stated(x * NM_PER_METRE, y * NM_PER_METRE, ScaleOrigin.INSTRUMENT_TAG)


def _zeiss(file: TiffFile) -> StatedScale | None:
    """Zeiss tag 34118: the size of a pixel of the image as saved, which newer software names."""
    says = (file.sem_metadata or {}) if file.pages.first.is_sem else {}
    for key in ("ap_image_pixel_size", "ap_pixel_size"):
        size, unit = number_in(zeiss(says, key)), nm_per(str(zeiss(says, key, 2)))
        if size and unit:
            return _stated(size * unit, size * unit, ScaleOrigin.INSTRUMENT_TAG)
    return None


def _tvips(file: TiffFile) -> StatedScale | None:
    """TVIPS tag 37706, in nanometres."""
    says = (file.tvips_metadata or {}) if file.pages.first.is_tvips else {}
    x, y = (number_in(says.get(f"PixelSize{axis}")) or 0.0 for axis in "XY")
    return _stated(x, y, ScaleOrigin.INSTRUMENT_TAG)


def _ome(file: TiffFile, series: int) -> StatedScale | None:
    if not file.is_ome or not file.ome_metadata:
        return None
    try:
        root = parse_xml(file.ome_metadata)
    except ElementTree.ParseError as failure:
        raise SlideTruncated("the OME-XML cannot be read") from failure
    attributes = _ome_pixels(file, series, root)
    if "PhysicalSizeX" not in attributes or "PhysicalSizeY" not in attributes:
        return None
    x, y = (_ome_nm(attributes, axis) for axis in "XY")
    stated = None if x is None or y is None else _stated(x, y, ScaleOrigin.OME)
    return _as_noted(stated, root, series) if stated else None


def _ome_pixels(file: TiffFile, series: int, root: ElementTree.Element) -> dict[str, str]:
    """Attributes of the Pixels of a series, none where it is in doubt which they are.

    tifffile leaves out images whose pixels are not in the file, and so counts others than the XML.
    """
    images = root.findall("{*}Image/{*}Pixels")
    key = file.series[series].keyframe
    if len(images) != len(file.series):
        return {}
    attributes = images[series].attrib
    size = attributes.get("SizeX"), attributes.get("SizeY")
    return attributes if size == (str(key.imagewidth), str(key.imagelength)) else {}


def _as_noted(stated: StatedScale, root: ElementTree.Element, series: int) -> StatedScale:
    """With the tolerance and reason that `ultraread convert` noted beside the pixel size."""
    noted = root.find(f"{{*}}StructuredAnnotations/{{*}}MapAnnotation[@ID='Annotation:{series}']")
    if noted is None or noted.attrib.get("Namespace") != SCALE_NAMESPACE:
        return stated
    told = {element.attrib.get("K"): element.text or "" for element in noted.iter() if "K" in element.attrib}
    tolerance = number_in(told.get("nm_per_px_tolerance"))
    if tolerance is None or not 0 <= tolerance < 1:
        return stated
    return replace(stated, tolerance=tolerance, reason=told.get("nm_per_px_reason", ""))


def _ome_nm(attributes: dict[str, str], axis: str) -> float | None:
    nm_per_unit = nm_per(attributes.get(f"PhysicalSize{axis}Unit", OME_DEFAULT_UNIT))
    return None if nm_per_unit is None else float(attributes[f"PhysicalSize{axis}"]) * nm_per_unit


def _resolution(file: TiffFile, page: TiffPage) -> StatedScale | None:
    """XResolution and YResolution with a unit; ImageJ names its unit in the description."""
    x_per_unit, y_per_unit = (_ratio(page, tag) for tag in ("XResolution", "YResolution"))
    nm_per_unit = _nm_per_resolution_unit(file, page)
    if not (x_per_unit and y_per_unit and nm_per_unit):
        return None
    if nm_per_unit / x_per_unit >= PRINTING_NM_PER_PX:
        return None
    return _stated(nm_per_unit / x_per_unit, nm_per_unit / y_per_unit, ScaleOrigin.TIFF_RESOLUTION)


def _ratio(page: TiffPage, tag: str) -> float | None:
    value = page.tags.valueof(tag)
    return value[0] / value[1] if isinstance(value, tuple) and len(value) == 2 and value[1] else None


def _nm_per_resolution_unit(file: TiffFile, page: TiffPage) -> float | None:
    imagej = (file.imagej_metadata or {}) if file.is_imagej else {}
    if "unit" in imagej:
        return nm_per(str(imagej["unit"]))
    unit = page.tags.valueof("ResolutionUnit")
    return {RESUNIT.INCH: NM_PER_INCH, RESUNIT.CENTIMETER: NM_PER_CM}.get(unit) if unit else None


def _stated(x_nm: float, y_nm: float, origin: ScaleOrigin) -> StatedScale | None:
    possible = 0 < x_nm < float("inf") and 0 < y_nm < float("inf")
    return StatedScale(x_nm, y_nm, origin) if possible else None
