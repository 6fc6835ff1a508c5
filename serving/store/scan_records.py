"""Scan records as they are kept: one JSON that people fill, a revision, and what slide and read tell."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ultraread.datasets.scan_record.changes import differences
from ultraread.datasets.scan_record.links import check_links
from ultraread.datasets.scan_record.record import (
    FiledFile,
    FiledImage,
    FromFile,
    KeptRecord,
    ScanRecord,
    StoredCopy,
)
from ultraread.errors import PreconditionFailed
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.copies import copies_of
from ultraread.serving.store.records import find
from ultraread.serving.store.tables import ScanRecordRow, SlideRow, StoredKind, StoredRow

Alter = Callable[[KeptRecord], KeptRecord]
"""Returns the record as it shall be; the same one where nothing changes. Raises what refuses the change."""


def record_shown(session: Session, row: ScanRecordRow) -> ScanRecord:
    """The whole record: what is kept of it, and what its slide tells."""
    return ScanRecord(
        **_kept_parts(row),
        id=row.id,
        case_id=row.case_id,
        slide_id=row.slide_id,
        revision=row.revision,
        from_file=_from_file(session.get_one(SlideRow, row.slide_id)),
        storage=_storage(session, row.slide_id),
    )


def records_beside(session: Session, row: ScanRecordRow) -> list[ScanRecord]:
    """All records of the row's case, itself included, oldest first; without a case it is alone."""
    if row.case_id is None:
        return [record_shown(session, row)]
    return records_of_case(session, row.case_id)


def records_of_case(session: Session, case_id: str) -> list[ScanRecord]:
    """All records of a case, oldest first."""
    query = select(ScanRecordRow).where(ScanRecordRow.case_id == case_id).order_by(ScanRecordRow.id)
    return [record_shown(session, row) for row in session.scalars(query)]


def change_record(
    session: Session, record_id: str, seen: int | None, who: str, what: str, alter: Alter
) -> ScanRecordRow:
    """Change the record in this transaction, with old and new values in the audit trail.

    `seen` is the revision that the change is made for. Raises NotFound, PreconditionFailed where the record
    has another revision, LinkInvalid, and what `alter` raises.
    """
    row = find(session, ScanRecordRow, record_id)
    if seen not in {None, row.revision}:
        raise PreconditionFailed(f"scan record {record_id} has revision {row.revision}, not {seen}")
    before = KeptRecord.model_validate(row.record)
    after = alter(before)
    if after is before:
        return row
    row.record, row.revision = after.as_json(), row.revision + 1
    session.flush()
    check_links(records_beside(session, row))
    detail = {"revision": row.revision, "changed": differences(before, after)}
    AuditLog(session).append(who, what, record_id, detail)
    return row


def _kept_parts(row: ScanRecordRow) -> dict[str, Any]:
    kept = KeptRecord.model_validate(row.record)
    return {name: getattr(kept, name) for name in KeptRecord.model_fields}


def _from_file(slide: SlideRow) -> FromFile:
    return FromFile(
        format=slide.format,
        sha256=slide.sha256,
        files=tuple(FiledFile.model_validate(file) for file in slide.files),
        image_count=len(slide.images),
        images=tuple(FiledImage.model_validate(image) for image in slide.images),
    )


def _storage(session: Session, slide_id: str) -> tuple[StoredCopy, ...] | None:
    """The copies of the slide; None where the store knows of none."""
    stored = session.get(StoredRow, (StoredKind.SLIDE.value, slide_id))
    if stored is None:
        return None
    return tuple(
        StoredCopy.model_validate(
            {
                "place": copy.place,
                "address_sha256": copy.address or None,
                "sha256": stored.sha256,
                "state": copy.state,
                "checked": copy.checked,
            }
        )
        for copy in copies_of(session, stored)
    )
