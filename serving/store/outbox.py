"""What MLflow still has to be told. A read is done when its transaction is; the telling may take longer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Update, select, update
from sqlalchemy.orm import Session

from ultraread.serving.store.clock import utc_in, utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import OutboxRow, ReadRow, ScanRecordRow

MLFLOW_RUN = "mlflow_run"
SENDING_S = 120.0
"""Seconds that a sender has before another one takes the row: longer than a slow MLflow server answers."""
LONGEST_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class PendingRun:
    """A read that MLflow does not know yet; `attempt` counts from 1."""

    read: ReadRow
    scan_record_ids: tuple[str, ...]
    body: Mapping[str, Any]
    attempt: int


def put(session: Session, read_id: str, body: Mapping[str, Any]) -> None:
    """Note, in the transaction that ends the read, that MLflow has to be told."""
    session.add(OutboxRow(read_id=read_id, kind=MLFLOW_RUN, body=dict(body)))


def pending(store: Store) -> list[OutboxRow]:
    """Rows that are not sent, due or not."""
    with store.reading() as session:
        return list(
            session.scalars(select(OutboxRow).where(OutboxRow.sent.is_(None)).order_by(OutboxRow.due))
        )


def take_due(store: Store) -> PendingRun | None:
    """Take the row that is due longest, for SENDING_S: if this process dies, another one takes it then."""
    due = select(OutboxRow.read_id).where(
        OutboxRow.kind == MLFLOW_RUN, OutboxRow.sent.is_(None), OutboxRow.due <= utc_now()
    )
    take = (
        update(OutboxRow)
        .where(OutboxRow.kind == MLFLOW_RUN)
        .where(OutboxRow.read_id == due.order_by(OutboxRow.due).limit(1).scalar_subquery())
        .values(attempts=OutboxRow.attempts + 1, due=utc_in(SENDING_S))
        .returning(OutboxRow)
    )
    with store.writing() as session:
        row = session.scalars(take).one_or_none()
        return _pending_run(session, row) if row else None


def mark_sent(store: Store, read_id: str, run_id: str) -> None:
    """Link read and scan records to the run, and the row is done: one transaction."""
    with store.writing() as session:
        session.execute(_row_of(read_id).values(sent=utc_now(), error=None))
        session.execute(update(ReadRow).where(ReadRow.id == read_id).values(mlflow_run_id=run_id))
        session.execute(
            update(ScanRecordRow).where(ScanRecordRow.read_id == read_id).values(mlflow_run_id=run_id)
        )


def mark_failed(store: Store, taken: PendingRun, error: str, first_wait_s: float) -> None:
    """Keep the row with its error; wait twice as long each time, up to LONGEST_WAIT_S."""
    wait_s = min(LONGEST_WAIT_S, first_wait_s * 2 ** (taken.attempt - 1))
    with store.writing() as session:
        session.execute(_row_of(taken.read.id).values(error=error, due=utc_in(wait_s)))


def _row_of(read_id: str) -> Update:
    return update(OutboxRow).where(OutboxRow.read_id == read_id, OutboxRow.kind == MLFLOW_RUN)


def _pending_run(session: Session, row: OutboxRow) -> PendingRun:
    read = session.get_one(ReadRow, row.read_id)
    records = (
        select(ScanRecordRow.id).where(ScanRecordRow.slide_id.in_(read.slide_ids)).order_by(ScanRecordRow.id)
    )
    return PendingRun(read, tuple(session.scalars(records)), row.body, row.attempts)
