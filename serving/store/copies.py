"""The copies of what is stored: which are good, which wait, which are damaged."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Insert, Update, and_, delete, insert, literal, or_, select, update
from sqlalchemy.orm import Session

from ultraread.serving.store.clock import doubled_s, steady_in, steady_now, utc_in, utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import CopyPlace, CopyRow, CopyState, Json, StoredRow

TAKEN_S = 3600.0
"""Seconds that a copier has before another one takes the copy."""
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 3600.0


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy and what it has to be."""

    stored: StoredRow
    row: CopyRow


def copies_of(session: Session, stored: StoredRow) -> Sequence[CopyRow]:
    """The first one first."""
    mine = and_(CopyRow.kind == stored.kind, CopyRow.id == stored.id)
    return session.scalars(select(CopyRow).where(mine).order_by(CopyRow.place)).all()


def want_second_copies(store: Store, address: str | None) -> int:
    """Note that all that is kept shall have a copy at this address, or at none; return how many wait anew."""
    second = CopyRow.place == CopyPlace.SECOND.value
    expired = select(StoredRow.expired.is_not(None)).where(_is_of_copy()).scalar_subquery()
    with store.writing() as session:
        if address is None:
            session.execute(delete(CopyRow).where(second))
            return 0
        again = {"state": CopyState.WAITING.value, "due": steady_now(), "attempts": 0, "damaged": []}
        elsewhere = update(CopyRow).where(second, CopyRow.address != address, ~expired)
        moved = elsewhere.values(address=address, **again)
        changes = (moved, _missing_second_copies(address))
        return sum(session.connection().execute(change).rowcount for change in changes)


def take_waiting(store: Store, address: str) -> Copy | None:
    """The copy that waits longest at this address, for TAKEN_S: if this process dies, it waits again then."""
    second = and_(CopyRow.place == CopyPlace.SECOND.value, CopyRow.address == address)
    waiting = select(CopyRow).where(CopyRow.state == CopyState.WAITING.value, second)
    due = waiting.where(CopyRow.due <= steady_now())
    with store.writing() as session:
        row = session.scalars(due.order_by(CopyRow.due).limit(1)).first()
        if row is None:
            return None
        row.attempts, row.due = row.attempts + 1, steady_in(TAKEN_S)
        session.flush()
        return Copy(session.get_one(StoredRow, (row.kind, row.id)), row)


def put_back(store: Store) -> None:
    """What a process that died had taken waits no longer; only for the one process that makes copies."""
    with store.writing() as session:
        waiting = update(CopyRow).where(CopyRow.state == CopyState.WAITING.value)
        session.execute(waiting.values(due=steady_now()))


def take_longest_unchecked(store: Store, hours: float) -> Copy | None:
    """The copy whose last check is longest ago, and longer than this; its turn is over with that."""
    known = CopyRow.state.in_([CopyState.GOOD.value, CopyState.BAD.value, CopyState.GONE.value])
    old = or_(CopyRow.checked.is_(None), CopyRow.checked < utc_in(-3600 * hours))
    query = (
        select(CopyRow)
        .join(StoredRow, _is_of_copy())
        .where(known, old, StoredRow.expired.is_(None))
        .order_by(CopyRow.checked)
        .limit(1)
    )
    with store.writing() as session:
        row = session.scalars(query).first()
        if row is None:
            return None
        row.checked = utc_now()
        session.flush()
        session.refresh(row)
        return Copy(session.get_one(StoredRow, (row.kind, row.id)), row)


def mark(session: Session, copy: Copy, state: CopyState, damaged: Sequence[Json] = ()) -> None:
    """Note what a copy was found to be, unless what it has to be has changed meanwhile."""
    found = {"state": state.value, "damaged": list(damaged), "error": None, "attempts": 0}
    session.execute(_row_of(copy).values(checked=utc_now(), **found))


def mark_failed(store: Store, copy: Copy, error_code: str) -> None:
    """The copy could not be made: it waits twice as long each time."""
    wait_s = doubled_s(copy.row.attempts, FIRST_WAIT_S, LONGEST_WAIT_S)
    with store.writing() as session:
        session.execute(_row_of(copy).values(error=error_code, due=steady_in(wait_s)))


def _is_of_copy() -> ColumnElement[bool]:
    return and_(StoredRow.kind == CopyRow.kind, StoredRow.id == CopyRow.id)


def _row_of(copy: Copy) -> Update:
    same = select(StoredRow.sha256).where(StoredRow.kind == copy.row.kind, StoredRow.id == copy.row.id)
    mine = (CopyRow.kind == copy.row.kind, CopyRow.id == copy.row.id, CopyRow.place == copy.row.place)
    return update(CopyRow).where(*mine, same.scalar_subquery() == copy.stored.sha256)


def _missing_second_copies(address: str) -> Insert:
    there = select(CopyRow.id).where(
        CopyRow.kind == StoredRow.kind, CopyRow.id == StoredRow.id, CopyRow.place == CopyPlace.SECOND.value
    )
    second, waiting = literal(CopyPlace.SECOND.value), literal(CopyState.WAITING.value)
    none, empty = literal(0), literal("[]")
    rows = select(StoredRow.kind, StoredRow.id, second, literal(address), waiting, empty, none, steady_now())
    names = ["kind", "id", "place", "address", "state", "damaged", "attempts", "due"]
    return insert(CopyRow).from_select(names, rows.where(StoredRow.expired.is_(None), ~there.exists()), False)
