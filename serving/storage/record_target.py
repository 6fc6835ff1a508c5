"""Scan records as a place of copies: the first copy of each is what the database's rows hold of it and of its
slide, in canonical JSON.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from sqlalchemy import String, Update, cast, select, update
from sqlalchemy.exc import DBAPIError, NoResultFound
from sqlalchemy.orm import Session

from ultraread.errors import IntegrityFailed
from ultraread.serving.storage.target import StoredName, confirm, digest_of_pieces
from ultraread.serving.store.engine import Store
from ultraread.serving.store.stored import find_stored, nameless, record_bytes
from ultraread.serving.store.tables import Json, ScanRecordRow, SlideRow, StoredKind

IN_JSON = ("files", "images", "looks", "identity")
"""Columns of a slide that hold JSON."""


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
            stored = find_stored(session, StoredKind.RECORD, told["id"])
            if stored.files[0] != asdict(file):
                raise IntegrityFailed(f"{file.name} is not the newest revision any more")
            _put_back(session, update(ScanRecordRow).where(ScanRecordRow.id == told["id"]), back)
            slide = {**told["slide"], "files": _named(session, told)}
            _put_back(session, update(SlideRow).where(SlideRow.id == told["slide_id"]), slide)

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
        except (ValueError, TypeError, KeyError, NoResultFound, DBAPIError):  # no JSON, text, row, page
            return b""


def _put_back(session: Session, change: Update, values: Json) -> None:
    """Raises IntegrityFailed where the row itself is gone."""
    changed: int = session.connection().execute(change.values(values)).rowcount
    if not changed:
        raise IntegrityFailed("a row of the database is gone", "Restore it from a backup.")


def _named(session: Session, told: Json) -> list[Json]:
    """The slide's files with the names that they had; where those are lost, as they are called where kept."""
    with suppress(ValueError, TypeError, KeyError):
        there: list[Json] = session.scalars(
            select(SlideRow.files).where(SlideRow.id == told["slide_id"])
        ).one()
        if nameless(there) == told["slide"]["files"]:
            return there
    return list(told["slide"]["files"])


def _as_written(session: Session, row: ScanRecordRow) -> bytes:
    """Blanks and notation of the texts count as well: JSON reads more than one text as the same."""
    record_is = _is_as_written(session, ScanRecordRow, row.id, ("record",))
    slide_is = _is_as_written(session, SlideRow, row.slide_id, IN_JSON)
    return record_bytes(session, row) if record_is and slide_is else b""


def _is_as_written(
    session: Session, table: type[ScanRecordRow | SlideRow], row_id: str, names: Sequence[str]
) -> bool:
    columns = [getattr(table, name) for name in names]
    texts = session.execute(select(*(cast(each, String) for each in columns)).where(table.id == row_id)).one()
    values = session.execute(select(*columns).where(table.id == row_id)).one()
    return all(
        text == json.dumps(value) or (text is None and value is None)
        for text, value in zip(texts, values, strict=True)
    )
