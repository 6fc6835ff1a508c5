"""What is kept with its digests: slides, results and scan records, and until when."""

import hashlib
import json
from collections.abc import Sequence

import rfc8785
from sqlalchemy import and_, insert, select, update
from sqlalchemy.orm import Session

from ultraread.errors import NotFound, StorageExpired
from ultraread.serving.store.clock import steady_now, utc_in, utc_now
from ultraread.serving.store.stored_name import stored_name
from ultraread.serving.store.tables import (
    CopyPlace,
    CopyRow,
    CopyState,
    Json,
    ScanRecordRow,
    SlideRow,
    StoredKind,
    StoredRow,
)

DAY_S = 86400.0
RECORD_SCHEMA_VERSION = "1"
SLIDE_TOLD = ("sha256", "bytes", "format", "files", "images", "looks", "identity")
"""Columns of a slide that its record shows, or that decide what is painted over: kept with the record."""


def keep(
    session: Session, kind: StoredKind, stored_id: str, files: Sequence[Json], days: int | None = None
) -> None:
    """Note what was just stored, whole and with confirmed digests; `days` is how long it has to be kept."""
    until = None if days is None else utc_in(days * DAY_S)
    row = {"kind": kind.value, "id": stored_id, "retain_until": until, **_told(files)}
    session.execute(insert(StoredRow).values(row))
    copy = {"kind": kind.value, "id": stored_id, "place": CopyPlace.FIRST.value, "checked": utc_now()}
    session.execute(insert(CopyRow).values(state=CopyState.GOOD.value, **copy))


def keep_changed_records(session: Session, _context: object = None) -> None:
    """After a flush: digest every scan record that came or changed; its copies are to be made anew."""
    for row in [*session.new, *session.dirty]:
        if isinstance(row, ScanRecordRow):
            keep_record(session, row)


def keep_record(session: Session, row: ScanRecordRow) -> None:
    """Note the record's digest as it is now."""
    file = record_file(session, row)
    told = _told([file])
    mine = and_(StoredRow.kind == StoredKind.RECORD.value, StoredRow.id == row.id)
    before = session.connection().execute(select(StoredRow.sha256).where(mine)).scalar_one_or_none()
    if before is None:
        keep(session, StoredKind.RECORD, row.id, [file])
    elif before != told["sha256"]:
        session.execute(update(StoredRow).where(mine).values(told))
        ours = and_(CopyRow.kind == StoredKind.RECORD.value, CopyRow.id == row.id)
        again = {"state": CopyState.WAITING.value, "due": steady_now(), "attempts": 0}
        session.execute(update(CopyRow).where(ours, CopyRow.place == CopyPlace.SECOND.value).values(again))


def record_bytes(session: Session, row: ScanRecordRow) -> bytes:
    """The record as it is copied and digested: canonical JSON (RFC 8785) that carries its own digest."""
    body = {name: getattr(row, name) for name in ("id", "case_id", "slide_id", "revision", "record")}
    body |= {"slide": slide_told(session, row.slide_id)}
    body = json.loads(json.dumps({"schema_version": RECORD_SCHEMA_VERSION, **body}))
    digest = hashlib.sha256(rfc8785.dumps(body)).hexdigest()
    return rfc8785.dumps({**body, "digest": digest})


def slide_told(session: Session, slide_id: str) -> Json:
    """What the record's slide tells, and what of it is masked; without the names that its files had.

    Read past the session's objects: what the database holds is what counts.
    """
    columns = (getattr(SlideRow, name) for name in SLIDE_TOLD)
    found = session.connection().execute(select(*columns).where(SlideRow.id == slide_id)).mappings().one()
    return {**found, "files": nameless(found["files"])}


def nameless(files: Sequence[Json]) -> list[Json]:
    """[{name, sha256, bytes}] with the names by which the files are kept: their own may identify somebody."""
    return [{**file, "name": stored_name(n, file["name"])} for n, file in enumerate(files)]


def record_file(session: Session, row: ScanRecordRow) -> Json:
    data = record_bytes(session, row)
    name = f"{row.id}/{row.revision}.json"
    return {"name": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def find_stored(session: Session, kind: StoredKind, stored_id: str) -> StoredRow:
    """Raises NotFound."""
    row = session.get(StoredRow, (kind.value, stored_id))
    if row is None:
        raise NotFound(f"nothing is stored of {kind} {stored_id}")
    return row


def refuse_expired(session: Session, kind: StoredKind, stored_id: str) -> None:
    """Raise StorageExpired where the files were removed by the retention rule."""
    row = session.get(StoredRow, (kind.value, stored_id))
    if row is not None and row.expired is not None:
        raise StorageExpired(f"{kind} {stored_id} was removed at {row.expired['at']}: {row.expired['why']}")


def expired_among(session: Session, kind: StoredKind, ids: Sequence[str]) -> set[str]:
    """Those of which the retention rule removed the files."""
    these = and_(StoredRow.kind == kind.value, StoredRow.id.in_(ids))
    return set(session.scalars(select(StoredRow.id).where(these, StoredRow.expired.is_not(None))))


def all_stored(session: Session) -> Sequence[StoredRow]:
    """All that is kept and not expired, the oldest first."""
    query = select(StoredRow).where(StoredRow.expired.is_(None))
    return session.scalars(query.order_by(StoredRow.kind, StoredRow.id)).all()


def _told(files: Sequence[Json]) -> Json:
    listed = "".join(f"{digest}\n" for digest in sorted(file["sha256"] for file in files))
    return {
        "files": list(files),
        "sha256": hashlib.sha256(listed.encode()).hexdigest(),
        "bytes": sum(file["bytes"] for file in files),
    }
