"""Files on their way in: parts come in any order and several at once; what comes twice changes nothing.

A part is written where nothing was, made durable, and only then noted in the row. Whoever writes holds those
bytes of the file alone, so that what the row tells is there is never written again.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from ultraread.errors import (
    NotFound,
    QuotaExceeded,
    RequestInvalid,
    StorageFull,
    UploadChecksumMismatch,
    UploadConflict,
    UploadExpired,
    UploadTooLarge,
)
from ultraread.serving.storage.durable import fsync
from ultraread.serving.store.clock import utc_in, utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.range_lock import wait_alone
from ultraread.serving.store.ranges import Range, gaps, inside, length_of_start, with_range
from ultraread.serving.store.scope import site_of
from ultraread.serving.store.stored_name import stored_name
from ultraread.serving.store.tables import UploadRow

if TYPE_CHECKING:
    from ultraread.serving.settings import Settings

PIECE_BYTES = 2**20
MOST_RANGES = 20_000
"""Of one upload: the largest file in parts of 8 MiB, every second one missing, has fewer."""
ORPHAN_S = 3600.0
"""Seconds after which a folder that no row knows was left behind by a process that died."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one file may have, and what a site may have on its way in: bytes as announced, and files."""

    file_bytes: int
    site_bytes: int
    site_files: int
    expires_s: float


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes [start, start + count) of a file, held in `staged`; `total`: its size, as the sender knows."""

    start: int
    total: int
    count: int
    staged: BinaryIO

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass(frozen=True, slots=True)
class Uploads:
    """The rows, and the bytes in `folder`/<id>/."""

    store: Store
    folder: Path
    limits: UploadLimits = field(repr=False)

    def open(self, upload_id: str, file_name: str, size: int, sha256: str | None = None) -> UploadRow:
        """Announce a file. Raises UploadTooLarge, QuotaExceeded, and StorageFull where it has no room."""
        self._refuse_size(size)
        row = UploadRow(id=upload_id, file_name=file_name, bytes=size, sha256=sha256, ranges=[], epoch=0)
        try:
            self._make_file(row)
            return self._announced(row)
        except QuotaExceeded:
            shutil.rmtree(self.folder / upload_id, ignore_errors=True)
            raise

    def find(self, upload_id: str) -> UploadRow:
        """Raises NotFound, UploadExpired."""
        with self.store.reading() as session:
            found = session.execute(
                select(UploadRow, self._is_old()).where(UploadRow.id == upload_id)
            ).one_or_none()
        if found is None:
            raise NotFound(f"no upload {upload_id}")
        if found[1]:
            raise UploadExpired(f"no part of upload {upload_id} came for too long")
        row: UploadRow = found[0]
        return row

    def of_digest(self, sha256: str) -> Sequence[UploadRow]:
        """Uploads that were announced with this digest, the newest first."""
        query = select(UploadRow).where(UploadRow.sha256 == sha256, ~self._is_old())
        with self.store.reading() as session:
            return session.scalars(query.order_by(UploadRow.id.desc()).limit(100)).all()

    def path(self, row: UploadRow) -> Path:
        return self.folder / row.id / stored_name(row.epoch, row.file_name)

    def put(self, upload_id: str, part: Part, whole_sha256: str | None = None) -> UploadRow:
        """Write what is missing of the part; where then nothing is missing, hold the whole to its digest.

        Raises UploadConflict where other bytes are there; UploadChecksumMismatch, and then all that came is
        thrown away.
        """
        path = self.path(self.find(upload_id))
        with _opened(path) as file:
            wait_alone(file, part.start, part.end)
            row = self.find(upload_id)
            _refuse_another_upload(row, part, is_same=self.path(row) == path)
            _write(file, part, ranges_of(row))
            noted = self._noted(row, part, whole_sha256)
            return self._checked(row, file, part, noted) if isinstance(noted, str) else noted

    def drop(self, row: UploadRow) -> None:
        """Forget an upload, filed or not."""
        with self.store.writing() as session:
            session.execute(delete(UploadRow).where(UploadRow.id == row.id))
        shutil.rmtree(self.folder / row.id, ignore_errors=True)

    def expire(self) -> int:
        """Throw away what no part came of for too long, and what a dead process left; return how many."""
        with self.store.writing() as session:
            old = delete(UploadRow).where(self._is_old()).returning(UploadRow.id)
            gone = session.scalars(old, execution_options={"synchronize_session": False}).all()
        with self.store.reading() as session:
            known = set(session.scalars(select(UploadRow.id)))
        left = [each for each in self.folder.iterdir() if each.name not in known and _is_orphan(each)]
        for folder in {*left, *(self.folder / upload_id for upload_id in gone)}:
            shutil.rmtree(folder, ignore_errors=True)
        return len(gone)

    def _refuse_size(self, size: int) -> None:
        if size > self.limits.file_bytes:
            raise UploadTooLarge(
                f"{size} bytes; at most {self.limits.file_bytes} are taken", "Ask your operator."
            )
        if size > shutil.disk_usage(self.folder).free:
            raise StorageFull(f"there is no room for {size} bytes")

    def _make_file(self, row: UploadRow) -> None:
        folder = self.path(row).parent
        folder.mkdir(mode=0o700, exist_ok=True)
        self.path(row).touch(mode=0o600)
        fsync(folder)
        fsync(self.folder)

    def _announced(self, row: UploadRow) -> UploadRow:
        with self.store.writing() as session:
            if there := session.get(UploadRow, row.id):
                return there
            self._refuse_over_quota(session, row.bytes)
            session.add(row)
            session.flush()
            return row

    def _refuse_over_quota(self, session: Session, size: int) -> None:
        of_site = UploadRow.site == site_of(session)
        pending = select(func.count(UploadRow.id), func.coalesce(func.sum(UploadRow.bytes), 0)).where(of_site)
        files, sum_bytes = session.execute(pending).one()
        if files + 1 > self.limits.site_files:
            raise QuotaExceeded(f"{files} uploads of the site are not filed yet")
        if sum_bytes + size > self.limits.site_bytes:
            raise QuotaExceeded(f"{sum_bytes} bytes of the site are not filed yet; {size} more are too many")

    def _is_old(self) -> ColumnElement[bool]:
        return func.coalesce(UploadRow.touched, UploadRow.created) < utc_in(-self.limits.expires_s)

    def _noted(
        self, seen: UploadRow, part: Part, stated: str | None, checked: str | None = None
    ) -> UploadRow | str:
        """Note the part; where the whole has to be held to its digest first, note nothing and return that."""
        with self.store.writing(alone=False) as session:
            row = _fenced(session, seen)
            _refuse_another_digest(row, stated)
            there = with_range(ranges_of(row), part.start, part.end)
            if len(there) > MOST_RANGES:
                raise RequestInvalid("too many gaps", "Send parts next to those that are there.")
            digest = stated or row.sha256
            if digest and digest != checked and _is_whole(there, row) and not _was_checked(row):
                return digest
            row.ranges, row.received = [list(each) for each in there], length_of_start(there)
            row.sha256, row.touched = digest, utc_now()
            session.flush()
            session.refresh(row)
            return row

    def _checked(self, row: UploadRow, file: int, part: Part, digest: str) -> UploadRow:
        if _sha256(file) != digest:
            self._begin_anew(row)
            raise UploadChecksumMismatch("the file's sha256 is not the one stated", "Send the file again.")
        noted = self._noted(row, part, digest, checked=digest)
        if isinstance(noted, str):
            raise UploadConflict("another sha256 was stated meanwhile")
        return noted

    def _begin_anew(self, row: UploadRow) -> None:
        """In another file: who still writes to this one writes to nothing."""
        old = self.path(row)
        old.with_name(stored_name(row.epoch + 1, row.file_name)).touch(mode=0o600)
        fsync(old.parent)
        same = update(UploadRow).where(UploadRow.id == row.id, UploadRow.epoch == row.epoch)
        with self.store.writing() as session:
            session.execute(same.values(epoch=row.epoch + 1, ranges=[], received=0, sha256=None))
        old.unlink(missing_ok=True)


def open_uploads(settings: "Settings", store: Store) -> Uploads:
    """Uploads within the settings' limits."""
    limits = UploadLimits(
        settings.max_upload_bytes,
        settings.upload_quota_bytes,
        settings.upload_quota_files,
        settings.upload_expires_hours * 3600,
    )
    return Uploads(store, settings.uploads_dir, limits)


