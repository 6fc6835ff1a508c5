"""The HTTP application: routes over the store. It scores nothing; the runner finds queued reads by itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from ultraread.serving.api import (
    calibrations,
    models,
    operation,
    reads,
    records,
    scan_records,
    tiles,
    uploads,
)
from ultraread.serving.api.edge import Edge
from ultraread.serving.api.problems import PROBLEM_RESPONSES, answer_failures_with_problems
from ultraread.serving.api.results import results_router
from ultraread.serving.api.service import open_service
from ultraread.serving.settings import Settings
from ultraread.serving.viewing.viewer import Viewer


def create_api(settings: Settings) -> FastAPI:
    """Open the store and build the application. Raises what keeps the service from starting."""
    service = open_service(settings)
    viewer = Viewer()

    @asynccontextmanager
    async def closing_what_is_open(_app: FastAPI) -> AsyncIterator[None]:
        yield
        viewer.close()
        service.store.close()

    app = FastAPI(
        title="UltraRead",
        version=version("ultraread"),
        description="AI-assisted second read of electron-microscopy slides. Research use only.",
        openapi_url="/v1/openapi.json",
        docs_url="/v1/docs",
        redoc_url=None,
        lifespan=closing_what_is_open,
        responses=PROBLEM_RESPONSES,
    )
    app.state.service = service
    app.state.viewer = viewer
    app.add_middleware(Edge, proxied_hosts=settings.proxied_hosts)
    answer_failures_with_problems(app)
    for routes in (uploads, records, calibrations, scan_records, tiles, reads, models, operation):
        app.include_router(routes.router)
    app.include_router(results_router())
    return app
