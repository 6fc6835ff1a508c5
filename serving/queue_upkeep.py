"""What keeps the queue small: hopeless reads are ended, and what ended reads leave behind is removed."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import delete, or_, select

from ultraread.serving.results.folder import clear
from ultraread.serving.settings import Settings
from ultraread.serving.store.clock import utc_in
from ultraread.serving.store.engine import Store
from ultraread.serving.store.idempotency import INTERRUPTED
from ultraread.serving.store.jobs import Jobs
from ultraread.serving.store.tables import IdempotencyRow, OutboxRow, ReadRow, ReadState

DAY_S = 86400.0
HOUR_S = 3600.0
AT_ONCE = 500
"""Reads a query asks for: databases bound how many values a statement takes."""


@dataclass(slots=True)
class QueueUpkeep:
    """Belongs to one process; a second one does no harm."""

    settings: Settings
    jobs: Jobs
    who: str
    next_s: float = 0.0
    """When old things are looked for again, on the monotonic clock."""

    def step(self) -> bool:
        """End what is hopeless; once an hour, remove what is old."""
        ended = self.jobs.sweep(self.who)
        for read_id in ended:
            clear(self.settings.reads_dir / read_id)
        if time.monotonic() >= self.next_s:
            forget_old(self.jobs.store, self.settings.queue_days)
            clear_leftovers(self.settings, self.jobs.store)
            self.next_s = time.monotonic() + HOUR_S
        return False


def forget_old(store: Store, days: int) -> int:
    """Remove answers kept for repeated requests, and outbox rows that were sent or given up; return how many.

    A request that is still being answered, and a row that waits, stay however old they are.
    """
    before = utc_in(-days * DAY_S)
    answered = IdempotencyRow.status.is_not(None), IdempotencyRow.status != INTERRUPTED
    changes = (
        delete(IdempotencyRow).where(*answered, IdempotencyRow.created < before),
        delete(OutboxRow).where(or_(OutboxRow.sent < before, OutboxRow.given_up < before)),
    )
    with store.writing() as session:
        return sum(session.connection().execute(change).rowcount for change in changes)


def clear_leftovers(settings: Settings, store: Store) -> None:
    """Of ended reads keep the published result alone: their owners may have died before they cleared up."""
    folders = (path for path in settings.reads_dir.iterdir() if path.is_dir())
    for some in _batches(folders):
        for read_id, state, epoch in _states(store, some):
            if ReadState(state).has_ended:
                _keep_only(settings.reads_dir / read_id, f"result-{epoch}" if _has_result(state) else None)


def _has_result(state: str) -> bool:
    return ReadState(state).has_result


def _keep_only(folder: Path, name: str | None) -> None:
    if name is None:
        clear(folder)
        return
    for path in folder.iterdir():
        if path.name != name:
            clear(path)


def _states(store: Store, folders: Sequence[Path]) -> Sequence[tuple[str, str, int]]:
    columns = select(ReadRow.id, ReadRow.state, ReadRow.epoch)
    with store.reading() as session:
        rows = session.execute(columns.where(ReadRow.id.in_([path.name for path in folders])))
        return [(row.id, row.state, row.epoch) for row in rows]


def _batches(folders: Iterator[Path]) -> Iterator[list[Path]]:
    while some := list(islice(folders, AT_ONCE)):
        yield some
