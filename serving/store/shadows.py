"""Reads that a shadow version repeats: which ones, and how far that is. No route looks here."""

import hashlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ultraread.models.promotion import Alias
from ultraread.serving.store import outbox, versions
from ultraread.serving.store.clock import utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import ReadRow, ReadState, ShadowReadRow, ShadowState

MAX_ATTEMPTS = 3
"""A repetition that dies so often is failed: it must not keep others waiting."""
_OPEN = (ShadowState.WAITING, ShadowState.RUNNING)


def sample(session: Session, read: ReadRow, fraction: float) -> None:
    """Note, in the transaction that ends a read, that the shadow shall repeat it, if the lot falls on it."""
    version = versions.version_at(session, read.model_name, Alias.SHADOW)
    if version in (None, read.model_version) or not is_sampled(read.id, fraction):
        return
    row = versions.find_version(session, read.model_name, version or "")
    session.add(
        ShadowReadRow(
            read_id=read.id,
            model_name=row.name,
            model_version=row.version,
            model_onnx_sha256=row.onnx_sha256,
            state=ShadowState.WAITING.value,
        )
    )


def is_sampled(read_id: str, fraction: float) -> bool:
    """The lot: a hash of the id, so that it can be drawn again and nobody can choose."""
    drawn = int.from_bytes(hashlib.sha256(read_id.encode()).digest()[:8]) / 2**64
    return drawn < fraction


def is_idle(store: Store) -> bool:
    """Does no read wait or run?"""
    going = select(ReadRow.id).where(ReadRow.state.in_([ReadState.QUEUED, ReadState.RUNNING]))
    with store.reading() as session:
        return session.scalars(going.limit(1)).first() is None


def take(store: Store) -> ShadowReadRow | None:
    """The oldest open one, running from now on: one process works on them, so an interrupted one is open."""
    oldest = select(ShadowReadRow).where(ShadowReadRow.state.in_(_OPEN)).order_by(ShadowReadRow.read_id)
    with store.reading() as session:
        if session.scalars(oldest.limit(1)).first() is None:
            return None
    with store.writing() as session:
        row = session.scalars(oldest.limit(1)).first()
        if row is not None:
            row.state, row.attempts = ShadowState.RUNNING.value, row.attempts + 1
        return row


def put_back(store: Store, row: ShadowReadRow, counts: bool) -> None:
    """Let it wait again; an attempt that gave way does not count."""
    with store.writing() as session:
        there = session.get_one(ShadowReadRow, row.read_id)
        there.state = ShadowState.WAITING.value
        there.attempts -= not counts


def end(
    store: Store, row: ShadowReadRow, state: ShadowState, error: str | None, told: Mapping[str, Any] | None
) -> None:
    """It is over; what MLflow has to be told goes into the outbox with it."""
    with store.writing() as session:
        there = session.get_one(ShadowReadRow, row.read_id)
        there.state, there.error, there.ended = state.value, error, utc_now()
        if told is not None:
            outbox.put(session, row.read_id, told, outbox.SHADOW_RUN)
