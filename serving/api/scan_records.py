"""Scan records: look, change what people state, review, ask, and what they support."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from ultraread.datasets.billing.support import BillingSupport, support_of
from ultraread.datasets.plain_text import Line, Text
from ultraread.datasets.scan_record.changes import answered, consulted, patched, reviewed
from ultraread.datasets.scan_record.links import linked_regions
from ultraread.datasets.scan_record.record import AnswerGiven, Consultation, QualityReview
from ultraread.datasets.scan_record.statement import Flag
from ultraread.serving.api.bodies import Body as Request
from ultraread.serving.api.bodies import Page, ShownScanRecord
from ultraread.serving.api.once import Once
from ultraread.serving.api.preconditions import SeenRevision, etag
from ultraread.serving.api.records import Cursor, Limit
from ultraread.serving.api.service import InService
from ultraread.serving.store.idempotency import Answer
from ultraread.serving.store.records import find, page
from ultraread.serving.store.scan_records import (
    change_record,
    record_shown,
    records_beside,
    records_of_case,
)
from ultraread.serving.store.tables import CaseRow, ScanRecordRow

MERGE_PATCH = "application/merge-patch+json"

Patch = Annotated[dict[str, Any], Body(media_type=MERGE_PATCH, description="RFC 7396; null takes away.")]

router = APIRouter(tags=["scan records"])


class NewReview(Request):
    """Whether the record and its images are complete and accurate."""

    who: Line
    complete: Flag
    why: Text


class NewConsultation(Request):
    """Somebody is asked for an opinion, or for more work."""

    kind: Literal["consultation", "further_analysis"] = "consultation"
    asked_by: Line
    asked_of: Line
    question: Text


class NewAnswer(Request):
    """The answer to a consultation."""

    who: Line
    text: Text


class _SeenReview(NewReview):
    """A review with the revision that it is of: another revision is another request."""

    revision: int


class LinkedRegionShown(Request):
    """A linked region, the grid cut of it, and the fields that show it."""

    slide_id: str
    image: int
    box_px: dict[str, int]
    grid_id: str | None
    fields: list[dict[str, Any]]


@router.get("/v1/scan-records")
def list_scan_records(service: InService, cursor: Cursor = None, limit: Limit = 50) -> Page[ShownScanRecord]:
    """Scan records, newest first."""
    with service.store.reading() as session:
        found = page(session, ScanRecordRow, cursor, limit)
        items = [_shown(session, row) for row in found.rows]
    return Page[ShownScanRecord](items=items, next_cursor=found.next_cursor)


@router.get("/v1/scan-records/{record_id}")
def show_scan_record(record_id: str, service: InService, response: Response) -> ShownScanRecord:
    """One scan record, with the model version and MLflow run of its last read; `ETag` is its revision."""
    with service.store.reading() as session:
        row = find(session, ScanRecordRow, record_id)
        response.headers["ETag"] = etag(row.revision)
        return _shown(session, row)


@router.patch("/v1/scan-records/{record_id}")
def change_scan_record(
    record_id: str, patch: Patch, seen: SeenRevision, service: InService, response: Response
) -> ShownScanRecord:
    """Change what people state by a merge patch. A record that is changed after its review has none."""
    with service.store.writing() as session:
        row = change_record(
            session,
            record_id,
            seen,
            service.who,
            "scan_record_changed",
            lambda record: patched(record, patch),
        )
        response.headers["ETag"] = etag(row.revision)
        return _shown(session, row)


@router.post("/v1/scan-records/{record_id}/quality-review", status_code=201, response_model=ShownScanRecord)
def review_scan_record(
    record_id: str, stated: NewReview, seen: SeenRevision, service: InService, once: Once
) -> JSONResponse:
    """Sign the revision that If-Match names as complete and accurate, or as not."""

    def create(_new_id: str) -> Answer:
        review = QualityReview(**stated.model_dump(), at=datetime.now(UTC), revision=seen)
        with service.store.writing() as session:
            row = change_record(
                session,
                record_id,
                seen,
                service.who,
                "scan_record_reviewed",
                lambda record: reviewed(record, review),
            )
            return _answer(session, row)

    def resume(new_id: str) -> Answer:
        with service.store.reading() as session:
            row = find(session, ScanRecordRow, record_id)
            if _is_of(record_shown(session, row).quality_review, stated, seen):
                return _answer(session, row)
        return create(new_id)

    return once(_SeenReview(**stated.model_dump(), revision=seen), create, resume)


@router.post("/v1/scan-records/{record_id}/consultations", status_code=201, response_model=ShownScanRecord)
def consult(record_id: str, stated: NewConsultation, service: InService, once: Once) -> JSONResponse:
    """Note who was asked what."""

    def create(new_id: str) -> Answer:
        asked = Consultation(**stated.model_dump(), id=new_id, at=datetime.now(UTC))
        with service.store.writing() as session:
            row = change_record(
                session,
                record_id,
                None,
                service.who,
                "consultation_asked",
                lambda record: consulted(record, asked),
            )
            return _answer(session, row)

    return once(stated, create)


@router.post(
    "/v1/scan-records/{record_id}/consultations/{consultation_id}/answer",
    status_code=201,
    response_model=ShownScanRecord,
)
def answer_consultation(
    record_id: str, consultation_id: str, stated: NewAnswer, service: InService, once: Once
) -> JSONResponse:
    """Note the answer, once."""

    def create(_new_id: str) -> Answer:
        answer = AnswerGiven(**stated.model_dump(), at=datetime.now(UTC))
        with service.store.writing() as session:
            row = change_record(
                session, record_id, None, service.who, "consultation_answered",
                lambda record: answered(record, consultation_id, answer),
            )  # fmt: skip
            return _answer(session, row)

    return once(stated, create)


@router.get("/v1/scan-records/{record_id}/billing-support")
def billing_support(record_id: str, service: InService) -> BillingSupport:
    """What the record supports, rule by rule, with sources. A coder decides."""
    with service.store.reading() as session:
        row = find(session, ScanRecordRow, record_id)
        return support_of(record_shown(session, row), records_beside(session, row))


@router.get("/v1/cases/{case_id}/links")
def links_of_case(case_id: str, service: InService) -> Sequence[LinkedRegionShown]:
    """Regions of the case's slides, the grids cut of them, and the fields that show them."""
    with service.store.reading() as session:
        find(session, CaseRow, case_id)
        found = linked_regions(records_of_case(session, case_id))
    return [
        LinkedRegionShown(
            slide_id=one.slide_id,
            image=one.image,
            box_px={"x": one.box.x, "y": one.box.y, "width": one.box.width, "height": one.box.height},
            grid_id=one.grid_id,
            fields=[{"slide_id": slide_id, "image": image} for slide_id, image in one.fields],
        )
        for one in found
    ]


def _shown(session: Session, row: ScanRecordRow) -> ShownScanRecord:
    record = record_shown(session, row)
    own = ShownScanRecord.model_fields.keys() - record.__class__.model_fields.keys()
    return ShownScanRecord(**dict(record), **{name: getattr(row, name) for name in own})


def _is_of(review: QualityReview | None, stated: NewReview, seen: int) -> bool:
    """Whether a request that died left this review behind."""
    wanted = {**stated.model_dump(), "revision": seen}
    return review is not None and review.model_dump(exclude={"at"}) == wanted


def _answer(session: Session, row: ScanRecordRow) -> Answer:
    return Answer(201, f"/v1/scan-records/{row.id}", _shown(session, row).as_json())
