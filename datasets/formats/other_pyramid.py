"""Scanners' pyramids in TIFF: which of their pictures show the specimen, and what the vendor says of them.

tifffile finds pages and levels, and our TIFF reader decodes them; tiffslide reads what each vendor writes of
scale and objective. Label, macro and thumbnail pictures are left out: they may show a name.
"""

import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, BinaryIO, cast

from tifffile import TiffFile, TiffPageSeries

from ultraread.datasets.safe_xml import parse_xml
from ultraread.datasets.scale import PRINTING_NM_PER_PX, ScaleOrigin, StatedScale
from ultraread.datasets.slide import Acquisition, SlideFormat, SlideInfo
from ultraread.datasets.stored_file import StoredFile
from ultraread.errors import SlideDamaged, SlideTypeMismatch

NM_PER_UM = 1e3
NO_SPECIMEN = frozenset({"label", "macro", "map", "thumbnail", "other"})
MPP_OF_VENDOR = {"aperio": ("aperio.MPP",) * 2, "leica": ("tiffslide.mpp-x", "tiffslide.mpp-y")}
MPP_OF_VENDOR["philips_tiff"] = MPP_OF_VENDOR["leica"]
"""Where tiffslide hands on a pixel size that the vendor wrote, in micrometres. Others it takes from the
ordinary resolution tags, which our reader judges by itself."""


def vendor_of(file: TiffFile) -> str | None:
    """The vendor as tiffslide names it; None where no scanner wrote it.

    Raises SlideTypeMismatch for Ventana, and SlideDamaged where only the first page is not the scanner's:
    label and macro would be taken for images then.
    """
    if file.is_bif:
        raise SlideTypeMismatch("tiles of a Ventana slide overlap, and are not stitched here")
    kinds = {
        "aperio": file.is_svs,
        "leica": file.is_scn,
        "hamamatsu": file.is_ndpi,
        "philips_tiff": file.is_philips,
    }
    vendor = next((vendor for vendor, is_of in kinds.items() if is_of), None)
    if vendor is None and any(_is_aperio(series) for series in file.series):
        raise SlideDamaged("the first page of a scanner's slide is damaged")
    return vendor


def described_by_vendor(info: SlideInfo, file: TiffFile, stored: StoredFile) -> SlideInfo:
    """With what a scanner's vendor says beyond the tags, where one wrote the file."""
    vendor = vendor_of(file)
    if vendor is None:
        return info
    with stored.stream() as stream:
        said = _said(stream)
    scale, acquisition = _scale(said, vendor), _acquisition(said)
    images = tuple(
        replace(image, scales=(*((scale,) if scale else ()), *image.scales), acquisition=acquisition)
        for image in info.images
    )
    kind = SlideFormat.SVS if vendor == "aperio" else SlideFormat.OTHER_PYRAMID
    return replace(info, format=kind, images=images, left_out=_left_out(file))


def pictures_of(file: TiffFile) -> list[tuple[int, TiffPageSeries]]:
    """The series that show the specimen, each with its number in the file."""
    every = list(enumerate(file.series))
    if vendor_of(file) is None:
        return every
    macros = set(_leica_macros(file)) if file.is_scn else set()
    return [
        (number, series)
        for number, series in every
        if series.name.lower() not in NO_SPECIMEN and number not in macros
    ]


def _left_out(file: TiffFile) -> tuple[str, ...]:
    """The names of the pictures that are none of the specimen."""
    kept = {number for number, _ in pictures_of(file)}
    names = (series.name.lower() for number, series in enumerate(file.series) if number not in kept)
    return tuple(dict.fromkeys(name if name in NO_SPECIMEN else "macro" for name in names))


def _scale(said: dict[str, Any], vendor: str) -> StatedScale | None:
    x, y = (_number(said.get(name)) for name in MPP_OF_VENDOR.get(vendor, ("", "")))
    if not x or not y or x * NM_PER_UM >= PRINTING_NM_PER_PX:
        return None
    return StatedScale(x * NM_PER_UM, y * NM_PER_UM, ScaleOrigin.INSTRUMENT_TAG)


def _acquisition(said: dict[str, Any]) -> Acquisition:
    """Scanner, objective and time, where tiffslide finds them."""
    acquired = f"{said.get('aperio.Date') or ''} {said.get('aperio.Time') or ''}".strip()
    scanner = said.get("leica.device-model") or said.get("hamamatsu.Model") or said.get("tiffslide.vendor")
    return Acquisition(
        microscope=str(scanner or ""),
        magnification=_number(said.get("tiffslide.objective-power")),
        acquired=acquired or str(said.get("leica.creation-date") or ""),
    )


def _said(stream: BinaryIO) -> dict[str, Any]:
    """tiffslide's properties of the slide; none where it does not follow what the vendor wrote."""
    from tiffslide import TiffSlide

    with warnings.catch_warnings(), suppress(Exception):  # it raises many kinds at what it does not know
        warnings.simplefilter("ignore")
        return dict(TiffSlide(cast(Any, stream)).properties)
    return {}


def _is_aperio(series: TiffPageSeries) -> bool:
    return series.keyframe.description.startswith("Aperio")


def _leica_macros(file: TiffFile) -> Iterator[int]:
    """Leica's overview covers the whole collection; its series come in the order of the XML's images."""
    number = 0
    for collection in parse_xml(file.scn_metadata or ""):
        whole = (collection.attrib.get("sizeX"), collection.attrib.get("sizeY"))
        for image in collection.findall("{*}image"):
            view = image.find("{*}view")
            if view is not None and (view.attrib.get("sizeX"), view.attrib.get("sizeY")) == whole:
                yield number
            number += 1


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None
