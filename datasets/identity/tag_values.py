"""Tags hold documents: OME-XML, JSON, lines of `key = value`. Each value in them counts by its own name."""

import json
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from ultraread.datasets.safe_xml import parse_xml
from ultraread.datasets.slide import Tag
from ultraread.errors import SlideMetadataInvalid

DEEPEST = 40
_LINE = re.compile(r"([\w .()/\\-]{1,60}?)\s*[=:](.*)")


def values_of(tag: Tag) -> Iterator[Tag]:
    """Yield the tag itself, or, where it holds a document, what stands in it."""
    text = tag.value.strip().strip("\0").strip()
    if text.startswith("<"):
        yield from _of_xml(tag, text)
    elif text.startswith(("{", "[")):
        yield from _of_json(tag, text)
    elif "\n" in text or "|" in text:
        yield from _of_lines(tag, text)
    else:
        yield tag


def _of_xml(tag: Tag, text: str) -> Iterator[Tag]:
    try:
        root = parse_xml(text.encode())
    except (ElementTree.ParseError, ValueError, LookupError, SlideMetadataInvalid):
        yield tag
        return
    yield from _comments(text)
    for element in root.iter():
        name = _local(element.tag)
        for attribute, value in element.attrib.items():
            yield Tag(_local(attribute), value)
        key = element.attrib.get("K", name)  # of OME's MapAnnotation
        for inner in (element.text, element.tail):
            if inner and inner.strip():
                yield Tag(key, inner.strip())


def _comments(text: str) -> Iterator[Tag]:
    """What stands between the marks of a comment, less the one that every OME-XML is asked to carry."""
    for comment in re.findall(r"<!--(.*?)-->", text, re.DOTALL):
        if not comment.strip().startswith("Warning: this comment is an OME-XML metadata block"):
            yield Tag("comment", comment.strip())


def _of_json(tag: Tag, text: str) -> Iterator[Tag]:
    try:
        yield from _flat(tag.name, json.loads(text), 0)
    except (ValueError, RecursionError):
        yield tag


def _flat(name: str, value: Any, depth: int) -> Iterator[Tag]:  # noqa: ANN401  # whatever JSON it holds
    if depth > DEEPEST:
        yield Tag(name, json.dumps(value))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(str(key), inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _flat(name, inner, depth + 1)
    elif value is not None:
        yield from values_of(Tag(name, str(value))) if isinstance(value, str) else [Tag(name, str(value))]


def _of_lines(tag: Tag, text: str) -> Iterator[Tag]:
    """Lines, or parts between bars, of `key = value`; a part without a key has the tag's own name."""
    for part in re.split(r"[\n\r|]+", text):
        keyed = _LINE.fullmatch(part.strip())
        if keyed and keyed[2].strip():
            yield Tag(keyed[1], keyed[2].strip())
        elif part.strip():
            yield Tag(tag.name, part.strip())


def _local(name: str) -> str:
    return name.rpartition("}")[2]
