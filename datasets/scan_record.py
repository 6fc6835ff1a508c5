"""The scan record: what was digitized, from which files, with digests; filed before anything is read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ultraread.datasets.digest import sha256_of_file


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


def digest_slide(paths: Sequence[Path]) -> SlideDigest:
    """Digest the files that together are one slide."""
    files = tuple(FileDigest(path.name, sha256_of_file(path), path.stat().st_size) for path in paths)
    listed = "".join(f"{digest}\n" for digest in sorted(file.sha256 for file in files))
    return SlideDigest(hashlib.sha256(listed.encode()).hexdigest(), files)
