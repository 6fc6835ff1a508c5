"""Where two result folders differ: of each file the first place, both values, and how far they are apart."""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

PROVENANCE = "provenance.json"
"""Of times, hosts and ids: it differs always, and is compared for the environment alone."""
ENVIRONMENT = ("versions", "machine", "settings", "windows")
ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where a file differs. `size` is how far two numbers are apart; None of other things."""

    file: str
    where: str
    stored: Any
    again: Any
    size: float | None = None
    count: int | None = None
    """Of values that differ, where all were compared."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is another one now: a library's version, the machine, a setting."""

    what: str
    stored: Any
    again: Any


def differences(stored: Path, again: Path) -> Iterator[Difference]:
    """Of every file below either folder; whole folders of slides included."""
    for name in sorted(files_in(stored) | files_in(again)):
        there, here = stored / name, again / name
        if not (there.is_file() and here.is_file()):
            yield Difference(name, "the file", _there(there), _there(here))
        elif there.name != PROVENANCE and there.read_bytes() != here.read_bytes():
            yield _first_difference(name, there, here)


def files_in(folder: Path) -> set[str]:
    """Paths of all files, from the folder on."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def changes(stored: Path, again: Path) -> list[Change]:
    """What of the environment that provenance.json names is not what it was; nothing where it is damaged."""
    try:
        then, now = (json.loads(folder.read_bytes()) for folder in (stored, again))
    except (OSError, ValueError):
        return []
    found = (_different(then.get(name), now.get(name), name) for name in ENVIRONMENT)
    return [Change(where, old, new) for each in found for where, old, new in each]


def _first_difference(name: str, stored: Path, again: Path) -> Difference:
    by_kind = {".json": _in_json, ".geojson": _in_json, ".csv": _in_table, ".tif": _in_map}
    compare = by_kind.get(stored.suffix)
    try:
        found = compare(name, stored, again) if compare else None
    except Exception:  # a damaged file is what is looked for: any reader may fail on it
        found = None
    return found or _in_bytes(name, stored.read_bytes(), again.read_bytes())


def _in_json(name: str, stored: Path, again: Path) -> Difference | None:
    found = _different(json.loads(stored.read_bytes()), json.loads(again.read_bytes()), "")
    where, old, new = next(found, (None, None, None))
    return None if where is None else Difference(name, where or "/", old, new, _apart(old, new))


def _different(stored: Any, again: Any, at: str) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401  # any JSON
    """JSON pointers (RFC 6901) of what is not the same, with both values."""
    if isinstance(stored, dict) and isinstance(again, dict):
        for key in sorted(stored.keys() | again.keys()):
            escaped = key.replace("~", "~0").replace("/", "~1")
            yield from _different(stored.get(key, ABSENT), again.get(key, ABSENT), f"{at}/{escaped}")
    elif isinstance(stored, list) and isinstance(again, list):
        for index, (one, other) in enumerate(zip_longest(stored, again, fillvalue=ABSENT)):
            yield from _different(one, other, f"{at}/{index}")
    elif stored != again:
        yield at, stored, again


def _in_table(name: str, stored: Path, again: Path) -> Difference | None:
    """Rows count from 1, after the header."""
    with stored.open(newline="") as there, again.open(newline="") as here:
        rows = zip_longest(csv.reader(there), csv.reader(here), fillvalue=())
        header: Any = ()
        for number, (one, other) in enumerate(rows):
            header = header or one
            for column, (old, new) in enumerate(zip_longest(one, other, fillvalue=ABSENT)):
                if old != new:
                    called = header[column] if column < len(header) else str(column)
                    return Difference(name, f"row {number}, column {called}", old, new, _apart(old, new))
    return None


def _in_map(name: str, stored: Path, again: Path) -> Difference | None:
    """The first tile with another value, channel by channel; NaN is the same as NaN."""
    with tifffile.TiffFile(stored) as there, tifffile.TiffFile(again) as here:
        for channel, (one, other) in enumerate(zip(there.pages, here.pages, strict=True)):
            old, new = one.asarray(), other.asarray()
            if old.shape != new.shape:
                return Difference(name, f"channel {channel}, its size", list(old.shape), list(new.shape))
            differs = ~np.isclose(old, new, rtol=0, atol=0, equal_nan=True)
            if differs.any():
                y, x = (int(side) for side in np.argwhere(differs)[0])
                side_y, side_x = (int(getattr(one, side, 0)) or 1 for side in ("tilelength", "tilewidth"))
                where = f"channel {channel}, tile row {y // side_y}, tile column {x // side_x} (x {x}, y {y})"
                far = np.abs(old[differs].astype(float) - new[differs].astype(float))
                largest = float(np.nanmax(far)) if np.isfinite(far).any() else None
                return Difference(
                    name, where, float(old[y, x]), float(new[y, x]), largest, int(differs.sum())
                )
    return None


def _in_bytes(name: str, stored: bytes, again: bytes) -> Difference:
    length = min(len(stored), len(again))
    pairs = np.frombuffer(stored, "u1", length) != np.frombuffer(again, "u1", length)
    at = int(np.argmax(pairs)) if pairs.any() else length
    old, new = (data[at] if at < len(data) else ABSENT for data in (stored, again))
    return Difference(name, f"byte {at}", old, new)


def _apart(stored: Any, again: Any) -> float | None:  # noqa: ANN401  # whatever a file holds
    try:
        far = abs(float(again) - float(stored))
    except (TypeError, ValueError):
        return None
    return far if math.isfinite(far) else None


def _there(path: Path) -> str:
    return "there" if path.is_file() else ABSENT
