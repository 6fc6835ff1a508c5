"""How much waits, and for how long: what readiness and metrics ask the store. Every query is over an index or
over what is still open, so that asking costs the same after years.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from ultraread.serving.store.audit_tables import AuditCheckpointRow, AuditHeadRow
from ultraread.serving.store.clock import LONG_AGO, steady_now, utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import (
    CopyRow,
    CopyState,
    OutboxRow,
    ReadRow,
    ReadState,
    StoredRow,
    UploadRow,
)

WEBHOOK = "webhook"
"""What rows of all subscriptions count as: their ids are no business of a dashboard."""


_EXPIRED = (
    select(CopyRow.place, func.count())
    .join(StoredRow, and_(StoredRow.kind == CopyRow.kind, StoredRow.id == CopyRow.id))
    .where(CopyRow.state == CopyState.GONE.value, StoredRow.expired.is_not(None))
    .group_by(CopyRow.place)
)
"""Copies that are gone as they should be."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Rows of the outbox of one kind that are not sent nor given up; `failed` of them were tried in vain."""

    count: int
    failed: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What waits now, in the whole installation."""

    reads: Mapping[tuple[str, str], int]
    """By state and priority, those that have not ended."""
    oldest_queued_s: float
    outbox: Mapping[str, Waiting]
    uploads: int
    upload_bytes: int
    copies: Mapping[tuple[str, str], int]
    """By place and state."""
    audit_events: int
    unsigned_s: float
    """How long the oldest chain with events that no checkpoint covers had none; 0 where all are covered."""


def facts_of(session: Session) -> Facts:
    """Ask for everything in one view."""
    now = clock_of(session)
    uploads, upload_bytes = session.execute(
        select(func.count(), func.coalesce(func.sum(UploadRow.received), 0)).select_from(UploadRow)
    ).one()
    return Facts(
        reads=_reads(session),
        oldest_queued_s=_oldest_queued_s(session, now),
        outbox=waiting(session, now),
        uploads=uploads,
        upload_bytes=int(upload_bytes),
        copies=_copies(session),
        audit_events=int(session.scalar(select(func.coalesce(func.sum(AuditHeadRow.sequence), 0))) or 0),
        unsigned_s=_unsigned_s(session, now),
    )


def clock_of(session: Session) -> datetime:
    """Now, by the database's wall clock."""
    return _moment(session.scalars(select(utc_now())).one())


def waiting(session: Session, now: datetime) -> dict[str, Waiting]:
    """What other systems have not been told, by kind."""
    found: dict[str, Waiting] = {}
    since = func.coalesce(OutboxRow.again, ReadRow.ended)
    unsent = select(OutboxRow.kind, OutboxRow.error, since).join(ReadRow, ReadRow.id == OutboxRow.read_id)
    for kind, error, begun in session.execute(
        unsent.where(OutboxRow.sent.is_(None), OutboxRow.given_up.is_(None))
    ):
        shown = WEBHOOK if kind.startswith(WEBHOOK) else kind
        so_far = found.get(shown, Waiting(0, 0, 0.0))
        age_s = (now - _moment(begun)).total_seconds() if begun else 0.0
        failed = so_far.failed + (error is not None)
        found[shown] = Waiting(so_far.count + 1, failed, max(so_far.oldest_s, age_s))
    return found


def held(store: Store) -> int:
    """How many reads some runner holds the lease of."""
    leased = select(func.count()).select_from(ReadRow).where(
        ReadRow.state == ReadState.RUNNING, ReadRow.lease >= steady_now()
    )  # fmt: skip
    with store.reading() as session:
        return session.scalar(leased) or 0


def _reads(session: Session) -> dict[tuple[str, str], int]:
    open_states = [state.value for state in ReadState if not state.has_ended]
    query = select(ReadRow.state, ReadRow.priority, func.count()).where(ReadRow.state.in_(open_states))
    rows = session.execute(query.group_by(ReadRow.state, ReadRow.priority))
    return {(state, priority): count for state, priority, count in rows}


def _oldest_queued_s(session: Session, now: datetime) -> float:
    oldest = session.scalar(select(func.min(ReadRow.created)).where(ReadRow.state == ReadState.QUEUED))
    return max(0.0, (now - _moment(oldest)).total_seconds()) if oldest else 0.0


def _copies(session: Session) -> dict[tuple[str, str], int]:
    query = select(CopyRow.place, CopyRow.state, func.count()).group_by(CopyRow.place, CopyRow.state)
    found = {(place, state): count for place, state, count in session.execute(query)}
    for place, expired in session.execute(_EXPIRED):
        found[place, CopyState.GONE.value] -= expired
    return found


def _unsigned_s(session: Session, now: datetime) -> float:
    signed = (
        select(AuditCheckpointRow.site, func.max(AuditCheckpointRow.sequence).label("upto"),
               func.max(AuditCheckpointRow.at).label("at"))
        .group_by(AuditCheckpointRow.site).subquery()
    )  # fmt: skip
    heads = select(AuditHeadRow.sequence, signed.c.upto, signed.c.at).outerjoin(
        signed, signed.c.site == AuditHeadRow.site
    )
    ages = [
        (now - _moment(at)).total_seconds() if at else 0.0
        for sequence, upto, at in session.execute(heads)
        if sequence > (upto or 0)
    ]
    return max(0.0, *ages, 0.0)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text or LONG_AGO).astimezone(UTC)
