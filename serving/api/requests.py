"""The layer around all others: every request has an id, which its answer and log lines carry, and is counted.

A line tells the template of the route (`/v1/reads/{read_id}`), never the address: ids stay out of it.
"""

import logging
import re
import time
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars, get_contextvars

from ultraread.errors import AuthRequired
from ultraread.serving import metrics
from ultraread.serving.api.gate import Asked, asked_of
from ultraread.serving.store.ids import new_id

REQUEST_ID = "X-Request-Id"
_TAKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""An id that a caller may choose: nothing that could end a line or a header."""
NO_ROUTE = "none"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds, by machines."""

log = logging.getLogger(__name__)


class Requests:
    """ASGI middleware: id in, id out, one line and one count a request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _id_of(Headers(scope=scope))
        answer = _Answer(send, request_id)
        began = time.monotonic()
        with bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, answer)
            finally:
                _tell(scope, answer.status, time.monotonic() - began)


def instance() -> str:
    """What a problem document calls this occurrence; empty outside of a request."""
    request_id = get_contextvars().get("request_id")
    return f"urn:ultraread:request:{request_id}" if request_id else ""


class _Answer:
    """Passes an answer on with the request's id; `status` 499 stands for one that never began."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._id = send, request_id
        self.status = 499

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID] = self._id
        await self._send(message)


def _id_of(headers: Headers) -> str:
    given = headers.get(REQUEST_ID, "")
    return given if _TAKEN.fullmatch(given) else new_id()


def _tell(scope: Scope, status: int, seconds: float) -> None:
    asked = _asked(scope)
    route = asked.operation.path if asked else getattr(scope.get("route"), "path", NO_ROUTE)
    method = scope["method"] if scope["method"] in METHODS else "other"
    told = {"method": method, "route": route, "status": status, "ms": round(1000 * seconds, 1)}
    if asked and asked.principal:
        told |= {"who": asked.principal.who, "site": asked.principal.site}
    metrics.REQUESTS.observe(seconds, method=method, route=route, status=str(status))
    log.log(logging.DEBUG if route in QUIET else logging.INFO, "request", extra=told)


def _asked(scope: Scope) -> Asked | None:
    with suppress(AuthRequired):
        return asked_of(Request(scope))
    return None
