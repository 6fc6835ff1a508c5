"""Calibration records: bring in, list."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError

from ultraread.datasets.calibration import CalibrationRecord, checked_calibrations, read_calibrations
from ultraread.errors import CalibrationInvalid, UploadTooLarge
from ultraread.serving.api.bodies import Page, Shown
from ultraread.serving.api.once import AnswerOnce, Once
from ultraread.serving.api.records import Limit
from ultraread.serving.api.service import InService, Service
from ultraread.serving.store.calibrations import Numbered, import_calibrations, page_of_calibrations
from ultraread.serving.store.idempotency import Answer

MAX_BYTES = 2**20
CSV = "text/csv"


class Calibration(Shown):
    """One record; `sequence` counts those of the site, and a read names the last one that it could use."""

    sequence: int
    record: CalibrationRecord
    created: str


class Imported(Shown):
    """Every record that was sent, as it is kept: those that were there already too."""

    items: list[Calibration]


class NewCalibrations(BaseModel):
    """Records as JSON; as text/csv the same columns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    records: tuple[dict[str, Any], ...]


router = APIRouter(tags=["records"])
TAKEN = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["records"],
                    "properties": {
                        "records": {"type": "array", "items": CalibrationRecord.model_json_schema()}
                    },
                }
            },
            CSV: {"schema": {"type": "string"}},
        },
    }
}


async def _sent(request: Request) -> tuple[CalibrationRecord, ...]:
    """Raises CalibrationInvalid, by row; UploadTooLarge."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BYTES:
            raise UploadTooLarge(
                f"calibration records of more than {MAX_BYTES} bytes", "Send them in several requests."
            )
    is_csv = request.headers.get("content-type", "").partition(";")[0].strip().lower() == CSV
    return await run_in_threadpool(_of_csv if is_csv else _of_json, bytes(body))


Sent = Annotated[tuple[CalibrationRecord, ...], Depends(_sent)]


@router.post("/v1/calibrations", status_code=201, response_model=Imported, openapi_extra=TAKEN)
def bring_in(records: Sent, service: InService, once: Once) -> JSONResponse:
    """Add calibration records, all or none. A record that is there already stays as it is."""
    return _answered(records, service, once)


@router.get("/v1/calibrations")
def list_calibrations(
    service: InService,
    cursor: Annotated[int, Query(ge=0, le=2**63 - 1, description="Records after this one.")] = 0,
    limit: Limit = 50,
) -> Page[Calibration]:
    """Calibration records in the order in which they came."""
    with service.store.reading() as session:
        rows = page_of_calibrations(session, cursor, limit + 1)
    items = [_one(row) for row in rows[:limit]]
    return Page[Calibration](items=items, next_cursor=str(items[-1].sequence) if len(rows) > limit else None)


def _answered(records: tuple[CalibrationRecord, ...], service: Service, once: AnswerOnce) -> JSONResponse:
    def create(_new_id: str) -> Answer:
        with service.store.writing() as session:
            rows = import_calibrations(session, records, service.who)
        return Answer(201, "/v1/calibrations", _shown(rows).model_dump(mode="json"))

    return once(NewCalibrations(records=tuple(each.model_dump(mode="json") for each in records)), create)


def _shown(rows: list[Numbered]) -> Imported:
    return Imported(items=[_one(row) for row in rows])


def _one(kept: Numbered) -> Calibration:
    record = CalibrationRecord.model_validate(kept.row.record)
    return Calibration(sequence=kept.number, record=record, created=kept.row.created)


def _of_csv(body: bytes) -> tuple[CalibrationRecord, ...]:
    try:
        return read_calibrations(body.decode("utf-8-sig"))
    except UnicodeDecodeError as failure:
        raise CalibrationInvalid("the records are not in UTF-8") from failure


def _of_json(body: bytes) -> tuple[CalibrationRecord, ...]:
    try:
        return checked_calibrations(NewCalibrations.model_validate_json(body).records)
    except ValidationError as failure:
        raise CalibrationInvalid(
            "the body is not {records: [...]} in JSON", "Send JSON, or CSV as text/csv."
        ) from failure
