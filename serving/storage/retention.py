"""What may be removed when its time is over, and what an order keeps whatever the rule says.

Records are never removed, and of what is, digests, time and reason stay in the store as its tombstone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import String, and_, cast, or_, select, update
from sqlalchemy.orm import Session

from ultraread.errors import NotFound, RequestInvalid
from ultraread.serving.storage.house import House, files_of
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.blocks import drop_blocks
from ultraread.serving.store.clock import utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.scope import site_of
from ultraread.serving.store.stored import find_stored
from ultraread.serving.store.tables import (
    CaseRow,
    CopyPlace,
    CopyRow,
    CopyState,
    ReadRow,
    ReadState,
    ScanRecordRow,
    SlideRow,
    StoredKind,
    StoredRow,
)

RULE = "its retention is over"


@dataclass(frozen=True, slots=True)
class Expiry:
    """Something whose time is over: what it is, how large, since when."""

    kind: str
    id: str
    bytes: int
    retain_until: str


def due(session: Session) -> list[Expiry]:
    """What may be removed now: past its time, not held, and no read waits for it."""
    past = and_(StoredRow.retain_until < utc_now(), StoredRow.expired.is_(None))
    rows = session.scalars(select(StoredRow).where(past).order_by(StoredRow.kind, StoredRow.id)).all()
    free = (row for row in rows if not _is_held(session, row) and not _is_needed(session, row))
    return [Expiry(row.kind, row.id, row.bytes, row.retain_until or "") for row in free]


def expire(house: House, who: str) -> list[Expiry]:
    """Remove what is due from every place; return it. What a run that died left behind is removed too."""
    with house.store.writing() as session:
        expired = due(session)
        for one in expired:
            _bury(session, one, who)
    _remove_buried(house)
    return expired


def hold(store: Store, subject_id: str, who: str, why: str) -> list[str]:
    """Keep a slide, record, read or case until it is released; return the ids of the slides and reads.

    Raises NotFound; RequestInvalid without a reason.
    """
    if not why.strip():
        raise RequestInvalid("a hold without a reason", "Say who ordered it and why with --why.")
    with store.writing() as session:
        rows = _of_subject(session, subject_id)
        for row in rows:
            since = session.scalar(select(utc_now()))
            row.legal_hold = {"who": who, "why": why, "since": since}
        AuditLog(session).append(who, "legal_hold_set", subject_id, {"why": why, "on": _ids(rows)})
        return _ids(rows)


def release(store: Store, subject_id: str, who: str, why: str = "") -> list[str]:
    """End the hold on a slide, record, read or case; return the ids that it was lifted from."""
    with store.writing() as session:
        rows = [row for row in _of_subject(session, subject_id) if row.legal_hold]
        for row in rows:
            row.legal_hold = None
        AuditLog(session).append(who, "legal_hold_released", subject_id, {"why": why, "on": _ids(rows)})
        return _ids(rows)


def _bury(session: Session, one: Expiry, who: str) -> None:
    row = find_stored(session, StoredKind(one.kind), one.id)
    at = session.scalar(select(utc_now()))
    row.expired = {"who": who, "why": RULE, "at": at}
    if one.kind == StoredKind.SLIDE:
        drop_blocks(session, one.id)
    told = {"kind": one.kind, "sha256": row.sha256, "files": [file["sha256"] for file in row.files]}
    AuditLog(session).append(who, f"{one.kind}_expired", one.id, told | {"retain_until": one.retain_until})


def _remove_buried(house: House) -> None:
    """Files first, then the note that they are gone: what dies between is done again."""
    some_files = or_(CopyRow.state != CopyState.GONE.value, cast(CopyRow.damaged, String) != "[]")
    left = and_(StoredRow.expired.is_not(None), some_files)
    same = and_(StoredRow.kind == CopyRow.kind, StoredRow.id == CopyRow.id)
    with house.store.reading() as session:
        found = session.execute(select(StoredRow, CopyRow).join(CopyRow, same).where(left)).all()
    for stored, copy in found:
        if not house.holds(copy):
            continue
        target = house.target(stored.kind, CopyPlace(copy.place))
        for file in files_of(stored):
            target.remove(file.name)
        mine = (CopyRow.kind == copy.kind, CopyRow.id == copy.id, CopyRow.place == copy.place)
        with house.store.writing() as session:
            session.execute(update(CopyRow).where(*mine).values(state=CopyState.GONE.value, damaged=[]))


def _is_held(session: Session, row: StoredRow) -> bool:
    """A result is held with any of its slides."""
    if row.legal_hold is not None or row.kind != StoredKind.RESULT:
        return row.legal_hold is not None
    slides = session.get_one(ReadRow, row.id).slide_ids
    return any(one.legal_hold is not None for one in _slides(session, slides))


def _is_needed(session: Session, row: StoredRow) -> bool:
    """Whether a read that has not ended is of this slide."""
    open_states = [ReadState.QUEUED.value, ReadState.RUNNING.value]
    slides = session.scalars(select(ReadRow.slide_ids).where(ReadRow.state.in_(open_states)))
    return row.kind == StoredKind.SLIDE and any(row.id in ids for ids in slides)


def _of_subject(session: Session, subject_id: str) -> list[StoredRow]:
    """What an id stands for. Raises NotFound."""
    if read := session.get(ReadRow, subject_id):
        result = session.get(StoredRow, (StoredKind.RESULT.value, read.id))
        return [*([result] if result else []), *_slides(session, read.slide_ids)]
    if slides := _slide_ids(session, subject_id):
        return list(_slides(session, slides))
    raise NotFound(f"no slide, record, read or case with slides {subject_id}")


def _slide_ids(session: Session, subject_id: str) -> list[str]:
    if session.get(SlideRow, subject_id):
        return [subject_id]
    if record := session.get(ScanRecordRow, subject_id):
        return [record.slide_id]
    if session.get(CaseRow, (site_of(session), subject_id)):
        of_case = select(ScanRecordRow.slide_id).where(ScanRecordRow.case_id == subject_id)
        return list(session.scalars(of_case.order_by(ScanRecordRow.id)))
    return []


def _slides(session: Session, slide_ids: list[str]) -> Iterator[StoredRow]:
    for slide_id in slide_ids:
        yield find_stored(session, StoredKind.SLIDE, slide_id)


def _ids(rows: list[StoredRow]) -> list[str]:
    return [row.id for row in rows]
