"""An audit trail as it is stored, read for verification: nothing of it is believed yet."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from sqlalchemy import ColumnElement, String, cast, func, select
from sqlalchemy.orm import Session

from ultraread.serving.audit.chain import Event
from ultraread.serving.audit.signing import Checkpoint
from ultraread.serving.store.audit_tables import AuditCheckpointRow, AuditHeadRow
from ultraread.serving.store.tables import AuditRow

AT_ONCE = 1000
"""Rows; a trail of years is never in memory as a whole."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and the hash that is stored with it; None where its bytes are no event at all."""

    sequence: int
    event: Event | None
    hash: str

    def is_whole_as(self, sequence: int) -> bool:
        """Whether the stored hash is that of these bytes with this number."""
        if self.event is None:
            return False
        try:
            fields = self.event.as_json() | {"sequence": sequence}
            return Event.from_json(fields).hash == self.hash
        except (ValueError, TypeError):  # what only damage puts there
            return False


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain is said to end."""

    sequence: int
    hash: str


class Trail(Protocol):
    """The trail of one site, in a database or in an export."""

    @property
    def site(self) -> str: ...

    def head(self) -> Head | None:
        """None where nothing says where the chain ends."""
        ...

    def events(self, upto: int, after: int = 0) -> Iterable[StoredEvent]:
        """By number, the first one first: those that follow number `after`, up to and with number `upto`."""
        ...

    def largest(self) -> int:
        """The largest number of all; 0 of none."""
        ...

    def unsealed(self) -> int:
        """Events that have no place in the chain yet."""
        ...

    def checkpoints(self) -> Iterable[Checkpoint]:
        """Signed or said to be."""
        ...


@dataclass(frozen=True, slots=True)
class DatabaseTrail:
    """Reads text as it is stored: a flipped bit in a JSON must not end the search for it."""

    session: Session
    site: str

    def head(self) -> Head | None:
        query = select(AuditHeadRow.sequence, AuditHeadRow.hash).where(AuditHeadRow.site == self.site)
        row = self.session.execute(query).first()
        return Head(*row) if row else None

    def events(self, upto: int, after: int = 0) -> Iterator[StoredEvent]:
        columns = AuditRow.__table__.c
        number = columns.site_sequence
        shown = [_raw(columns[name]).label(name) for name in _COLUMNS]
        query = select(*shown).where(columns.site == self.site, number > after, number <= upto)
        ordered = query.order_by(columns.site_sequence, columns.sequence)
        with self.session.connection().execute(ordered, execution_options={"yield_per": AT_ONCE}) as rows:
            for row in rows.mappings():
                yield StoredEvent(row["site_sequence"], _event(dict(row)), str(row["hash"]))

    def largest(self) -> int:
        query = select(func.max(AuditRow.site_sequence)).where(AuditRow.site == self.site)
        return self.session.scalar(query) or 0

    def unsealed(self) -> int:
        mine = (AuditRow.site == self.site, AuditRow.site_sequence.is_(None))
        return self.session.scalar(select(func.count()).select_from(AuditRow).where(*mine)) or 0

    def checkpoints(self) -> Iterator[Checkpoint]:
        query = select(AuditCheckpointRow).where(AuditCheckpointRow.site == self.site)
        for row in self.session.scalars(query.order_by(AuditCheckpointRow.sequence)):
            yield checkpoint_of(row)


def checkpoint_of(row: AuditCheckpointRow) -> Checkpoint:
    return Checkpoint(row.site, row.sequence, row.hash, row.at, row.public_key, row.signature)


@contextmanager
def readable(session: Session) -> Iterator[Session]:
    """With what is no UTF-8 any more read as U+FFFD: SQLite would end the search for it otherwise."""
    connection: Any = session.connection().connection.driver_connection
    before = getattr(connection, "text_factory", None)
    if before is not None:
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    try:
        yield session
    finally:
        if before is not None:
            connection.text_factory = before


def sites_in(session: Session) -> list[str]:
    """Every site that anything is known of."""
    tables = (AuditHeadRow, AuditRow, AuditCheckpointRow)
    return sorted({site for table in tables for site in session.scalars(select(table.site).distinct())})


_JSON = ("detail", "old", "new")
_COLUMNS = (
    "site",
    "site_sequence",
    "at",
    "who",
    "what",
    "subject",
    "why",
    *_JSON,
    "sealed",
    "previous",
    "hash",
)


def _raw(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(column, String) if column.key in _JSON else column


def _event(row: dict[str, Any]) -> Event | None:
    try:
        values = {name: json.loads(row[name]) if row[name] is not None else None for name in _JSON}
        return Event.from_json(row | values | {"sequence": row["site_sequence"]})
    except (ValueError, TypeError):
        return None
