"""Durable reads: a row with a lease. Whoever claims a read raises its epoch, and every later write names the
epoch that it was claimed with, so that an owner who slept past the lease can change nothing any more.

Every write may be repeated by the owner who does not know whether it arrived: see ADR 0022.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.orm import Session

from ultraread.errors import (
    AttemptsExhausted,
    InputChanged,
    NotFound,
    ReadCancelled,
    ReadDeadlinePassed,
    UltraReadError,
)
from ultraread.serving.binding import Binding, differ_in_stamps_only
from ultraread.serving.metrics import READS_ENDED
from ultraread.serving.store import checkpoints, outbox, shadows
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.checkpoints import RangeDigests, ScoredRange
from ultraread.serving.store.clock import LONG_AGO, steady_in, utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.stored import keep
from ultraread.serving.store.tables import (
    Json,
    Priority,
    ReadRow,
    ReadState,
    ScanRecordRow,
    StoredKind,
)
from ultraread.serving.store.turns import UNOWNED, next_read, note_turn
from ultraread.serving.webhooks.announce import announce

EndState = Literal[ReadState.SUCCEEDED, ReadState.PARTIAL]
"""How a read with a result ends."""


class LostLease(Exception):
    """Somebody else owns the read now, or it has ended: drop the work, write nothing."""


@dataclass(frozen=True, slots=True)
class NewRead:
    """A read that may be done: slides admitted, model version pinned by digest."""

    id: str
    case_id: str | None
    slide_ids: tuple[str, ...]
    slide_sha256s: tuple[str, ...]
    model_name: str
    model_version: str
    model_onnx_sha256: str
    model_card_sha256: str
    request: Json
    priority: Priority = Priority.ROUTINE
    finish_by: str | None = None
    """ISO 8601 in UTC, as the store writes its own times; the read ends as failed then."""


@dataclass(frozen=True, slots=True)
class ClaimedRead:
    """The right to work on a read until the lease ends; `read` is the row as it was when claimed."""

    read: ReadRow
    owner: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Checkpointed work, of all slides of the read together."""

    tiles_total: int
    tiles_done: int
    ranges_done: int


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What the MLflow run shows of a result (no names, no paths), and the digests of its files."""

    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    files: tuple[Json, ...] = ()
    """Of the result folders [{name, sha256, bytes}], named from the folder of all reads."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """The queue. An owner may be silent for `lease_s`; `max_attempts` claims may go without progress.

    Of reads with a result, a shadow version repeats `shadow_fraction`.
    """

    store: Store
    lease_s: float
    max_attempts: int
    shadow_fraction: float = 0.0
    retention_days: int | None = None
    """How long results have to be kept; without a value, for ever."""
    routine_waits_s: float = 3600.0
    """How long a routine read may wait before it goes with the urgent ones."""

    def enqueue(self, read: NewRead, who: str) -> ReadRow:
        """Accept a read; one that is already there under this id is returned as it stands."""
        with self.store.writing() as session:
            if there := session.get(ReadRow, read.id):
                return there
            row = _row(read)
            session.add(row)
            session.flush()
            AuditLog(session, row.site).append(who, "read_requested", read.id, _pinned(row))
            session.flush()
            return row

    def claim(self, owner: str) -> ClaimedRead | None:
        """Take the read whose turn it is (see `turns.py`) of those that nobody owns. None without any."""
        self.sweep(owner)
        with self.store.reading() as session:
            if session.scalars(select(ReadRow.id).where(UNOWNED).limit(1)).first() is None:
                return None
        with self.store.writing(alone=False) as session:
            row = next_read(session, self.routine_waits_s, self._without_hope())
            if row is None:
                return None
            row.state, row.owner, row.lease = ReadState.RUNNING.value, owner, steady_in(self.lease_s)
            row.epoch, row.attempts = row.epoch + 1, row.attempts + 1
            row.started = func.coalesce(ReadRow.started, utc_now())
            note_turn(session, row.site)
            session.flush()
            session.refresh(row)
            return ClaimedRead(row, owner, row.epoch)

    def sweep(self, who: str) -> list[str]:
        """End what nobody owns and nobody shall try again: cancelled, too late, or poison. Return the ids."""
        with self.store.reading() as session:
            if session.scalars(self._hopeless().limit(1)).first() is None:
                return []
        with self.store.writing() as session:
            rows = session.scalars(self._hopeless().with_for_update(skip_locked=True)).all()
            for row in rows:
                _end_with_error(session, row, who, self._why_hopeless(row))
            return [row.id for row in rows]

    def bind(self, claim: ClaimedRead, binding: Binding) -> None:
        """Note what checkpoints of each slide are made from: digests of slide and model, and the plan.

        Raises InputChanged where an earlier attempt worked on something else; never mix the two. Where files
        were only written to since, as when a second copy mended them, what was scored before is forgotten.
        """
        with self.store.writing(alone=False) as session:
            row = self._fenced(session, claim)
            if row.binding is not None and row.binding != binding:
                if not differ_in_stamps_only(row.binding, binding):
                    raise InputChanged("slide, model or plan is not what the read began with")
                checkpoints.forget_ranges(session, row.id)
            row.binding = dict(binding)

    def beat(self, claim: ClaimedRead, progress: Progress | None = None) -> bool:
        """Prolong the lease and note progress. True where a person asked to cancel.

        Raises LostLease, and ReadDeadlinePassed.
        """
        with self.store.writing(alone=False) as session:
            row = self._fenced(session, claim)
            if progress:
                _note(row, progress)
            _refuse_late(session, row)
            return row.cancel_requested

    def checkpointed(
        self,
        claim: ClaimedRead,
        slide_id: str,
        image: int,
        number: int,
        sha256: str,
        tiles: int,
        progress: Progress,
    ) -> bool:
        """Note a range whose file is durable, with progress and lease: one transaction. Else as `beat`."""
        scored = ScoredRange(slide_id, image, number, sha256, tiles)
        with self.store.writing(alone=False) as session:
            row = self._fenced(session, claim)
            if checkpoints.note_range(session, row.id, claim.epoch, scored):
                row.ranges_scored += 1
            _note(row, progress)
            _refuse_late(session, row)
            return row.cancel_requested

    def checkpoints_of(self, claim: ClaimedRead) -> Mapping[str, RangeDigests]:
        """Of every slide the ranges that are scored, with the digests that their files have to have."""
        with self.store.reading() as session:
            return checkpoints.digests_of(session, claim.read.id)

    def finish(self, claim: ClaimedRead, state: EndState, result: ReadResult) -> None:
        """End with a result: state, scan records, outbox and audit together, once. Raises LostLease."""
        with self.store.writing() as session:
            if _ended_so(session, claim, state):
                return
            row = self._fenced(session, claim)
            _link_scan_records(session, row)
            _end(session, row, claim.owner, state, result)
            keep(session, StoredKind.RESULT, row.id, result.files, self.retention_days)
            shadows.sample(session, row, self.shadow_fraction)

    def fail(self, claim: ClaimedRead, error: UltraReadError) -> None:
        """End without a result; ReadCancelled ends as `cancelled`. Raises LostLease."""
        with self.store.writing() as session:
            if not _ended_so(session, claim, _state_of(error), error.code):
                _end_with_error(session, self._fenced(session, claim), claim.owner, error)

    def pause(self, claim: ClaimedRead) -> None:
        """Leave the read to whoever comes after the lease: storage is out of reach, and no attempt counts."""
        with self.store.writing(alone=False) as session:
            row = self._fenced(session, claim)
            row.attempts = max(0, row.attempts - 1)

    def release(self, claim: ClaimedRead) -> None:
        """Give the read back at once: its owner is asked to stop, and no attempt counts."""
        with self.store.writing(alone=False) as session:
            row = self._fenced(session, claim)
            row.lease, row.attempts = LONG_AGO, max(0, row.attempts - 1)

    def request_cancel(self, read_id: str, who: str) -> ReadRow:
        """Cancel a queued read at once; ask the owner of a running one. An ended read stays as it is."""
        with self.store.writing() as session:
            row = session.get(ReadRow, read_id, with_for_update=True)
            if row is None:
                raise NotFound(f"no read {read_id}")
            if not ReadState(row.state).has_ended and not row.cancel_requested:
                row.cancel_requested = True
                AuditLog(session, row.site).append(who, "read_cancel_requested", read_id)
            if row.state == ReadState.QUEUED:
                _end_with_error(session, row, who, ReadCancelled("cancelled before it began"))
            session.flush()
            session.refresh(row)
            return row

    def _fenced(self, session: Session, claim: ClaimedRead) -> ReadRow:
        """Prolong the lease if it is still ours, and return the row, which stays ours in this transaction."""
        mine = update(ReadRow).where(
            ReadRow.id == claim.read.id, ReadRow.epoch == claim.epoch, ReadRow.state == ReadState.RUNNING
        )
        row = session.scalars(mine.values(lease=steady_in(self.lease_s)).returning(ReadRow)).one_or_none()
        if row is None:
            raise LostLease(f"read {claim.read.id} is no longer owned with epoch {claim.epoch}")
        return row

    def _hopeless(self) -> Select[ReadRow]:
        return select(ReadRow).where(UNOWNED, self._without_hope())

    def _without_hope(self) -> ColumnElement[bool]:
        return or_(ReadRow.cancel_requested, _is_late(), ReadRow.attempts >= self.max_attempts)

    def _why_hopeless(self, row: ReadRow) -> UltraReadError:
        if row.cancel_requested:
            return ReadCancelled("cancelled")
        if row.attempts >= self.max_attempts:
            return AttemptsExhausted(f"{row.attempts} attempts ended without progress")
        return _too_late(row)


def _row(read: NewRead) -> ReadRow:
    return ReadRow(
        id=read.id,
        case_id=read.case_id,
        slide_ids=list(read.slide_ids),
        slide_sha256s=list(read.slide_sha256s),
        model_name=read.model_name,
        model_version=read.model_version,
        model_onnx_sha256=read.model_onnx_sha256,
        model_card_sha256=read.model_card_sha256,
        request=read.request,
        priority=read.priority,
        finish_by=read.finish_by,
    )


def _pinned(row: ReadRow) -> Json:
    return {
        "slide_ids": row.slide_ids,
        "slide_sha256s": row.slide_sha256s,
        "model": f"{row.model_name}/{row.model_version}",
        "model_onnx_sha256": row.model_onnx_sha256,
        "request": row.request,
        "priority": row.priority,
        "finish_by": row.finish_by,
    }


def _note(row: ReadRow, progress: Progress) -> None:
    """Only what no attempt before had done is progress: a resumed read counts up from 0 again."""
    row.tiles_total = progress.tiles_total
    if progress.tiles_done > row.tiles_done:
        row.tiles_done, row.ranges_done, row.attempts = progress.tiles_done, progress.ranges_done, 0


def _is_late() -> ColumnElement[bool]:
    return and_(ReadRow.finish_by.is_not(None), ReadRow.finish_by < utc_now())


def _refuse_late(session: Session, row: ReadRow) -> None:
    if row.finish_by is not None and row.finish_by < (session.scalar(select(utc_now())) or ""):
        raise _too_late(row)


def _too_late(row: ReadRow) -> ReadDeadlinePassed:
    return ReadDeadlinePassed(f"{row.tiles_done} of {row.tiles_total} tiles were read by {row.finish_by}")


def _ended_so(session: Session, claim: ClaimedRead, state: ReadState, error_code: str | None = None) -> bool:
    """Did this owner end the read like this, and lose the answer that told it?"""
    columns = (ReadRow.epoch, ReadRow.state, ReadRow.error_code)
    found = session.execute(select(*columns).where(ReadRow.id == claim.read.id)).one_or_none()
    return found is not None and tuple(found) == (claim.epoch, state.value, error_code)


def _link_scan_records(session: Session, row: ReadRow) -> None:
    link = update(ScanRecordRow).where(ScanRecordRow.slide_id.in_(row.slide_ids)).values(
        read_id=row.id, model_name=row.model_name, model_version=row.model_version,
        model_onnx_sha256=row.model_onnx_sha256, mlflow_run_id=None,
    )  # fmt: skip
    session.execute(link)


def _end(session: Session, row: ReadRow, who: str, state: ReadState, result: ReadResult) -> None:
    row.state, row.lease, row.ended = state.value, None, utc_now()
    READS_ENDED.add(state=state.value, code=row.error_code or "")
    checkpoints.forget_ranges(session, row.id)
    outbox.put(session, row.id, {"params": dict(result.params), "metrics": dict(result.metrics)})
    announce(session, row)
    AuditLog(session, row.site).append(
        who, "read_ended", row.id, {"state": state.value, "error_code": row.error_code}
    )


def _end_with_error(session: Session, row: ReadRow, who: str, error: UltraReadError) -> None:
    row.error_code, row.error_what, row.error_remedy = error.code, error.what, error.remedy
    _end(session, row, who, _state_of(error), ReadResult())


def _state_of(error: UltraReadError) -> ReadState:
    return ReadState.CANCELLED if isinstance(error, ReadCancelled) else ReadState.FAILED
