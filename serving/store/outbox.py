"""What others still have to be told. A read is done when its transaction is; the telling may take longer.

MLflow's rows are taken here, those of webhooks and of copied results in `deliveries`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Update, select, update
from sqlalchemy.orm import Session

from ultraread.serving.store.clock import doubled_s, steady_in, steady_now, utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import OutboxRow, ReadRow, ScanRecordRow

MLFLOW_RUN = "mlflow_run"
"""Of the read itself."""
SHADOW_RUN = "shadow_run"
"""Of its repetition by a shadow version."""
SENDING_S = 120.0
"""Seconds that a sender has before another one takes the row: longer than a slow MLflow server answers."""
LONGEST_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class PendingRun:
    """A run that MLflow does not know yet; `attempt` counts from 1."""

    read: ReadRow
    kind: str
    scan_record_ids: tuple[str, ...]
    body: Mapping[str, Any]
    attempt: int


def put(session: Session, read_id: str, body: Mapping[str, Any], kind: str = MLFLOW_RUN) -> None:
    """Note, in the transaction that ends the read, who has to be told."""
    session.add(OutboxRow(read_id=read_id, kind=kind, body=dict(body)))


def pending(store: Store) -> list[OutboxRow]:
    """Rows that are not sent, due or not; those that were given up are none."""
    waiting = select(OutboxRow).where(OutboxRow.sent.is_(None), OutboxRow.given_up.is_(None))
    with store.reading() as session:
        return list(session.scalars(waiting.order_by(OutboxRow.due)))


def take_due(store: Store, hold_s: float = SENDING_S) -> PendingRun | None:
    """Take MLflow's row that is due longest, for `hold_s`: if this process dies, another takes it then."""
    of_mlflow = OutboxRow.kind.in_((MLFLOW_RUN, SHADOW_RUN))
    due = select(OutboxRow).where(of_mlflow, OutboxRow.sent.is_(None), OutboxRow.due <= steady_now())
    due = due.order_by(OutboxRow.due).limit(1)
    with store.reading() as session:
        if session.scalars(due).first() is None:
            return None
    with store.writing() as session:
        row = session.scalars(due).first()
        if row is None:
            return None
        row.attempts, row.due = row.attempts + 1, steady_in(hold_s)
        return _pending_run(session, row)


def mark_sent(store: Store, taken: PendingRun, run_id: str) -> None:
    """The row is done, and read and scan records are linked to the read's own run: one transaction."""
    read_id = taken.read.id
    with store.writing() as session:
        session.execute(_row_of(taken).values(sent=utc_now(), error=None))
        if taken.kind != MLFLOW_RUN:
            return
        session.execute(update(ReadRow).where(ReadRow.id == read_id).values(mlflow_run_id=run_id))
        session.execute(
            update(ScanRecordRow).where(ScanRecordRow.read_id == read_id).values(mlflow_run_id=run_id)
        )


def mark_failed(store: Store, taken: PendingRun, error: str, first_wait_s: float) -> None:
    """Keep the row with its error; wait twice as long each time, up to LONGEST_WAIT_S."""
    wait_s = doubled_s(taken.attempt, first_wait_s, LONGEST_WAIT_S)
    with store.writing() as session:
        session.execute(_row_of(taken).values(error=error, due=steady_in(wait_s)))


def _row_of(taken: PendingRun) -> Update:
    return update(OutboxRow).where(OutboxRow.read_id == taken.read.id, OutboxRow.kind == taken.kind)


def _pending_run(session: Session, row: OutboxRow) -> PendingRun:
    read = session.get_one(ReadRow, row.read_id)
    records = (
        select(ScanRecordRow.id).where(ScanRecordRow.slide_id.in_(read.slide_ids)).order_by(ScanRecordRow.id)
    )
    return PendingRun(read, row.kind, tuple(session.scalars(records)), row.body, row.attempts)
