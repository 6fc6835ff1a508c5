"""Filing: a slide, its scan record and the audit event come together or not at all."""

import pytest
from filed import file_a_slide
from sqlalchemy import func, select

from ultraread.errors import CaseExists, NotFound
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.engine import Store
from ultraread.serving.store.records import file_case, find, page, slides_of_case
from ultraread.serving.store.tables import ReadRow, ScanRecordRow, SlideRow


def test_filing_a_slide_makes_its_scan_record_and_an_audit_event(store: Store) -> None:
    slide_id = file_a_slide(store)
    with store.reading() as session:
        record = session.scalars(select(ScanRecordRow)).one()
        assert record.slide_id == find(session, SlideRow, slide_id).id
        (event,) = AuditLog(session).list()
    assert (event.what, event.subject) == ("slide_filed", record.id)


def test_a_slide_of_an_unknown_case_is_not_filed(store: Store) -> None:
    with pytest.raises(NotFound):
        file_a_slide(store, case_id="nobody's")
    with store.reading() as session:
        assert session.scalar(select(func.count()).select_from(SlideRow)) == 0


def test_a_case_is_opened_once_and_knows_its_slides(store: Store) -> None:
    with store.writing() as session:
        file_case(session, "case-1", "a test")
    slides = [file_a_slide(store, "case-1"), file_a_slide(store, "case-1")]
    file_a_slide(store)
    with store.reading() as session:
        assert [slide.id for slide in slides_of_case(session, "case-1")] == slides
    with pytest.raises(CaseExists), store.writing() as session:
        file_case(session, "case-1", "a test")


def test_pages_show_every_row_once_newest_first(store: Store) -> None:
    filed = [file_a_slide(store) for _ in range(5)]
    seen: list[str] = []
    cursor = None
    with store.reading() as session:
        while True:
            part = page(session, SlideRow, cursor, limit=2)
            seen += [row.id for row in part.rows]
            if (cursor := part.next_cursor) is None:
                break
    assert seen == filed[::-1]


def test_an_unknown_row_is_said_to_be_unknown(store: Store) -> None:
    with store.reading() as session, pytest.raises(NotFound, match="no read r-1"):
        find(session, ReadRow, "r-1")
