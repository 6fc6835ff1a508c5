"""Which processes of the service are there: each says so every few seconds, by the database's clock."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ultraread.serving.store.clock import steady_in, steady_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.operation_tables import WorkerRow
from ultraread.serving.store.tables import Json

BEAT_S = 5.0
GONE_S = 4 * BEAT_S
"""Seconds of silence after which a process counts as gone."""
FORGOTTEN_S = 3600.0


def beat(store: Store, worker_id: str, deployment: str, body: Json) -> None:
    """Say that this process is there; forget those that are long gone."""
    with store.writing() as session:
        row = session.get(WorkerRow, worker_id)
        if row is None:
            session.add(WorkerRow(id=worker_id, deployment=deployment, body=body))
            session.execute(delete(WorkerRow).where(WorkerRow.seen < steady_in(-FORGOTTEN_S)))
        else:
            row.body, row.seen = body, steady_now()


def leave(store: Store, worker_id: str) -> None:
    """Say that this process ends."""
    with store.writing() as session:
        session.execute(delete(WorkerRow).where(WorkerRow.id == worker_id))


def there(session: Session) -> Sequence[WorkerRow]:
    """Processes that were seen lately."""
    seen = select(WorkerRow).where(WorkerRow.seen >= steady_in(-GONE_S))
    return session.scalars(seen.order_by(WorkerRow.deployment, WorkerRow.id)).all()


def is_there(session: Session, worker_id: str) -> bool:
    """Whether that process was seen lately."""
    seen = select(WorkerRow.id).where(WorkerRow.id == worker_id, WorkerRow.seen >= steady_in(-GONE_S))
    return session.scalar(seen) is not None
