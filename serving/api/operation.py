"""Whether the service is well, and what it counts."""

from typing import Literal, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from ultraread.serving.api.service import WholeService
from ultraread.serving.exposition import exposition
from ultraread.serving.readiness import Look, Readiness

router = APIRouter(tags=["operation"])


class CheckShown(BaseModel):
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "failing"]
    told: str = Field(description="What is wrong; empty where nothing is.")
    remedy: str = Field(description="What the operator can do; docs/guides/operate.md tells more.")


class ReadinessShown(BaseModel):
    """Whether the service can do its work now."""

    status: Literal["ok", "failing", "draining"]
    checks: list[CheckShown]


@router.get("/healthz")
async def health() -> dict[str, str]:
    """The process answers; it needs no thread for that, which others may all have."""
    return {"status": "ok"}


@router.get("/readyz", response_model=ReadinessShown, responses={503: {"model": ReadinessShown}})
def readiness(request: Request) -> JSONResponse:
    """Whether reads can be taken and will be done; 503 where not, with every check that fails."""
    looks = cast(Readiness, request.app.state.readiness).looks()
    shown = ReadinessShown(status=_status(looks), checks=[_shown(look) for look in looks])
    return JSONResponse(shown.model_dump(), 200 if shown.status == "ok" else 503)


@router.get("/metrics", response_class=Response)
def metrics(service: WholeService) -> Response:
    """What Prometheus scrapes: of the whole installation, whichever process is asked."""
    return Response(exposition(service.settings, service.store), media_type=CONTENT_TYPE_LATEST)


def _status(looks: list[Look]) -> Literal["ok", "failing", "draining"]:
    failing = [look.name for look in looks if not look.ok]
    if "draining" in failing:
        return "draining"
    return "failing" if failing else "ok"


def _shown(look: Look) -> CheckShown:
    return CheckShown(name=look.name, state=_state(look), told=look.told, remedy=look.remedy)


def _state(look: Look) -> Literal["ok", "failing"]:
    return "ok" if look.ok else "failing"
