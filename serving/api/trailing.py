"""Around the gate: whoever is shown patient data, or is refused, is noted in the audit trail."""

import json
from functools import partial
from typing import Any

from fastapi.concurrency import run_in_threadpool
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ultraread.errors import AuthCsrf, AuthForbidden, AuthInvalid, AuthRequired
from ultraread.serving.access.principal import PRINCIPAL, Principal
from ultraread.serving.access.routes import TABLE, Operation, RouteTable
from ultraread.serving.api.gate import asked_in
from ultraread.serving.audit.refusals import Refusal, Refusals
from ultraread.serving.audit.views import VIEWS, View, Viewings
from ultraread.serving.store.engine import Store

NOT_MODIFIED = 304
REFUSALS = {401, 403}
NO_ROUTE, NO_CODE = "no route", "none"


class Trail:
    """ASGI middleware. What the trail cannot take is not shown: the answer is that of the trail's failure."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self._app = app
        self._viewings, self._refusals = Viewings(store), Refusals(store)
        self._table = RouteTable(TABLE)
        self._patterns = {view: compile_path(view.path)[0] for view in VIEWS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, partial(self._received, receive), send)
            return
        answer = _Answer(self, scope, send)
        try:
            await self._app(scope, receive, answer)
        except (AuthRequired, AuthInvalid, AuthForbidden, AuthCsrf) as refused:
            await self.refuse(scope, refused.code)
            raise
        if answer.failure is not None:
            raise answer.failure

    async def _received(self, receive: Receive) -> Message:
        """At the stop of the service, while the store is still open, what was only counted is written."""
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await run_in_threadpool(self._refusals.close)
        return message

    def view_of(self, scope: Scope) -> tuple[Principal, View, str, Operation] | None:
        """Who sees what of whom, where an answer to this request shows patient data."""
        asked = asked_in(scope)
        if asked is None or asked.principal is None or asked.operation not in VIEWS:
            return None
        view, found = VIEWS[asked.operation], self._patterns[asked.operation].match(scope["path"])
        subject = view.subject.format(**found.groupdict()) if found else view.subject
        if "{identifier}" in asked.operation.path:  # {slide id}-{number of the image}
            subject = subject.rpartition("-")[0]
        return asked.principal, view, subject, asked.operation

    async def note(self, scope: Scope, body: bytes) -> None:
        """Raises Unavailable or StorageFull where the trail does not take it."""
        seen = self.view_of(scope)
        if seen is None:
            return
        principal, view, subject, operation = seen
        if not self._viewings.is_noted(principal, view, subject):
            detail = {"ids": _ids_in(body)} if view.is_list else {"route": operation.path}
            await run_in_threadpool(self._viewings.note, principal, view, subject, detail)

    async def refuse(self, scope: Scope, code: str) -> None:
        """Note that somebody was."""
        rows = self._table.rows_of(scope["method"], scope["path"])
        route = rows[0][0].path if rows else NO_ROUTE
        principal = scope.get(PRINCIPAL)
        who = (principal.who, principal.site) if isinstance(principal, Principal) else ()
        await run_in_threadpool(self._refusals.note, Refusal(route, scope["method"], code, *who))


class _Answer:
    """Passes an answer on once the trail says who got it; of lists, only when the whole is there."""

    def __init__(self, trail: Trail, scope: Scope, send: Send) -> None:
        self._trail, self._scope, self._send = trail, scope, send
        self._held: list[Message] = []
        self._holds = self._refuses = False
        self.failure: Exception | None = None
        """Raised by the middleware itself: an error inside of `send` would look like the route's."""

    async def __call__(self, message: Message) -> None:
        if self.failure:
            return
        if message["type"] == "http.response.start":
            self._holds, self._refuses = self._is_shown(message["status"]), message["status"] in REFUSALS
        elif self._refuses:
            self._refuses = False
            await self._trail.refuse(self._scope, _code_in(message.get("body", b"")))
        if not self._holds:
            await self._send(message)
            return
        self._held.append(message)
        seen = self._trail.view_of(self._scope)
        is_whole = not message.get("more_body", False) and message["type"] == "http.response.body"
        if is_whole or not (seen and seen[1].is_list):
            await self._release()

    async def _release(self) -> None:
        body = b"".join(message.get("body", b"") for message in self._held)
        try:
            await self._trail.note(self._scope, body)
        except Exception as failure:  # whatever it is: nothing is shown
            self.failure = failure
            return
        self._holds = False
        for message in self._held:
            await self._send(message)
        self._held.clear()

    def _is_shown(self, status: int) -> bool:
        return (200 <= status < 300 or status == NOT_MODIFIED) and self._trail.view_of(
            self._scope
        ) is not None


def _code_in(problem: bytes) -> str:
    try:
        return str(json.loads(problem)["code"])
    except (ValueError, KeyError, TypeError):
        return NO_CODE


def _ids_in(body: bytes) -> list[Any]:
    """Of the items of a page."""
    try:
        return [item["id"] for item in json.loads(body)["items"]]
    except (ValueError, KeyError, TypeError):
        return []
