"""Which files together are one slide: one file, an EMI with its SER files, or the files of a folder."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ultraread.datasets.block_digests import BlockDigests
from ultraread.datasets.file_stamp import Stamp, stamp_of
from ultraread.datasets.stored_file import REMOTE, is_remote, remote_files
from ultraread.errors import SlideNotFound, SlideTypeMismatch, StorageUnreachable

ZARR_METADATA = frozenset({".zattrs", ".zgroup", ".zarray", ".zmetadata", "zarr.json"})
SERIES = frozenset({".emi", ".ser"})
NO_IMAGES = {".csv", ".db", ".htm", ".html", ".ini", ".json", ".md", ".txt", ".xml"}
"""Suffixes of what instruments and systems leave beside the fields of a folder."""


@dataclass(frozen=True, slots=True)
class FileAddress:
    """One file: its name inside the slide, which may identify a patient, and where it lies.

    With `blocks`, what is fetched of it is held against them before anybody decodes it. For `stamp`, see
    `stamped`.
    """

    name: str
    location: str
    blocks: BlockDigests | None = field(default=None, repr=False)
    stamp: Stamp | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SlideAddress:
    """The files that are opened as one slide, in order; `name` is what a person called the slide."""

    name: str
    files: tuple[FileAddress, ...]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem


def stamped(address: SlideAddress) -> SlideAddress:
    """The address with the stamp of each file of this machine.

    Digests tell what files are now. What changed and was put back, by hand or from a second copy, has another
    stamp; files without one lie in an object store, or are gone.
    """
    files = (replace(file, stamp=_stamp_at(file.location)) for file in address.files)
    return replace(address, files=tuple(files))


def _stamp_at(location: str) -> Stamp | None:
    with suppress(OSError):
        return None if is_remote(location) else stamp_of(os.stat(location))
    return None


class SlidePlace(Protocol):
    """Where a person says that a slide is: a path, or an `s3://` address, each with its name."""

    @property
    def name(self) -> str: ...

    @property
    def stem(self) -> str: ...


@dataclass(frozen=True, slots=True)
class RemotePlace:
    """An `s3://` address, which a path would take for a folder called `s3:`."""

    address: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.address).name

    @property
    def stem(self) -> str:
        return PurePosixPath(self.address).stem

    def __str__(self) -> str:
        return self.address


def place_of(text: str) -> SlidePlace:
    """What a person typed, as a path or an address. Raises UrlNotAllowed for any other scheme."""
    return RemotePlace(text) if is_remote(text) else Path(text)


def address_of(slide: SlidePlace | str) -> SlideAddress:
    """Find the files of a slide by the path or `s3://` address that a person named.

    Raises SlideNotFound; SlideTypeMismatch for a folder without images; UrlNotAllowed.
    """
    place = place_of(slide) if isinstance(slide, str) else slide
    if isinstance(place, RemotePlace):
        return _remote(place.address)
    path = Path(str(place))
    if path.is_dir():
        return _of_folder(path.name, {str(file.relative_to(path)): str(file) for file in _files_below(path)})
    if not path.is_file():
        raise SlideNotFound(f"there is no file {path}")
    together = series_of(path.name, (other.name for other in path.parent.iterdir()))
    return SlideAddress(path.name, tuple(FileAddress(name, str(path.parent / name)) for name in together))


def _remote(address: str) -> SlideAddress:
    files, path = remote_files(address)
    try:
        files.invalidate_cache()  # what was listed before may be another's listing by now
        if files.isfile(path):
            return _remote_file(files, path)
        found = sorted(files.find(path))
    except Exception as failure:  # botocore and aiohttp have a tree of errors each
        raise StorageUnreachable(f"{address} cannot be reached ({type(failure).__name__})") from failure
    if not found:
        raise SlideNotFound(f"there is no object {address}")
    root = path.rstrip("/")
    below = {each.removeprefix(f"{root}/"): f"s3://{each}" for each in found}
    return _of_folder(PurePosixPath(root).name, below)


def _remote_file(files: Any, path: str) -> SlideAddress:  # noqa: ANN401  # fsspec is published without types
    """One object; an EMI file with the SER files beside it."""
    folder, _, name = path.rpartition("/")
    is_series = PurePosixPath(name).suffix.lower() in SERIES
    beside = [each.rpartition("/")[2] for each in files.ls(folder, detail=False)] if is_series else []
    together = series_of(name, beside)
    return SlideAddress(name, tuple(FileAddress(each, f"{REMOTE}{folder}/{each}") for each in together))


def _of_folder(name: str, files: dict[str, str]) -> SlideAddress:
    """`files`: relative name to location. In an OME-Zarr all count, else those that can be fields."""
    taken = sorted(files, key=natural_order)
    if not any(PurePosixPath(each).name in ZARR_METADATA for each in files):
        taken = [each for each in taken if PurePosixPath(each).suffix.lower() not in NO_IMAGES]
    if not taken:
        raise SlideTypeMismatch(f"{name} is a folder without images", "Name the image files in it.")
    return SlideAddress(name, tuple(FileAddress(each, files[each]) for each in taken))


def _files_below(folder: Path) -> Iterable[Path]:
    """Regular files; hidden ones only where an OME-Zarr keeps its metadata in them."""
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.is_file() and not file.is_symlink() and (not hidden or file.name in ZARR_METADATA):
            yield file


def series_of(name: str, others: Iterable[str]) -> list[str]:
    """An EMI file and the SER files that it describes belong together, whichever of them is named.

    Of any other file, and of a SER file without its EMI, only the name itself. The EMI file comes first.
    """
    path = PurePosixPath(name)
    if path.suffix.lower() not in SERIES:
        return [name]
    stem = re.sub(r"_\d+$", "", path.stem) if path.suffix.lower() == ".ser" else path.stem
    is_of_series = re.compile(rf"{re.escape(str(path.with_name(stem)))}(\.emi|_\d+\.ser)", re.IGNORECASE)
    found = sorted(filter(is_of_series.fullmatch, others), key=natural_order)
    described = [each for each in found if each.lower().endswith(".emi")]
    return described + [each for each in found if each not in described] if described else [name]


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key by which field2 comes before field10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name.casefold())]
