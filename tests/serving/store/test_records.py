"""Filing: a slide, its scan record and the audit event come together or not at all."""

import pytest
from filed import A_DIGEST, file_a_slide
from sqlalchemy import func, select

from ultraread.errors import CaseExists, NotFound
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.engine import Store
from ultraread.serving.store.records import (
    file_case,
    find,
    page,
    record_in_case,
    slides_of_case,
)
from ultraread.serving.store.stored_name import stored_name
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


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("Doe^Jane.TIF", "3.tif"),
        ("Doe.Jane", "3.jane"),
        ("a.ome.tiff", "3.tiff"),
        ("Jane Doe", "3"),
        ("a.born 1950", "3"),
        ("a.tif\u00e9", "3"),
        ("a.longsuffix", "3"),
        (".tif", "3"),
        ("a.", "3"),
    ],
)
def test_a_file_is_stored_under_its_number_and_a_short_suffix(name: str, stored: str) -> None:
    assert stored_name(3, name) == stored


def test_a_case_knows_the_first_slide_of_the_same_bytes(store: Store) -> None:
    with store.writing() as session:
        for case in ("case-1", "case-2"):
            file_case(session, case, "a test")
    first, _ = file_a_slide(store, "case-1"), file_a_slide(store, "case-1")
    with store.reading() as session:
        record = record_in_case(session, "case-1", A_DIGEST)
        assert record is not None
        assert record.slide_id == first
        assert record_in_case(session, "case-2", A_DIGEST) is None
        assert record_in_case(session, "case-1", "b" * 64) is None
