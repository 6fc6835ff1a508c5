"""What lies in a watched folder: files that belong together are one unit, settled when nothing changes."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ultraread.datasets.file_stamp import Stamp, stamp_of
from ultraread.datasets.slide_address import NO_IMAGES, ZARR_METADATA, natural_order, series_of
from ultraread.errors import SlideNotRegular
from ultraread.serving.ingest.regular import refuse_irregular

FILED, REFUSED, STATE = "filed", "refused", ".ultraread"
DONE = ".done"


@dataclass(frozen=True, slots=True)
class Unit:
    """One slide: `names` are what lies in the folder itself, `files` what is sent, by their name inside it.

    `refusal` says why it cannot be one, before any of it is opened.
    """

    names: tuple[str, ...]
    files: tuple[tuple[str, Stamp], ...]
    is_folder: bool = False
    refusal: SlideNotRegular | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return self.names[0]

    def inside(self, file: str) -> str:
        """Name of a file inside the slide."""
        return file.partition("/")[2] if self.is_folder else file

    @property
    def sent(self) -> list[tuple[str, Stamp]]:
        """The files that make the slide, in order: of a folder, by the rule of `datasets/slide_address`."""
        if not self.is_folder:
            return list(self.files)
        ordered = sorted(self.files, key=lambda file: natural_order(file[0]))
        if any(PurePosixPath(name).name in ZARR_METADATA for name, _ in ordered):
            return ordered
        return [file for file in ordered if PurePosixPath(file[0]).suffix.lower() not in NO_IMAGES]


@dataclass(slots=True)
class Settling:
    """Remembers since when each unit looks as it looks, by a clock that nobody sets."""

    settle_s: float
    _since: dict[str, tuple[Unit, float]] = field(default_factory=dict)

    def settled(self, units: list[Unit], now: float) -> list[Unit]:
        """Those that have not changed for `settle_s`; of units that are gone, nothing is remembered."""
        before, self._since = self._since, {}
        for unit in filter(lambda unit: unit.files, units):  # a folder is made before what it is to hold
            seen, since = before.get(unit.name, (unit, now))
            self._since[unit.name] = (unit, since if seen == unit else now)
        return [unit for unit, since in self._since.values() if now - since >= self.settle_s]


def units_of(folder: Path, *, with_marker: bool = False) -> list[Unit]:
    """What may become slides, by name; `with_marker`: only what has a `<name>.done` beside it."""
    with os.scandir(folder) as entries:
        there = {entry.name: entry.stat(follow_symlinks=False) for entry in entries if _counts(entry.name)}
    markers = {name for name in there if name.endswith(DONE)}
    names = sorted(there.keys() - markers)
    grouped = {tuple(series_of(name, names)) for name in names}
    units = [_unit(folder, group, there) for group in sorted(grouped)]
    return [unit for unit in units if not with_marker or f"{unit.name}{DONE}" in markers]


def _counts(name: str) -> bool:
    """Ours and hidden ones do not; scanners write under a hidden name what is not whole."""
    return name not in {FILED, REFUSED} and not name.startswith(".")


def _unit(folder: Path, names: tuple[str, ...], there: dict[str, os.stat_result]) -> Unit:
    try:
        if len(names) == 1 and stat.S_ISDIR(there[names[0]].st_mode):
            return Unit(names, tuple(sorted(_below(folder, names[0]))), is_folder=True)
        for name in names:
            refuse_irregular(there[name])
        return Unit(names, tuple((name, stamp_of(there[name])) for name in names))
    except SlideNotRegular as refusal:
        stamps = tuple((name, stamp_of(there[name])) for name in names)
        return Unit(names, stamps, refusal=refusal)
    except OSError:  # gone, or nobody's to look into: it does not settle
        return Unit(names, ())


def _below(folder: Path, name: str) -> Iterator[tuple[str, Stamp]]:
    """Every file below a folder; hidden ones only where an OME-Zarr keeps its metadata in them."""
    with os.scandir(folder / name) as entries:
        for entry in list(entries):
            found, called = entry.stat(follow_symlinks=False), f"{name}/{entry.name}"
            if stat.S_ISDIR(found.st_mode):
                yield from _below(folder, called)
            elif not entry.name.startswith(".") or entry.name in ZARR_METADATA:
                refuse_irregular(found)
                yield called, stamp_of(found)
