"""What a TIFF says about its images: every tag that is text, date or number, and how they were made."""

from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

from tifffile import TiffFile, TiffPage

from ultraread.datasets.formats.tags import flattened, number_in
from ultraread.datasets.safe_xml import parse_xml
from ultraread.datasets.slide import Acquisition, Modality, SlideFormat, Tag
from ultraread.errors import SlideTruncated

LAYOUT_TAGS = frozenset({
    254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 338,
    339, 347, 529, 530, 532,
})  # fmt: skip
"""Tags that say where pixels lie and how they are coded; none of them tells about a person."""
KV_PER_VOLT = 1e-3


def format_of(file: TiffFile) -> SlideFormat:
    """Which kind of TIFF it is."""
    if file.is_ome:
        return SlideFormat.OME_TIFF
    return SlideFormat.SIS_TIFF if file.is_sis else SlideFormat.TIFF


def tags_of(file: TiffFile) -> tuple[Tag, ...]:
    """The tags of every directory, each pair of name and value once, and what their XML holds."""
    found = dict.fromkeys(tag for page in _pages(file) for tag in _tags_of_page(page))
    return (*found, *(_ome(file) if file.is_ome else ()))


def acquisition_of(file: TiffFile) -> Acquisition:
    """What SIS, FEI, Zeiss or TVIPS wrote about the first image; empty for other TIFFs."""
    page = file.pages.first
    if page.is_sis:
        return _of_sis(file.sis_metadata or {}, page)
    if page.is_fei:
        return _of_fei(file.fei_metadata or {})
    if page.is_sem:
        return _of_zeiss(file.sem_metadata or {})
    return _of_tvips(file.tvips_metadata or {}) if page.is_tvips else Acquisition()


def modality_of(file: TiffFile) -> Modality | None:
    """Scanning microscopes of FEI and Zeiss and the cameras of TVIPS have their own tags."""
    page = file.pages.first
    if page.is_fei:
        detector = str(_section(file.fei_metadata or {}, "Detectors").get("Name", ""))
        return Modality.STEM if "STEM" in detector.upper() else Modality.SEM
    if page.is_sem:
        return Modality.SEM
    return Modality.TEM if page.is_tvips else None


def _pages(file: TiffFile) -> Iterator[TiffPage]:
    """Every directory whole; tifffile parses those of a stack in part only."""
    for page in file.pages:
        if not page.is_virtual:
            yield page.aspage()


def _tags_of_page(page: TiffPage) -> Iterator[Tag]:
    for tag in page.tags.values():
        if tag.code not in LAYOUT_TAGS:
            yield from flattened(tag.value, tag.name)


def _ome(file: TiffFile) -> Iterator[Tag]:
    """Attributes and texts of the OME-XML, Experimenter's name among them."""
    try:
        root = parse_xml(file.ome_metadata or "")
    except ElementTree.ParseError as failure:
        raise SlideTruncated("the OME-XML cannot be read") from failure
    for element in root.iter():
        name = f"OME.{element.attrib.get('K') or element.tag.rpartition('}')[2]}"  # K of its MapAnnotation
        yield from flattened(element.text, name)
        yield from flattened(dict(element.attrib), name)


def _of_sis(says: Mapping[str, Any], page: TiffPage) -> Acquisition:
    return Acquisition(
        microscope=str(says.get("microscopename", "") or page.tags.valueof(272, default="")),
        camera=str(says.get("cameraname", "")),
        magnification=number_in(says.get("magnification")),
        acquired=str(says.get("datetime", "")),
    )


def _of_fei(says: Mapping[str, Any]) -> Acquisition:
    system, user = _section(says, "System"), _section(says, "User")
    voltage = number_in(_section(says, "Beam").get("HV"))
    return Acquisition(
        microscope=str(system.get("SystemType", "")),
        camera=str(_section(says, "Detectors").get("Name", "")),
        accelerating_kv=voltage * KV_PER_VOLT if voltage else None,
        acquired=f"{user.get('Date', '')} {user.get('Time', '')}".strip(),
    )


def _of_zeiss(says: Mapping[str, Any]) -> Acquisition:
    """Values are (name, value) or (name, value, unit)."""
    magnification = number_in(zeiss(says, "ap_mag"))
    times = 1000 if "K" in f"{zeiss(says, 'ap_mag')} {zeiss(says, 'ap_mag', 2)}" else 1  # 24.5 K X
    return Acquisition(
        microscope=str(zeiss(says, "sv_serial_number") or ""),
        camera=str(zeiss(says, "dp_detector_type") or ""),
        magnification=magnification * times if magnification else None,
        accelerating_kv=number_in(zeiss(says, "ap_actualkv")),
        acquired=f"{zeiss(says, 'ap_date') or ''} {zeiss(says, 'ap_time') or ''}".strip(),
    )


def zeiss(says: Mapping[str, Any], key: str, place: int = 1) -> Any:  # noqa: ANN401
    """The value of a Zeiss field (place 1) or its unit (place 2), None where there is none."""
    field = says.get(key)
    return field[place] if isinstance(field, tuple) and len(field) > place else None


def _of_tvips(says: Mapping[str, Any]) -> Acquisition:
    voltage = number_in(says.get("TemHighTension") or says.get("HighTension"))
    return Acquisition(
        microscope=str(says.get("TemType", "")),
        camera=str(says.get("CameraType", "")),
        magnification=number_in(says.get("TemMagnification") or says.get("Magnification")),
        accelerating_kv=voltage * KV_PER_VOLT if voltage and voltage > 1000 else voltage,
    )


def _section(says: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = says.get(name)
    return section if isinstance(section, Mapping) else {}
