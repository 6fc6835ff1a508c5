"""What DICOM data elements say: every text, date and number, under `(gggg,eeee) Keyword`."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_partial, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ultraread.datasets.slide import Acquisition, Tag
from ultraread.errors import DicomInvalid

PER_FRAME_GROUPS = 0x52009230
"""From here on a slide holds one item a tile, its offsets and its pixels."""
META_GROUP = 0x0002
GEOMETRY_GROUPS = (0x0002, 0x0028, 0x0048, 0x5200)
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "AT"})
MAX_TAGS = 10_000
DEEPEST = 16


@contextmanager
def silent() -> Iterator[None]:
    """pydicom and wsidicom name files and values of patients in what they log and warn of: nothing of it."""
    for library in ("pydicom", "wsidicom"):
        logging.getLogger(library).addHandler(logging.NullHandler())
        logging.getLogger(library).propagate = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def header_of(stream: BinaryIO) -> Dataset:
    """All that stands before the frames. Raises DicomInvalid; also where the data set is deflated.

    pydicom inflates such a data set whole, without a bound.
    """
    try:
        _refuse_deflated(stream)
        return read_partial(stream, _is_of_frames)
    except DicomInvalid:
        raise
    except Exception as failure:  # pydicom raises many kinds for damaged elements; the remedy is one
        raise DicomInvalid(f"the DICOM header cannot be read ({type(failure).__name__})") from failure


def _refuse_deflated(stream: BinaryIO) -> None:
    read_preamble(stream, force=False)
    described = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group != META_GROUP)
    if described.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise DicomInvalid(
            "the data set is deflated as a whole", "Export it without compression of the header."
        )
    stream.seek(0)


def tags_of(header: Dataset) -> tuple[Tag, ...]:
    """Texts, dates and numbers of patient, study, series, equipment and specimen, sequences included."""
    tags = []
    for tag in _tags_below(header, "", 0):
        tags.append(tag)
        if len(tags) > MAX_TAGS:
            raise DicomInvalid(f"more than {MAX_TAGS:,} data elements in one header")
    return tuple(tags)


def acquisition_of(header: Dataset) -> Acquisition:
    """Maker and model, the objective's magnification, and when; empty where the file does not say."""
    maker = (str(header.get(name) or "").strip() for name in ("Manufacturer", "ManufacturerModelName"))
    paths = header.get("OpticalPathSequence") or [Dataset()]
    return Acquisition(
        microscope=" ".join(part for part in maker if part),
        magnification=_positive(paths[0].get("ObjectiveLensPower")),
        acquired=str(header.get("AcquisitionDateTime") or header.get("ContentDate") or ""),
    )


def _positive(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


def _is_of_frames(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) >= PER_FRAME_GROUPS


def _tags_below(dataset: Dataset, above: str, depth: int) -> Iterator[Tag]:
    for key in sorted(dataset.keys()):
        if key.group not in GEOMETRY_GROUPS:
            yield from _tags_of(_element(dataset, key), above, depth)


def _element(dataset: Dataset, key: BaseTag) -> DataElement:
    try:
        return dataset[key]
    except Exception as failure:  # values are decoded when they are asked for
        raise DicomInvalid(f"data element {key} cannot be decoded") from failure


def _tags_of(element: DataElement, above: str, depth: int) -> Iterator[Tag]:
    name = f"{above}({element.tag.group:04X},{element.tag.element:04X}) {_keyword(element)}"
    if element.VR == "SQ":
        if depth < DEEPEST:
            for item in element.value:
                yield from _tags_below(item, f"{name} > ", depth + 1)
    elif element.VR not in BINARY and not element.is_empty:
        yield Tag(name, _text(element.value))


def _keyword(element: DataElement) -> str:
    return keyword_for_tag(element.tag) or ("Private" if element.tag.is_private else "Unknown")


def _text(value: object) -> str:
    """Private elements may be bytes without a stated kind: what can be read of them is text."""
    if isinstance(value, bytes):
        return value.decode("latin-1").strip("\0 ")
    return str(value)
