"""Slides and cases."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from ultraread.errors import CaseExists
from ultraread.serving.api.bodies import Case, FiledSlide, NewCase, NewSlide, Page, Slide, slide_shown
from ultraread.serving.api.filing import file_stated
from ultraread.serving.api.once import Once
from ultraread.serving.api.service import InService
from ultraread.serving.store.idempotency import Answer
from ultraread.serving.store.records import (
    file_case,
    find,
    page,
    scan_record_of,
    slides_of_case,
)
from ultraread.serving.store.tables import CaseRow, SlideRow

Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=200)]
Limit = Annotated[int, Query(ge=1, le=500)]

THERE_ALREADY: dict[int | str, dict[str, Any]] = {
    200: {"model": FiledSlide, "description": "The slide that the case has already."}
}

router = APIRouter(tags=["records"])


@router.post("/v1/slides", status_code=201, response_model=FiledSlide, responses=THERE_ALREADY)
def file_slide(stated: NewSlide, service: InService, once: Once) -> JSONResponse:
    """File uploads as one slide, with a scan record. What is no image is refused and not kept.

    What the case has already is not filed again: the answer is the slide that is there, as it was filed.
    """

    def create(slide_id: str) -> Answer:
        with service.store.reading() as session:
            record = scan_record_of(session, slide_id)
        record = record or file_stated(service, stated, slide_id)
        with service.store.reading() as session:
            slide = slide_shown(find(session, SlideRow, record.slide_id))
        filed = FiledSlide(**slide.model_dump(), scan_record_id=record.id)
        status = 201 if slide.id == slide_id else 200
        return Answer(status, f"/v1/slides/{slide.id}", filed.model_dump(mode="json"))

    return once(stated, create)


@router.get("/v1/slides")
def list_slides(service: InService, cursor: Cursor = None, limit: Limit = 50) -> Page[Slide]:
    """Slides, newest first."""
    with service.store.reading() as session:
        found = page(session, SlideRow, cursor, limit)
    return Page[Slide](items=[slide_shown(row) for row in found.rows], next_cursor=found.next_cursor)


@router.get("/v1/slides/{slide_id}")
def show_slide(slide_id: str, service: InService) -> Slide:
    """One slide."""
    with service.store.reading() as session:
        return slide_shown(find(session, SlideRow, slide_id))


@router.post("/v1/cases", status_code=201, response_model=Case)
def open_case(stated: NewCase, service: InService, once: Once) -> JSONResponse:
    """Open a case, under your id or a new one."""

    def create(new_id: str) -> Answer:
        with service.store.writing() as session:
            case = _case(session, file_case(session, stated.id or new_id, service.who))
        return _opened(case)

    def resume(new_id: str) -> Answer:
        try:
            return create(new_id)
        except CaseExists:
            return _opened(show_case(stated.id or new_id, service))

    return once(stated, create, resume)


@router.get("/v1/cases")
def list_cases(service: InService, cursor: Cursor = None, limit: Limit = 50) -> Page[Case]:
    """Cases, by id from the last."""
    with service.store.reading() as session:
        found = page(session, CaseRow, cursor, limit)
        items = [_case(session, row) for row in found.rows]
    return Page[Case](items=items, next_cursor=found.next_cursor)


@router.get("/v1/cases/{case_id}")
def show_case(case_id: str, service: InService) -> Case:
    """One case and its slides."""
    with service.store.reading() as session:
        return _case(session, find(session, CaseRow, case_id))


def _opened(case: Case) -> Answer:
    return Answer(201, f"/v1/cases/{case.id}", case.model_dump(mode="json"))


def _case(session: Session, row: CaseRow) -> Case:
    slides = slides_of_case(session, row.id)
    return Case(id=row.id, slide_ids=[slide.id for slide in slides], created=row.created)
