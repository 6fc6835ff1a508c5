"""What is stated of a scan record at the command line: FIELD=VALUE words, options, and a JSON file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ultraread.errors import RequestInvalid

Json = dict[str, Any]
_NO_TEXTS = {
    "primary_units", "digitization_units", "instrument.accelerating_kv", "instrument.magnification",
    "interpretation.report_says_digital", "interpretation.report_names_system",
}  # fmt: skip


def patch_of(fields: Sequence[str]) -> Json:
    """FIELD=VALUE words as a merge patch. Numbers, true and false are those; an empty value takes away.

    Raises RequestInvalid for a word without a field or that contradicts another one.
    """
    patch: Json = {}
    for word in fields:
        name, equals, text = word.partition("=")
        if not (name and equals):
            raise RequestInvalid(f"{word} is not FIELD=VALUE", "Write accession=S26-1.")
        _put(patch, name, _value(name, text))
    return patch


def record_of_file(path: Path | None) -> Json:
    """The fields that a JSON file states. Raises RequestInvalid where it holds no JSON object."""
    if path is None:
        return {}
    try:
        stated = json.loads(path.read_text())
    except (OSError, ValueError) as failure:
        raise RequestInvalid(f"{path.name} is no JSON file that can be read", "Check --record.") from failure
    if not isinstance(stated, dict):
        raise RequestInvalid(f"{path.name} holds no JSON object", "docs/guides/scan-record.md shows one.")
    return stated


def with_options(stated: Json, options: Mapping[str, str | None]) -> Json:
    """What a file states, and over it what options do; inner fields by dots."""
    whole = json.loads(json.dumps(stated))
    for name, value in options.items():
        if value is not None:
            _put(whole, name, value)
    return dict(whole)


def not_as_stated(stated: Json, there: Json) -> list[str]:
    """Fields that are stated and otherwise there; inner ones by dots."""
    found: list[str] = []
    for name, value in stated.items():
        if isinstance(value, dict):
            found += [f"{name}.{inner}" for inner in not_as_stated(value, there.get(name) or {})]
        elif value is not None and value != there.get(name):
            found.append(name)
    return found


def _put(whole: Json, name: str, value: object) -> None:
    *outer, inner = name.split(".")
    for step in outer:
        whole = whole.setdefault(step, {})
        if not isinstance(whole, dict):
            raise RequestInvalid(f"{name} lies in a field that is set itself")
    whole[inner] = value


def _value(name: str, text: str) -> object:
    if text == "":
        return None
    if name not in _NO_TEXTS:
        return text
    try:
        return json.loads(text)
    except ValueError as failure:
        raise RequestInvalid(f"{name}={text}: a number, true or false is asked for") from failure
