"""Scan records as a place of copies: the first copy of each is the database's row, in canonical JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from sqlalchemy import String, cast, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from ultraread.errors import IntegrityFailed
from ultraread.serving.storage.target import StoredName, confirm, digest_of_pieces
from ultraread.serving.store.engine import Store
from ultraread.serving.store.stored import find_stored, record_bytes
from ultraread.serving.store.tables import ScanRecordRow, StoredKind


@dataclass(frozen=True, slots=True)
class RecordTable:
    """A file is called `<record id>/<revision>.json`; only the newest revision is there."""

    store: Store

    @property
    def url(self) -> str:
        return "scan records of the database"

    def location(self, name: str) -> str:
        return name

    def check(self) -> None:
        """Whoever has a store has reached it."""

    def put(self, file: StoredName, pieces: Iterator[bytes]) -> None:
        """Put a record back that was damaged.

        Raises IntegrityFailed where the bytes are not the file's, or where the record was changed meanwhile.
        """
        data = b"".join(pieces)
        confirm(file, digest_of_pieces(iter([data])))
        told = json.loads(data)
        back = {name: told[name] for name in ("case_id", "slide_id", "revision", "record")}
        with self.store.writing() as session:
            if find_stored(session, StoredKind.RECORD, told["id"]).files[0] != asdict(file):
                raise IntegrityFailed(f"{file.name} is not the newest revision any more")
            session.execute(update(ScanRecordRow).where(ScanRecordRow.id == told["id"]).values(**back))

    def pieces(self, name: str) -> Iterator[bytes]:
        data = self._data(name)
        if data is None:
            raise FileNotFoundError(name)
        yield data

    def size(self, name: str) -> int | None:
        data = self._data(name)
        return None if data is None else len(data)

    def remove(self, name: str) -> None:
        raise NotImplementedError("scan records are never removed")

    def names(self, below: str) -> list[str]:
        with self.store.reading() as session:
            query = select(ScanRecordRow.id, ScanRecordRow.revision).order_by(ScanRecordRow.id)
            names = [f"{row.id}/{row.revision}.json" for row in session.execute(query)]
        return [name for name in names if name.startswith(below)]

    def _data(self, name: str) -> bytes | None:
        """Nothing where there is no such record; no bytes where what is there is not as it was written."""
        try:
            with self.store.reading() as session:
                row = session.get(ScanRecordRow, name.partition("/")[0])
                return None if row is None else _as_written(session, row)
        except (ValueError, TypeError, DBAPIError):  # no JSON, no text, no page of a database
            return b""


def _as_written(session: Session, row: ScanRecordRow) -> bytes:
    """Blanks and notation of the text count as well: JSON reads more than one text as the same record."""
    query = select(cast(ScanRecordRow.record, String)).where(ScanRecordRow.id == row.id)
    is_as_written = session.scalar(query) == json.dumps(row.record)
    return record_bytes(row) if is_as_written else b""
