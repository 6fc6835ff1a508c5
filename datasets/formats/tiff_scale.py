"""The pixel sizes that a TIFF states: instrument tag, OME, ImageJ and the ordinary resolution tags."""

from xml.etree import ElementTree

from tifffile import RESUNIT, TiffFile, TiffPage

from ultraread.datasets.scale import PRINTING_NM_PER_PX, ScaleOrigin, StatedScale
from ultraread.errors import SlideTruncated

NM_PER_METRE = 1e9
NM_PER_INCH = 25.4e6
NM_PER_CM = 1e7
NM_PER_UNIT = {
    "pm": 1e-3, "Å": 0.1, "angstrom": 0.1, "nm": 1.0, "nanometer": 1.0, "µm": 1e3, "μm": 1e3, "um": 1e3,
    "micron": 1e3, "micrometer": 1e3, "mm": 1e6, "cm": NM_PER_CM, "inch": NM_PER_INCH, "m": NM_PER_METRE,
}  # fmt: skip
OME_DEFAULT_UNIT = "µm"


def scales_of_series(file: TiffFile, series: int) -> tuple[StatedScale, ...]:
    """Every scale that the file states for one series, most trusted origin first."""
    found = (_olympus(file), _ome(file, series), _resolution(file, file.series[series].keyframe))
    return tuple(scale for scale in found if scale is not None)


def _olympus(file: TiffFile) -> StatedScale | None:
    """Olympus/SIS tag 33560, in metres."""
    sizes = (file.sis_metadata or {}) if file.is_sis else {}
    if "pixelsizex" not in sizes or "pixelsizey" not in sizes:
        return None
    x, y = sizes["pixelsizex"] * NM_PER_METRE, sizes["pixelsizey"] * NM_PER_METRE
    return _stated(x, y, ScaleOrigin.INSTRUMENT_TAG)


def _ome(file: TiffFile, series: int) -> StatedScale | None:
    if not file.is_ome or not file.ome_metadata:
        return None
    try:
        root = ElementTree.fromstring(file.ome_metadata)  # noqa: S314  # expat >= 2.4.1 stops entity bombs
    except ElementTree.ParseError as failure:
        raise SlideTruncated("the OME-XML cannot be read") from failure
    images = root.findall("{*}Image/{*}Pixels")
    if series >= len(images):
        return None
    attributes = images[series].attrib
    if "PhysicalSizeX" not in attributes or "PhysicalSizeY" not in attributes:
        return None
    x, y = (_ome_nm(attributes, axis) for axis in "XY")
    return None if x is None or y is None else _stated(x, y, ScaleOrigin.OME)


def _ome_nm(attributes: dict[str, str], axis: str) -> float | None:
    nm_per_unit = NM_PER_UNIT.get(attributes.get(f"PhysicalSize{axis}Unit", OME_DEFAULT_UNIT))
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
        return NM_PER_UNIT.get(str(imagej["unit"]).replace("\\u00B5", "µ"))
    unit = page.tags.valueof("ResolutionUnit")
    return {RESUNIT.INCH: NM_PER_INCH, RESUNIT.CENTIMETER: NM_PER_CM}.get(unit) if unit else None


def _stated(x_nm: float, y_nm: float, origin: ScaleOrigin) -> StatedScale | None:
    possible = 0 < x_nm < float("inf") and 0 < y_nm < float("inf")
    return StatedScale(x_nm, y_nm, origin) if possible else None
