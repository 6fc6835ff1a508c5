"""EMI of TIA: XML inside of a binary file says who and how; the pixels are in the SER files beside it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree

from ultraread.datasets.formats.tags import number_in
from ultraread.datasets.safe_xml import parse_xml
from ultraread.datasets.slide import Acquisition, Modality, Tag
from ultraread.datasets.stored_file import StoredFile
from ultraread.errors import SlideTooLarge

OBJECT_BEGINS, OBJECT_ENDS = b"<ObjectInfo>", b"</ObjectInfo>"
MAX_EMI_BYTES = 256 * 2**20
"""An EMI file repeats the pixels as they were shown, so it is as large as its SER file."""
BLOCK_BYTES = 4 * 2**20
MAX_OBJECT_BYTES = 2**20
MAX_OBJECTS_BYTES = 16 * 2**20
"""Of all objects of a file, each of which is a few kilobytes for one SER file."""


@dataclass(frozen=True, slots=True)
class Emi:
    """What the first object of an EMI file says."""

    acquisition: Acquisition = field(default_factory=Acquisition)
    modality: Modality | None = None
    is_diffraction: bool = False
    tags: tuple[Tag, ...] = ()


def read_emi(file: StoredFile) -> Emi:
    """Return what its objects say; damaged XML says nothing, because no pixel depends on it.

    Raises SlideTooLarge.
    """
    tags = [tag for found in _objects(file) for tag in _tags_of(found)]
    says = {tag.name: tag.value for tag in reversed(tags)}
    voltage = number_in(says.get("ExperimentalConditions.MicroscopeConditions.AcceleratingVoltage"))
    acquisition = Acquisition(
        microscope=says.get("Microscope", ""),
        camera=says.get("AcquireInfo.CameraName", "") or says.get("Camera", ""),
        magnification=number_in(says.get("Magnification", says.get("AcquireInfo.Magnification"))),
        accelerating_kv=voltage / 1000 if voltage else number_in(says.get("High tension")),
        acquired=says.get("AcquireDate", ""),
    )
    modality = _modality(says.get("Mode", ""))
    is_diffraction = modality == Modality.TEM and "diffraction" in says["Mode"].lower()
    return Emi(acquisition, modality, is_diffraction, tuple(tags))


def _modality(mode: str) -> Modality | None:
    """`Mode` begins with the microscope's own word: `STEM nP Mh Zoom`, `TEM uP SA Zoom Image`."""
    word = mode.split(maxsplit=1)[0].upper() if mode.strip() else ""
    return {"STEM": Modality.STEM, "TEM": Modality.TEM}.get(word)


def _objects(file: StoredFile) -> list[bytes]:
    """Blocks overlap by the largest object, so that none is missed at a seam; each counts once."""
    found: dict[int, bytes] = {}
    for start in range(0, min(file.size, MAX_EMI_BYTES), BLOCK_BYTES):
        block = file.read_at(start, BLOCK_BYTES + MAX_OBJECT_BYTES)
        found.update({start + at: text for at, text in _objects_in(block)})
        if sum(map(len, found.values())) > MAX_OBJECTS_BYTES:
            raise SlideTooLarge("more objects than an EMI file has")
    return [found[at] for at in sorted(found)]


def _objects_in(block: bytes) -> Iterator[tuple[int, bytes]]:
    """From each beginning to the next end, and where it begins: each byte is looked at once."""
    end = 0
    while (begin := block.find(OBJECT_BEGINS, end)) >= 0:
        end = block.find(OBJECT_ENDS, begin) + len(OBJECT_ENDS)
        if end < len(OBJECT_ENDS):
            return
        yield begin, block[begin:end]


def _tags_of(stored: bytes) -> list[Tag]:
    try:
        root = parse_xml(stored)
    except ElementTree.ParseError:
        return []
    return [*_labelled(root), *_plain(root, "")]


def _labelled(root: ElementTree.Element) -> list[Tag]:
    """`<Data><Label>User</Label><Value>…</Value></Data>` is the tag User."""
    rows = [(each.findtext("Label"), each.findtext("Value")) for each in root.iter("Data")]
    return [Tag(label, value.strip()) for label, value in rows if label and value and value.strip()]


def _plain(element: ElementTree.Element, path: str) -> list[Tag]:
    found = []
    for each in element:
        name = f"{path}.{each.tag}" if path else each.tag
        if each.tag == "Data":
            continue
        if each.text and each.text.strip():
            found.append(Tag(name, each.text.strip()))
        found.extend(_plain(each, name))
    return found
