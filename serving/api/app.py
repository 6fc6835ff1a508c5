"""The HTTP application: routes over the store. It scores nothing; the runner finds queued reads by itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI

from ultraread.serving.access.browsers import Browsers
from ultraread.serving.access.entrance import Entrance
from ultraread.serving.access.oidc import Provider
from ultraread.serving.api import (
    audit,
    calibrations,
    models,
    operation,
    reads,
    records,
    scan_records,
    session,
    tiles,
    tokens,
    uploads,
    webhooks,
)
from ultraread.serving.api.described import describe_problems
from ultraread.serving.api.edge import Edge
from ultraread.serving.api.entry import Entry
from ultraread.serving.api.following import ReadWatch
from ultraread.serving.api.gate import Gate, refuse_routes_without_rows, through_the_gate
from ultraread.serving.api.problems import PROBLEM_RESPONSES, answer_failures_with_problems
from ultraread.serving.api.requests import Requests
from ultraread.serving.api.results import results_router
from ultraread.serving.api.root_task import a_root_task
from ultraread.serving.api.service import open_service
from ultraread.serving.api.session import rules_of
from ultraread.serving.api.trailing import Trail
from ultraread.serving.insecure import refuse_insecure
from ultraread.serving.limits.rates import Rates
from ultraread.serving.readiness import Readiness
from ultraread.serving.settings import Settings
from ultraread.serving.viewing.open_slides import OpenSlides
from ultraread.serving.viewing.viewer import Viewer


def create_api(settings: Settings) -> FastAPI:
    """Open the store and build the application. Raises what keeps the service from starting."""
    refuse_insecure(settings)
    service = open_service(settings)
    viewer = Viewer(OpenSlides(service.decoding.keep_open))

    @asynccontextmanager
    async def closing_what_is_open(_app: FastAPI) -> AsyncIterator[None]:
        service.presence.begin()
        async with a_root_task():
            yield
        service.presence.leave()
        viewer.close()
        service.decoding.close()
        service.store.close()

    app = FastAPI(
        title="UltraRead",
        version=version("ultraread"),
        description="AI-assisted second read of electron-microscopy slides. Research use only.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=closing_what_is_open,
        responses=PROBLEM_RESPONSES,
        dependencies=[Depends(through_the_gate)],
    )
    app.state.service = service
    app.state.readiness = Readiness(settings, service.store, service.decoding)
    app.state.entrance = Entrance(service.store)
    app.state.browsers = Browsers(service.store, rules_of(settings))
    app.state.provider = Provider(settings) if settings.oidc_issuer else None
    app.state.viewer = viewer
    app.state.watch = ReadWatch(settings, service.store)
    rates = Rates(settings)
    app.add_middleware(Entry, rates=rates)
    app.add_middleware(Gate, entrance=app.state.entrance, browsers=app.state.browsers)
    app.add_middleware(Trail, store=service.store)
    app.add_middleware(Edge, proxied_hosts=settings.proxied_hosts, limits=settings, rates=rates)
    app.add_middleware(Requests)
    answer_failures_with_problems(app)
    filing = (uploads, records, calibrations, scan_records)
    access = (session, tokens, webhooks)
    for routes in (*filing, tiles, reads, models, audit, *access, operation):
        app.include_router(routes.router)
    app.include_router(results_router())
    describe_problems(app)
    refuse_routes_without_rows(app)
    return app