def ranges_of(row: UploadRow) -> list[Range]:
    """What is there. An older replica counts in `received` alone."""
    return with_range([(start, end) for start, end in row.ranges], 0, row.received)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as gone:
        raise NotFound("no such upload") from gone
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _refuse_another_upload(row: UploadRow, part: Part, *, is_same: bool) -> None:
    if not is_same:
        raise UploadConflict("the upload began anew: what it received was not what its digest says")
    if part.total != row.bytes:
        raise UploadConflict(f"{row.bytes} bytes were announced, not {part.total}")


def _refuse_another_digest(row: UploadRow, stated: str | None) -> None:
    if stated is not None and row.sha256 not in {None, stated}:
        raise UploadConflict("another sha256 of the whole was stated before")


def _write(file: int, part: Part, there: Sequence[Range]) -> None:
    """Compare what is there, write what is not; nothing is written where one byte differs."""
    for start, end in inside(there, part.start, part.end):
        if any(os.pread(file, len(piece), at) != piece for at, piece in _pieces(part, start, end)):
            raise UploadConflict(f"other bytes are there from {start} on")
    missing = gaps(there, part.start, part.end)
    for start, end in missing:
        for at, piece in _pieces(part, start, end):
            _write_all(file, piece, at)
    if missing:
        os.fdatasync(file)


def _pieces(part: Part, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Place in the file, and bytes."""
    for at in range(start, end, PIECE_BYTES):
        yield at, os.pread(part.staged.fileno(), min(PIECE_BYTES, end - at), at - part.start)


def _write_all(file: int, piece: bytes, at: int) -> None:
    """A file system that is almost full takes a piece of the piece."""
    while piece:
        written = os.pwrite(file, piece, at)
        piece, at = piece[written:], at + written


def _fenced(session: Session, seen: UploadRow) -> UploadRow:
    """The row as it is now, ours in this transaction. Raises NotFound; UploadConflict where it began anew."""
    row = session.get(UploadRow, seen.id, with_for_update=True)
    if row is None:
        raise NotFound(f"no upload {seen.id}")
    if row.epoch != seen.epoch:
        raise UploadConflict("the upload began anew: what it received was not what its digest says")
    return row


def _is_whole(there: Sequence[Range], row: UploadRow) -> bool:
    return length_of_start(there) == row.bytes


def _was_checked(row: UploadRow) -> bool:
    """Whoever noted the last part of an upload with a digest had checked it."""
    return row.sha256 is not None and _is_whole(ranges_of(row), row)


def _sha256(file: int) -> str:
    digest, at = hashlib.sha256(), 0
    while piece := os.pread(file, PIECE_BYTES, at):
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()


def _is_orphan(folder: Path) -> bool:
    try:
        return folder.is_dir() and time.time() - folder.stat().st_mtime > ORPHAN_S
    except FileNotFoundError:
        return False
