"""Files on their way in: parts are written in order, and a part that comes twice changes nothing."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

from sqlalchemy import delete, update

from ultraread.errors import NotFound, StorageFull, UploadChecksumMismatch, UploadConflict, UploadTooLarge
from ultraread.serving.store.engine import Store
from ultraread.serving.store.stored_name import stored_name
from ultraread.serving.store.tables import UploadRow


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file from `start` on; `total` is what the sender takes the file's size to be."""

    start: int
    total: int
    data: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.data)


@dataclass(frozen=True, slots=True)
class Uploads:
    """The rows, and the bytes in `folder`/<id>/."""

    store: Store
    folder: Path
    max_bytes: int

    def open(self, upload_id: str, file_name: str, size: int) -> UploadRow:
        """Announce a file. Raises UploadTooLarge, and StorageFull where there is no room for it."""
        if size > self.max_bytes:
            raise UploadTooLarge(f"{size} bytes; at most {self.max_bytes} are taken", "Ask your operator.")
        if size > shutil.disk_usage(self.folder).free:
            raise StorageFull(f"there is no room for {size} bytes")
        row = UploadRow(id=upload_id, file_name=file_name, bytes=size)
        self.path(row).parent.mkdir(mode=0o700, exist_ok=True)
        self.path(row).touch()
        with self.store.writing() as session:
            if there := session.get(UploadRow, upload_id):
                return there
            session.add(row)
            session.flush()
            return row

    def find(self, upload_id: str) -> UploadRow:
        """Raises NotFound."""
        with self.store.reading() as session:
            row = session.get(UploadRow, upload_id)
        if row is None:
            raise NotFound(f"no upload {upload_id}")
        return row

    def path(self, row: UploadRow) -> Path:
        return self.folder / row.id / stored_name(0, row.file_name)

    def put(self, upload_id: str, part: Part, whole_sha256: bytes | None = None) -> UploadRow:
        """Write the next part, and check the whole against its digest when it is the last one.

        Raises UploadConflict where the part does not go on from what is there, unless it is there already;
        UploadChecksumMismatch, and then everything received is dropped.
        """
        with _alone(self.path(self.find(upload_id))) as stream:
            row = self.find(upload_id)
            if _is_there(row, part, stream):
                return row
            _refuse_unless_next(row, part)
            _write(stream, part)
            if whole_sha256 is not None and part.end == row.bytes:
                self._check_whole(upload_id, stream, whole_sha256)
            return self._received(upload_id, part.end)

    def drop(self, row: UploadRow) -> None:
        """Forget an upload, filed or not."""
        with self.store.writing() as session:
            session.execute(delete(UploadRow).where(UploadRow.id == row.id))
        shutil.rmtree(self.folder / row.id, ignore_errors=True)

    def _check_whole(self, upload_id: str, stream: BufferedRandom, sha256: bytes) -> None:
        stream.seek(0)
        if hashlib.file_digest(stream, "sha256").digest() != sha256:
            stream.truncate(0)
            self._received(upload_id, 0)
            raise UploadChecksumMismatch("the file's sha256 is not the one stated", "Send the file again.")

    def _received(self, upload_id: str, count: int) -> UploadRow:
        change = update(UploadRow).where(UploadRow.id == upload_id).values(received=count)
        with self.store.writing() as session:
            row = session.scalars(change.returning(UploadRow)).one_or_none()
        if row is None:
            raise NotFound(f"no upload {upload_id}")
        return row


@contextmanager
def _alone(path: Path) -> Iterator[BufferedRandom]:
    """The file, while no other request writes to it."""
    try:
        stream = path.open("r+b")
    except FileNotFoundError as gone:
        raise NotFound("no such upload") from gone
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream


def _is_there(row: UploadRow, part: Part, stream: BufferedRandom) -> bool:
    if part.total != row.bytes or part.end > row.received:
        return False
    stream.seek(part.start)
    return stream.read(len(part.data)) == part.data


def _refuse_unless_next(row: UploadRow, part: Part) -> None:
    if part.total != row.bytes:
        raise UploadConflict(f"{row.bytes} bytes were announced, not {part.total}")
    if part.start != row.received:
        raise UploadConflict(f"the part begins at {part.start}; {row.received} bytes are there")


def _write(stream: BufferedRandom, part: Part) -> None:
    stream.seek(part.start)
    stream.write(part.data)
    stream.truncate()  # drops what a part left behind whose request died
    stream.flush()
    os.fsync(stream.fileno())
