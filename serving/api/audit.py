"""The audit trail of the principal's site."""

from typing import Annotated

from fastapi import APIRouter, Query

from ultraread.serving.api.bodies import AuditEvent, Page
from ultraread.serving.api.records import Limit
from ultraread.serving.api.service import InService
from ultraread.serving.store.audit import AuditLog, event_of

router = APIRouter(tags=["audit"])

Asked = Annotated[str | None, Query(max_length=200)]
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
