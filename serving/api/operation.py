"""The audit trail, and whether the service is well."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import text

from ultraread.serving.api.bodies import AuditEvent, Page
from ultraread.serving.api.records import Limit
from ultraread.serving.api.service import InService
from ultraread.serving.store.audit import AuditLog

router = APIRouter(tags=["operation"])


@router.get("/v1/audit")
def list_audit_events(
    service: InService,
    cursor: Annotated[int, Query(ge=0, le=2**63 - 1, description="Events after this sequence number.")] = 0,
    limit: Limit = 50,
    subject: Annotated[str | None, Query(max_length=64)] = None,
) -> Page[AuditEvent]:
    """What was done, by whom, oldest first."""
    with service.store.reading() as session:
        rows = AuditLog(session).list(cursor, limit + 1, subject)
    items = [AuditEvent.model_validate(row) for row in rows[:limit]]
    return Page[AuditEvent](items=items, next_cursor=str(items[-1].sequence) if len(rows) > limit else None)


@router.get("/healthz")
def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readiness(service: InService) -> dict[str, str]:
    """The database answers too."""
    with service.store.reading() as session:
        session.execute(text("SELECT 1"))
    return {"status": "ok"}
