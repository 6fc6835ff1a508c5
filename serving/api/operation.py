"""Whether the service is well."""

from fastapi import APIRouter
from sqlalchemy import text

from ultraread.serving.api.service import WholeService

router = APIRouter(tags=["operation"])


@router.get("/healthz")
def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readiness(service: WholeService) -> dict[str, str]:
    """The database answers too."""
    with service.store.reading() as session:
        session.execute(text("SELECT 1"))
    return {"status": "ok"}
