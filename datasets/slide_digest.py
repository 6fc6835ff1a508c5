"""The digests of a slide and its files: what a record, a read and a copy are held against."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ultraread.datasets.block_digests import BlockDigester, BlockDigests
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


def digest_in_blocks(slide: SlideAddress) -> tuple[SlideDigest, SlideAddress]:
    """The same in one pass with the digests of the files' blocks, which the returned address carries."""
    digests, files = list[FileDigest](), list[FileAddress]()
    for number, file in enumerate(slide.files):
        digester = BlockDigester()
        digests.append(_digest(file, digester.add))
        blocks = BlockDigests(number, digests[-1].bytes, digester.ended())
        files.append(replace(file, blocks=blocks))
    whole = SlideDigest(sha256_of_files(file.sha256 for file in digests), tuple(digests))
    return whole, replace(slide, files=tuple(files))


def sha256_of_files(digests: Iterable[str]) -> str:
    """The slide's digest, of those of its files in whatever order."""
    listed = "".join(f"{digest}\n" for digest in sorted(digests))
    return hashlib.sha256(listed.encode()).hexdigest()


def _digest(address: FileAddress, hear: Callable[[bytes], object] = lambda piece: None) -> FileDigest:
    file = open_file(address.location, address.name, address.blocks)
    try:
        with file.stream() as stream:
            return FileDigest(address.name, sha256_of_stream(stream, hear), file.size)
    finally:
        file.close()
