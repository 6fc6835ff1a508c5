"""EMD as Velox (Thermo Fisher) writes it: `Data/Image/<id>/Data` is (y, x, frame), with JSON beside it."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ultraread.datasets.formats.emd_stack import Stack, beside
from ultraread.datasets.formats.tags import MAX_TAG_CHARACTERS, flattened, number_in
from ultraread.datasets.formats.units import nm_per, refuse_unless_of_space
from ultraread.datasets.scale import ScaleOrigin, StatedScale
from ultraread.datasets.slide import Acquisition, Modality, SlideFormat, Tag
from ultraread.errors import SlideDamaged, SlideNotAnImage

FORMAT = SlideFormat.EMD_VELOX
MAX_METADATA_BYTES = 4 * 2**20
MAX_TEXTS = 64
MODALITY_OF_DETECTOR = {"ImagingDetector": Modality.TEM, "ScanningDetector": Modality.STEM}


def wrote(file: Any) -> bool:  # noqa: ANN401  # h5py has no types
    """Whether Velox wrote the file: it keeps its settings and its data under these names."""
    return "Data" in file and ("Version" in file or "Application/Velox" in file or "Features" in file)


def stacks(objects: Mapping[str, Any]) -> list[Stack]:
    """Every image dataset; refused with the reason of the first where none is a picture.

    Raises SlideNotAnImage, SlideDamaged.
    """
    found, reasons = [], []
    for path in objects:
        if path.startswith("Data/Image/") and path.endswith("/Data"):
            try:
                found.append(_stack(objects, path))
            except SlideNotAnImage as refused:
                reasons.append(refused)
    if not found:
        raise reasons[0] if reasons else SlideNotAnImage("the file holds no image, only other data")
    return found


def tags(objects: Mapping[str, Any]) -> list[Tag]:
    """The metadata of every image, and the texts in which Velox keeps comments and settings."""
    return [*_metadata_tags(objects), *_texts(objects)]


def _stack(objects: Mapping[str, Any], path: str) -> Stack:
    dataset, says = objects[path], _metadata(objects, path)
    if len(dataset.shape) != 3:
        raise SlideNotAnImage("a dataset that is no stack of images")
    result = says.get("BinaryResult", {})
    refuse_unless_of_space(str(result.get(f"PixelUnit{axis}", "")) for axis in "XY")
    _check_kind(dataset, result)
    return Stack(dataset, (2, 0, 1), _scales(result), _modality(says), _acquisition(says))


def _check_kind(dataset: Any, result: Mapping[str, Any]) -> None:  # noqa: ANN401
    """The metadata repeat signedness and depth of the pixels."""
    signed = {"Signed": "i", "Unsigned": "u", "Float": "f"}.get(str(result.get("Encoding", "")))
    if signed is not None and dataset.dtype.kind in "iuf" and dataset.dtype.kind != signed:
        raise SlideDamaged("the file contradicts itself about the sign of its pixels")


def _metadata(objects: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The first frame's: (bytes, frames), filled with zeros. Raises SlideDamaged."""
    stored = objects.get(path.removesuffix("/Data") + "/Metadata")
    if stored is None or stored.ndim != 2 or stored.dtype != np.uint8 or stored.shape[0] > MAX_METADATA_BYTES:
        raise SlideDamaged("an image without its metadata")
    text = bytes(np.asarray(beside(stored, (stored.shape[0], 1)))).split(b"\0")[0]
    try:
        says = json.loads(text)
    except ValueError as failure:
        raise SlideDamaged("the metadata of an image cannot be read") from failure
    if not isinstance(says, dict):
        raise SlideDamaged("the metadata of an image cannot be read")
    return says


def _scales(result: Mapping[str, Any]) -> tuple[StatedScale, ...]:
    sizes = result.get("PixelSize") or {}
    nm = [
        (number_in(sizes.get(side)) or 0.0) * (nm_per(str(result.get(f"PixelUnit{axis}", ""))) or 0.0)
        for side, axis in (("width", "X"), ("height", "Y"))
    ]
    return (StatedScale(nm[0], nm[1], ScaleOrigin.INSTRUMENT_TAG),) if min(nm) > 0 else ()


def _modality(says: Mapping[str, Any]) -> Modality | None:
    """By the detector that made the image: a camera, or one that the beam is scanned for."""
    name = says.get("BinaryResult", {}).get("Detector")
    for detector in says.get("Detectors", {}).values():
        if detector.get("DetectorName") == name:
            return MODALITY_OF_DETECTOR.get(detector.get("DetectorType"))
    return None


def _acquisition(says: Mapping[str, Any]) -> Acquisition:
    instrument, optics = says.get("Instrument") or {}, says.get("Optics") or {}
    model, number = instrument.get("InstrumentModel", ""), instrument.get("InstrumentId", "")
    voltage = number_in(optics.get("AccelerationVoltage"))
    seconds = number_in((says.get("Acquisition") or {}).get("AcquisitionStartDatetime", {}).get("DateTime"))
    return Acquisition(
        microscope=f"{model} {number}".strip(),
        camera=str(says.get("BinaryResult", {}).get("Detector", "")),
        magnification=number_in(optics.get("NominalMagnification")),
        accelerating_kv=voltage / 1000 if voltage else None,
        acquired=datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else "",
    )


def _metadata_tags(objects: Mapping[str, Any]) -> Iterator[Tag]:
    for path in objects:
        if path.startswith("Data/Image/") and path.endswith("/Data"):
            yield from flattened(_metadata(objects, path))


def _texts(objects: Mapping[str, Any]) -> Iterator[Tag]:
    import h5py

    for path, each in objects.items():
        is_text = isinstance(each, h5py.Dataset) and h5py.check_string_dtype(each.dtype) is not None
        if is_text and int(each.size or 0) <= MAX_TEXTS:
            for text in np.ravel(beside(each, each.shape)):
                yield from flattened(bytes(text).decode("utf-8", "replace")[:MAX_TAG_CHARACTERS], path)
