"""The archive of results that a service sent, unpacked: plain files below one folder, and not without end."""

import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from unicodedata import normalize
from zlib import error as DeflateError  # noqa: N812  # zlib's own name says not whose

from ultraread.errors import ArchiveBomb, ArchiveUnsafeMember, IntegrityFailed
from ultraread.serving.storage.durable import full_storage_coded

PIECE_BYTES = 2**20
LOCAL_HEADER_BYTES = 30
"""The least that stands before the bytes of a member."""
NAME_BYTES = 255
"""The longest name that the usual file systems keep."""
PACKED_AS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
DAMAGE = (zipfile.BadZipFile, DeflateError, EOFError, RuntimeError, ValueError)
"""What `zipfile` raises of bytes that are no archive of results."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive of results may have. Beyond `free_bytes`, a byte unpacks to `ratio` bytes at most."""

    archive_bytes: int = 2**36
    bytes: int = 2**37
    members: int = 100_000
    ratio: int = 200
    free_bytes: int = 2**26
    depth: int = 8


LIMITS = ArchiveLimits()


def limited(pieces: Iterable[bytes], limits: ArchiveLimits = LIMITS) -> Iterator[bytes]:
    """An archive while it comes. Raises ArchiveBomb where it does not end."""
    sum_bytes = 0
    for piece in pieces:
        sum_bytes += len(piece)
        if sum_bytes > limits.archive_bytes:
            raise ArchiveBomb(f"more than {limits.archive_bytes} bytes of results")
        yield piece


def unpack(archive: BinaryIO, into: Path, limits: ArchiveLimits = LIMITS) -> None:
    """Write every member below `into`, which is empty; all members are looked at before the first is written.

    A member gets the name that was looked at; newer versions of Python read another one in extra fields.
    Raises ArchiveUnsafeMember, ArchiveBomb, IntegrityFailed where the archive is damaged, StorageFull.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _refuse_bomb(members, opened.start_dir, limits)
            _refuse_unsafe(members, limits)
            for member in members:
                _write(opened, member, into / member.orig_filename)
    except DAMAGE as damage:
        raise IntegrityFailed("the archive of results is damaged", "Fetch it again.") from damage


def _refuse_bomb(members: list[zipfile.ZipInfo], end: int, limits: ArchiveLimits) -> None:
    """`end`: where the table of members begins. Members that overlap are the same bytes, unpacked often."""
    if len(members) > limits.members:
        raise ArchiveBomb(f"an archive of {len(members)} files")
    sum_bytes = sum(member.file_size for member in members)
    if sum_bytes > min(limits.bytes, limits.free_bytes + limits.ratio * end):
        raise ArchiveBomb(f"an archive of {end} bytes that unpacks to {sum_bytes}")
    spans = sorted((one.header_offset, _end_of(one)) for one in members)
    if any(stop > following for (_, stop), (following, _) in pairwise([*spans, (end, end)])):
        raise ArchiveBomb("an archive whose files overlap")


def _end_of(member: zipfile.ZipInfo) -> int:
    return member.header_offset + LOCAL_HEADER_BYTES + len(member.orig_filename) + member.compress_size


def _refuse_unsafe(members: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    for member in members:
        if member.compress_type not in PACKED_AS or member.header_offset < 0:
            raise zipfile.BadZipFile
        if not _is_plain_file(member) or not _stays_below(member.orig_filename, limits.depth):
            raise ArchiveUnsafeMember("an archive with a member that is no file below its folder")
    names = [_as_any_disk_has_it(member.orig_filename) for member in members]
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
    if len(set(names)) < len(names) or folders & set(names):
        raise ArchiveUnsafeMember("an archive with two members of one name")


def _is_plain_file(member: zipfile.ZipInfo) -> bool:
    """No link, device or folder; archives that know no kinds of files state none."""
    return stat.S_IFMT(member.external_attr >> 16) in {0, stat.S_IFREG}


def _stays_below(name: str, depth: int) -> bool:
    parts = name.split("/")
    strange = any(character in "\\:" or not character.isprintable() for character in name)
    return not strange and len(parts) <= depth and all(map(_is_name, parts))


def _is_name(part: str) -> bool:
    return part not in {"", ".", ".."} and len(part.encode(errors="replace")) <= NAME_BYTES


def _as_any_disk_has_it(name: str) -> str:
    """Some disks take names for the same that differ in case, or in how their letters are written."""
    return normalize("NFC", normalize("NFC", name).casefold())


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    with full_storage_coded("the results"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as packed, path.open("xb") as file:
            shutil.copyfileobj(packed, file, PIECE_BYTES)
