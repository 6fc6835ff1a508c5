"""What a file says about its image, flattened into tags under the file's own names."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ultraread.datasets.slide import Tag

MAX_TAG_CHARACTERS = 65_536
PRINTABLE_RUN = re.compile(rb"[\x20-\x7e]{4,}")


def flattened(value: Any, name: str = "") -> Iterator[Tag]:  # noqa: ANN401  # whatever a parser made
    """Every text, date and number below `value`; mappings and lists lengthen the name by a dot."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from flattened(below, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, below in enumerate(value[:64]):
            yield from flattened(below, f"{name}.{number}")
    elif isinstance(value, bytes):
        yield from printable_texts(value, name)
    elif value is not None and str(value).strip("\0 "):
        yield Tag(name, str(value).strip("\0 ")[:MAX_TAG_CHARACTERS])


def printable_texts(stored: bytes, name: str) -> Iterator[Tag]:
    """Runs of four or more printable ASCII characters in a block of no known layout."""
    for number, found in enumerate(PRINTABLE_RUN.findall(stored)):
        yield Tag(f"{name}.{number}", found.decode("ascii")[:MAX_TAG_CHARACTERS])


def number_in(text: Any) -> float | None:  # noqa: ANN401
    """The positive number that a value starts with (`13500000 X`), None where it states none."""
    found = re.match(r"\s*([+-]?\d*\.?\d+(?:[eE][+-]?\d+)?)", str(text)) if text is not None else None
    value = float(found[1]) if found else 0.0
    return value if 0 < value < float("inf") else None
