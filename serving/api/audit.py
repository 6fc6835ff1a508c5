"""The audit trail of the principal's site."""

import json
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy import select

from ultraread.serving.api.bodies import AuditEvent, Page
from ultraread.serving.api.records import Limit
from ultraread.serving.api.service import InService
from ultraread.serving.audit.export import exported
from ultraread.serving.audit.trail import DatabaseTrail
from ultraread.serving.store.audit import AuditLog, event_of
from ultraread.serving.store.clock import utc_now

router = APIRouter(tags=["audit"])

Asked = Annotated[str | None, Query(max_length=200)]
IN_MEMORY = 2**20
"""Bytes of an export; what is more waits in a temporary file."""
PIECE_BYTES = 2**16
UTC_TIME = r"^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?Z?)?$"


@router.get("/v1/audit")
def list_audit_events(
    service: InService,
    cursor: Annotated[int, Query(ge=0, le=2**63 - 1, description="Events after this sequence number.")] = 0,
    limit: Limit = 50,
    subject: Asked = None,
    who: Asked = None,
    what: Asked = None,
    since: Annotated[str | None, Query(pattern=UTC_TIME, description="ISO 8601, in UTC.")] = None,
) -> Page[AuditEvent]:
    """What was done, by whom, oldest first."""
    with service.store.reading() as session:
        rows = AuditLog(session, service.principal.site).list(cursor, limit + 1, subject, who, what, since)
    items = [AuditEvent.model_validate(event_of(row)) for row in rows[:limit]]
    return Page[AuditEvent](items=items, next_cursor=str(items[-1].sequence) if len(rows) > limit else None)


@router.get("/v1/audit/export", response_class=StreamingResponse)
def export_audit_trail(service: InService) -> StreamingResponse:
    """The whole trail as JSON lines with its checkpoints: `ultraread audit verify FILE` holds it together."""
    site = service.principal.site
    with service.store.writing() as session:
        AuditLog(session, site).append(service.who, "audit_exported", site)
    file = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  # closed when it is sent
    with service.store.reading() as session:
        now = session.execute(select(utc_now())).scalar_one()
        file.writelines(
            f"{json.dumps(line)}\n".encode() for line in exported(DatabaseTrail(session, site), now)
        )
    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return StreamingResponse(_sent(file), media_type="application/jsonl", headers=headers)


def _sent(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while piece := file.read(PIECE_BYTES):
            yield piece
