"""Reads: request, look, cancel, follow."""

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from ultraread.serving.api.bodies import NewRead, Page, Read, read_shown
from ultraread.serving.api.following import DESCRIBED, EventStream, InWatch
from ultraread.serving.api.once import Once
from ultraread.serving.api.records import Cursor, Limit
from ultraread.serving.api.requesting import request_read
from ultraread.serving.api.service import InService, Service
from ultraread.serving.store.idempotency import Answer
from ultraread.serving.store.records import find, page
from ultraread.serving.store.tables import ReadRow

router = APIRouter(tags=["reads"])


@router.post("/v1/reads", status_code=202, response_model=Read)
def request(wanted: NewRead, service: InService, once: Once) -> JSONResponse:
    """Ask for a read. What is not safe to read is refused with its code; the records stay."""

    def create(read_id: str) -> Answer:
        row = request_read(service, wanted, read_id)
        return Answer(202, f"/v1/reads/{row.id}", read_shown(row).model_dump(mode="json"))

    return once(wanted, create)


@router.get("/v1/reads")
def list_reads(service: InService, cursor: Cursor = None, limit: Limit = 50) -> Page[Read]:
    """Reads, newest first."""
    with service.store.reading() as session:
        found = page(session, ReadRow, cursor, limit)
    return Page[Read](items=[read_shown(row) for row in found.rows], next_cursor=found.next_cursor)


@router.get("/v1/reads/{read_id}")
def show_read(read_id: str, service: InService) -> Read:
    """One read and how far it is."""
    return _read(service, read_id)


@router.post("/v1/reads/{read_id}/cancel", status_code=202)
def cancel(read_id: str, service: InService) -> Read:
    """Stop a read: at once while queued, at its next heartbeat while running. An ended one stays as it is."""
    return read_shown(service.jobs.request_cancel(read_id, service.who))


@router.get("/v1/reads/{read_id}/events", response_class=EventStream, status_code=200, responses=DESCRIBED)
async def follow(read_id: str, service: InService, watch: InWatch) -> EventStream:
    """Server-sent events: `progress` whenever the read changes, then one `end`; the data is the read.

    A stream that ends without `end` was open for too long, or the service stops: ask again.
    """
    read = await run_in_threadpool(_read, service, read_id)  # an unknown one is a 404, not an empty stream
    return watch.stream(read, service.principal)


def _read(service: Service, read_id: str) -> Read:
    with service.store.reading() as session:
        return read_shown(find(session, ReadRow, read_id))
