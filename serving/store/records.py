"""What is filed: cases, slides and their scan records; and lists of rows, paged by cursor."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from ultraread.datasets.scan_record.record import KeptRecord
from ultraread.datasets.scan_record.statement import Statement
from ultraread.errors import CaseExists, NotFound
from ultraread.serving.store.access_tables import TokenRow, UserRow
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.blocks import keep_blocks
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.scope import site_of
from ultraread.serving.store.stored import expired_among
from ultraread.serving.store.tables import CaseRow, Json, ReadRow, ScanRecordRow, SlideRow, StoredKind

Row = TypeVar("Row", CaseRow, SlideRow, ScanRecordRow, ReadRow, TokenRow, UserRow)

_WORDS = {
    CaseRow: "case",
    SlideRow: "slide",
    ScanRecordRow: "scan record",
    ReadRow: "read",
    TokenRow: "token",
    UserRow: "user",
}


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows, the largest id (the newest) first; `next_cursor` is empty on the last page."""

    rows: Sequence[Row]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class NewSlide:
    """An opened and digested slide, and what the one who files it says about it."""

    id: str
    sha256: str
    format: str
    files: tuple[Json, ...]
    images: tuple[Json, ...]
    case_id: str | None = None
    stated: Statement = field(default_factory=Statement)
    identity: Json | None = None
    looks: tuple[Json, ...] = ()
    blocks: bytes = b""
    """Digests of the files' blocks, one after the other; empty where nobody took them."""


def file_case(session: Session, case_id: str, who: str) -> CaseRow:
    """Open a case. Raises CaseExists where the id is taken."""
    if session.get(CaseRow, (site_of(session), case_id)):
        raise CaseExists(f"there is a case {case_id}")
    row = CaseRow(id=case_id)
    session.add(row)
    AuditLog(session).append(who, "case_opened", case_id)
    session.flush()
    return row


def file_slide(session: Session, slide: NewSlide, who: str) -> ScanRecordRow:
    """File a slide and its scan record. Raises NotFound where the case is unknown."""
    if slide.case_id is not None:
        find(session, CaseRow, slide.case_id)
    session.add(_slide_row(slide))
    session.flush()  # before what refers to it
    if slide.blocks:
        keep_blocks(session, slide.id, site_of(session), slide.blocks)
    record = _scan_record_row(slide)
    session.add(record)
    AuditLog(session).append(who, "slide_filed", record.id, _audited(slide))
    session.flush()
    return record


def find(session: Session, table: type[Row], row_id: str) -> Row:
    """Return the row. Raises NotFound."""
    key = (site_of(session), row_id) if table is CaseRow else row_id
    row = session.get(table, key)
    if row is None:
        raise NotFound(f"no {_WORDS[table]} {row_id}")
    return row


def find_all(session: Session, table: type[Row], ids: Sequence[str]) -> list[Row]:
    """Return the rows in the order of `ids`. Raises NotFound for the first that is missing."""
    return [find(session, table, row_id) for row_id in ids]


def page(session: Session, table: type[Row], cursor: str | None, limit: int) -> Page[Row]:
    """Return the rows that follow `cursor`, at most `limit`."""
    query = select(table).order_by(table.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(table.id < cursor)
    rows = session.scalars(query).all()
    return Page(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)


def slides_of_case(session: Session, case_id: str) -> list[SlideRow]:
    """The case's slides in the order in which they were filed. Raises NotFound where the case is unknown."""
    find(session, CaseRow, case_id)
    of_case = select(ScanRecordRow.slide_id).where(ScanRecordRow.case_id == case_id)
    return list(session.scalars(select(SlideRow).where(SlideRow.id.in_(of_case)).order_by(SlideRow.id)))


def record_in_case(session: Session, case_id: str, slide_sha256: str) -> ScanRecordRow | None:
    """The record that a slide of these bytes was first filed with in the case; not one that has expired."""
    query = (
        select(ScanRecordRow)
        .join(SlideRow, SlideRow.id == ScanRecordRow.slide_id)
        .where(ScanRecordRow.case_id == case_id, SlideRow.sha256 == slide_sha256)
        .order_by(SlideRow.id)
    )
    found = session.scalars(query).all()
    expired = expired_among(session, StoredKind.SLIDE, [record.slide_id for record in found])
    return next((record for record in found if record.slide_id not in expired), None)


def specimens_of(session: Session, slide_ids: Sequence[str]) -> list[str]:
    """What the slides' records state as specimen; an empty text where one states none."""
    records = session.scalars(select(ScanRecordRow).where(ScanRecordRow.slide_id.in_(slide_ids)))
    return [record.record.get("specimen") or "" for record in records]


def pinned_specimens(session: Session, read: ReadRow) -> list[str]:
    """The specimens that were stated when the read was asked for: a record may be changed since."""
    pinned: list[str] | None = read.request.get("specimens")
    return specimens_of(session, read.slide_ids) if pinned is None else pinned


def scan_record_of(session: Session, slide_id: str) -> ScanRecordRow | None:
    """The record that a slide was filed with."""
    return session.scalars(select(ScanRecordRow).where(ScanRecordRow.slide_id == slide_id)).first()


def _audited(slide: NewSlide) -> Json:
    """Ids, digests, and under which policy: names and finds stay in the row."""
    policy = {name: (slide.identity or {}).get(name) for name in ("policy", "reason")}
    return {"slide_id": slide.id, "slide_sha256": slide.sha256, "identity": policy}


def _slide_row(slide: NewSlide) -> SlideRow:
    return SlideRow(
        id=slide.id,
        sha256=slide.sha256,
        bytes=sum(file["bytes"] for file in slide.files),
        format=slide.format,
        files=list(slide.files),
        images=list(slide.images),
        identity=slide.identity,
        looks=list(slide.looks),
    )


def _scan_record_row(slide: NewSlide) -> ScanRecordRow:
    return ScanRecordRow(
        id=new_id(),
        case_id=slide.case_id,
        slide_id=slide.id,
        record=KeptRecord(**dict(slide.stated)).as_json(),
    )
