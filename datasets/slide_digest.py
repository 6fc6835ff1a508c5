"""The digests of a slide and its files: what a record, a read and a copy are held against."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from ultraread.datasets.digest import sha256_of_stream
from ultraread.datasets.slide_address import FileAddress, SlideAddress
from ultraread.datasets.stored_file import open_file


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file of a slide. The name may identify a patient: only record and provenance keep it."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class SlideDigest:
    """sha256 of the sorted list of the files' hex digests, each followed by a newline."""

    sha256: str
    files: tuple[FileDigest, ...]


def digest_slide(slide: SlideAddress) -> SlideDigest:
    """Digest the files that together are one slide. Raises SlideNotFound, StorageUnreachable."""
    files = tuple(_digest(file) for file in slide.files)
    return SlideDigest(sha256_of_files(file.sha256 for file in files), files)


def sha256_of_files(digests: Iterable[str]) -> str:
    """The slide's digest, of those of its files in whatever order."""
    listed = "".join(f"{digest}\n" for digest in sorted(digests))
    return hashlib.sha256(listed.encode()).hexdigest()


def _digest(address: FileAddress) -> FileDigest:
    file = open_file(address.location, address.name)
    try:
        with file.stream() as stream:
            return FileDigest(address.name, sha256_of_stream(stream), file.size)
    finally:
        file.close()
