"""Durable reads: a row with a lease. Whoever claims a read raises its epoch, and every later write names the
epoch that it was claimed with, so that an owner who slept past the lease can change nothing any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from ultraread.errors import AttemptsExhausted, InputChanged, NotFound, ReadCancelled, UltraReadError
from ultraread.serving.store import outbox, shadows
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.clock import utc_in, utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.stored import keep
from ultraread.serving.store.tables import Json, ReadRow, ReadState, ScanRecordRow, StoredKind

_UNOWNED = or_(
    ReadRow.state == ReadState.QUEUED, and_(ReadRow.state == ReadState.RUNNING, ReadRow.lease < utc_now())
)


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
        """Take the oldest read that nobody owns, or whose owner fell silent. None where there is none."""
        oldest = select(ReadRow.id).where(_UNOWNED).order_by(ReadRow.id).limit(1).scalar_subquery()
        take = update(ReadRow).where(ReadRow.id == oldest).values(
            state=ReadState.RUNNING.value, owner=owner, lease=utc_in(self.lease_s), epoch=ReadRow.epoch + 1,
            attempts=ReadRow.attempts + 1, started=func.coalesce(ReadRow.started, utc_now()),
        )  # fmt: skip
        with self.store.writing() as session:
            self._end_hopeless(session, owner)
            row = session.scalars(take.returning(ReadRow)).one_or_none()
            return ClaimedRead(row, owner, row.epoch) if row else None

    def bind(self, claim: ClaimedRead, binding: Json) -> None:
        """Note what checkpoints are made from: digests of slides and model, parameters of the plan.

        Raises InputChanged where an earlier attempt worked on something else; never mix the two.
        """
        with self.store.writing() as session:
            row = self._fenced(session, claim)
            if row.binding not in (None, binding):
                raise InputChanged("slide, model or plan is not what the read began with")
            row.binding = binding

    def beat(self, claim: ClaimedRead, progress: Progress | None = None) -> bool:
        """Prolong the lease and note progress. True where a person asked to cancel. Raises LostLease."""
        with self.store.writing() as session:
            row = self._fenced(session, claim)
            if progress:
                _note(row, progress)
            return row.cancel_requested

    def finish(self, claim: ClaimedRead, state: EndState, result: ReadResult) -> None:
        """End with a result: state, scan records, outbox and audit together, once. Raises LostLease."""
        with self.store.writing() as session:
            row = self._fenced(session, claim)
            _link_scan_records(session, row)
            _end(session, row, claim.owner, state, result)
            keep(session, StoredKind.RESULT, row.id, result.files, self.retention_days)
            shadows.sample(session, row, self.shadow_fraction)

    def fail(self, claim: ClaimedRead, error: UltraReadError) -> None:
        """End without a result; ReadCancelled ends as `cancelled`. Raises LostLease."""
        with self.store.writing() as session:
            _end_with_error(session, self._fenced(session, claim), claim.owner, error)

    def pause(self, claim: ClaimedRead) -> None:
        """Leave the read to whoever comes after the lease: storage is out of reach, and no attempt counts."""
        with self.store.writing() as session:
            row = self._fenced(session, claim)
            row.attempts = max(0, row.attempts - 1)

    def request_cancel(self, read_id: str, who: str) -> ReadRow:
        """Cancel a queued read at once; ask the owner of a running one. An ended read stays as it is."""
        with self.store.writing() as session:
            row = session.get(ReadRow, read_id)
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
        row = session.scalars(mine.values(lease=utc_in(self.lease_s)).returning(ReadRow)).one_or_none()
        if row is None:
            raise LostLease(f"read {claim.read.id} is no longer owned with epoch {claim.epoch}")
        return row

    def _end_hopeless(self, session: Session, who: str) -> None:
        """End reads that nobody owns and nobody should try again: cancelled, or poison."""
        hopeless = or_(ReadRow.cancel_requested, ReadRow.attempts >= self.max_attempts)
        for row in session.scalars(select(ReadRow).where(_UNOWNED, hopeless)):
            tries = f"{row.attempts} attempts ended without progress"
            error = ReadCancelled("cancelled") if row.cancel_requested else AttemptsExhausted(tries)
            _end_with_error(session, row, who, error)
        session.flush()


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
    )


def _pinned(row: ReadRow) -> Json:
    return {
        "slide_ids": row.slide_ids,
        "slide_sha256s": row.slide_sha256s,
        "model": f"{row.model_name}/{row.model_version}",
        "model_onnx_sha256": row.model_onnx_sha256,
        "request": row.request,
    }


def _note(row: ReadRow, progress: Progress) -> None:
    """Only what no attempt before had done is progress: a resumed read counts up from 0 again."""
    row.tiles_total = progress.tiles_total
    if progress.tiles_done > row.tiles_done:
        row.tiles_done, row.ranges_done, row.attempts = progress.tiles_done, progress.ranges_done, 0


def _link_scan_records(session: Session, row: ReadRow) -> None:
    link = update(ScanRecordRow).where(ScanRecordRow.slide_id.in_(row.slide_ids)).values(
        read_id=row.id, model_name=row.model_name, model_version=row.model_version,
        model_onnx_sha256=row.model_onnx_sha256, mlflow_run_id=None,
    )  # fmt: skip
    session.execute(link)


def _end(session: Session, row: ReadRow, who: str, state: ReadState, result: ReadResult) -> None:
    row.state, row.lease, row.ended = state.value, None, utc_now()
    outbox.put(session, row.id, {"params": dict(result.params), "metrics": dict(result.metrics)})
    AuditLog(session, row.site).append(
        who, "read_ended", row.id, {"state": state.value, "error_code": row.error_code}
    )


def _end_with_error(session: Session, row: ReadRow, who: str, error: UltraReadError) -> None:
    row.error_code, row.error_what, row.error_remedy = error.code, error.what, error.remedy
    state = ReadState.CANCELLED if isinstance(error, ReadCancelled) else ReadState.FAILED
    _end(session, row, who, state, ReadResult())
