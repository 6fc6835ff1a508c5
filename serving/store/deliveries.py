"""Rows of the outbox that webhooks and copies of results are sent from, again and again until done."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Update, and_, exists, select, update
from sqlalchemy.orm import Session

from ultraread.serving.store.clock import steady_in, steady_now, utc_in, utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.outbox import SENDING_S
from ultraread.serving.store.scope import site_of
from ultraread.serving.store.tables import OutboxRow, ReadRow, ReadState
from ultraread.serving.store.webhook_tables import WebhookRow

WEBHOOK = "webhook:"
"""Before the subscription's id: a row's kind."""
RESULT_COPY = "result_copy"
DAY_S = 86400.0
_WITH_RESULT = (ReadState.SUCCEEDED.value, ReadState.PARTIAL.value)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row that was taken; `attempt` counts from 1."""

    read: ReadRow
    kind: str
    body: Mapping[str, Any]
    attempt: int


def of_webhooks() -> ColumnElement[bool]:
    return OutboxRow.kind.startswith(WEBHOOK)


def of_results() -> ColumnElement[bool]:
    return OutboxRow.kind == RESULT_COPY


def take(store: Store, wanted: ColumnElement[bool]) -> Delivery | None:
    """Take the wanted row that is due longest, for SENDING_S: if this process dies, another one takes it."""
    open_rows = and_(OutboxRow.sent.is_(None), OutboxRow.given_up.is_(None), OutboxRow.due <= steady_now())
    due = select(OutboxRow).where(wanted, open_rows).order_by(OutboxRow.due).limit(1)
    with store.reading() as session:
        if session.scalars(due).first() is None:
            return None
    with store.writing() as session:
        row = session.scalars(due).first()
        if row is None:
            return None
        row.attempts, row.due = row.attempts + 1, steady_in(SENDING_S)
        return Delivery(session.get_one(ReadRow, row.read_id), row.kind, row.body, row.attempts)


def mark_sent(store: Store, taken: Delivery) -> None:
    with store.writing() as session:
        session.execute(_row_of(taken).values(sent=utc_now(), error=None))


def mark_failed(store: Store, taken: Delivery, error: str, wait_s: float) -> None:
    """Try again after `wait_s`."""
    with store.writing() as session:
        session.execute(_unsent(taken).values(error=error, due=steady_in(wait_s)))


def give_up(store: Store, taken: Delivery, error: str) -> None:
    """Try it no more; the row stays for `queue_days`, to be seen and sent again."""
    with store.writing() as session:
        session.execute(_unsent(taken).values(error=error, given_up=utc_now()))


def send_again(session: Session, *, webhook_id: str | None = None, read_id: str | None = None) -> int:
    """Begin anew with what was given up for reads of the session's site; return how many that were.

    Of one webhook or read where it is named, else all: messages of webhooks and copies of results. A webhook
    that is removed is told nothing.
    """
    of_site = exists().where(ReadRow.id == OutboxRow.read_id, ReadRow.site == site_of(session))
    removed = exists().where(OutboxRow.kind == WEBHOOK + WebhookRow.id, WebhookRow.removed.is_not(None))
    wanted = [OutboxRow.given_up.is_not(None), of_site, ~removed]
    if webhook_id is not None:
        wanted.append(OutboxRow.kind == f"{WEBHOOK}{webhook_id}")
    if read_id is not None:
        wanted.append(OutboxRow.read_id == read_id)
    rows = session.scalars(select(OutboxRow).where(*wanted)).all()
    for row in rows:
        row.given_up, row.again, row.attempts, row.due = None, utc_now(), 0, steady_now()
    return len(rows)


def want_result_copies(store: Store, days: int) -> int:
    """Note every result of the last `days` that has no row yet; return how many that were.

    Rows of older ones may have been removed since they were sent.
    """
    known = exists().where(OutboxRow.read_id == ReadRow.id, of_results())
    unknown = (
        select(ReadRow.id)
        .where(ReadRow.state.in_(_WITH_RESULT), ReadRow.ended >= utc_in(-days * DAY_S), ~known)
        .limit(1000)
    )
    with store.reading() as session:
        if session.scalars(unknown.limit(1)).first() is None:
            return 0
    with store.writing() as session:
        found = session.scalars(unknown).all()
        session.add_all(OutboxRow(read_id=each, kind=RESULT_COPY, body={}) for each in found)
        return len(found)


def _unsent(taken: Delivery) -> Update:
    """Who was overtaken changes nothing in what another one has sent by now."""
    return _row_of(taken).where(OutboxRow.sent.is_(None))


def _row_of(taken: Delivery) -> Update:
    return update(OutboxRow).where(OutboxRow.read_id == taken.read.id, OutboxRow.kind == taken.kind)
