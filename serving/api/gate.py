"""Inside the edge: says who asks, and lets nobody through whom the table of routes does not."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from ultraread.errors import AuthCsrf, AuthForbidden, AuthRequired
from ultraread.serving.access.browsers import Browsers
from ultraread.serving.access.entrance import Entrance
from ultraread.serving.access.principal import PRINCIPAL, Principal
from ultraread.serving.access.routes import SAFE, TABLE, Operation, RouteTable, Rule, refuse_missing_rows
from ultraread.serving.access.sessions import CSRF_HEADER, is_csrf_token
from ultraread.serving.api.cookies import bearer_of, cookies_of

BACKGROUND = "X-Background"
"""A page's own requests say this: they do not keep a session awake that nobody sits at."""
_HELD = "asked"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for, as the table of routes calls it, and by whom; nobody where it is open."""

    operation: Operation
    principal: Principal | None


class Gate:
    """ASGI middleware. It answers before a body is read, and before a route is chosen."""

    def __init__(self, app: ASGIApp, entrance: Entrance, browsers: Browsers) -> None:
        self._app = app
        self._entrance, self._browsers = entrance, browsers
        self._table = RouteTable(TABLE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            rows = self._table.rows_of(scope["method"], scope["path"])
            if rows:
                asked = Asked(rows[0][0], await self._principal(scope, rows))
                scope.setdefault("state", {})[_HELD] = asked
        await self._app(scope, receive, send)

    async def _principal(self, scope: Scope, rows: Sequence[tuple[Operation, Rule]]) -> Principal | None:
        if all(rule.is_open for _, rule in rows):
            return None
        principal = await self._admitted(scope)
        scope[PRINCIPAL] = principal
        for operation, rule in rows:
            _refuse_unless_allowed(principal, operation, rule)
        return principal

    async def _admitted(self, scope: Scope) -> Principal:
        """Whoever shows a token or a session; a token counts more, and needs no CSRF token."""
        request = HTTPConnection(scope)
        token = bearer_of(request.headers)
        if token is not None:
            known = self._entrance.known(token)
            return known if known else await run_in_threadpool(self._entrance.admit, token)
        cookie = cookies_of(request).session
        if cookie is None:
            raise AuthRequired("this needs a token or a login")
        principal = await self._of_browser(cookie, request.headers)
        if scope["method"] not in SAFE and not is_csrf_token(cookie, request.headers.get(CSRF_HEADER, "")):
            raise AuthCsrf("the request does not say the session's token")
        return principal

    async def _of_browser(self, cookie: str, headers: Headers) -> Principal:
        known = self._browsers.known(cookie)
        is_person = headers.get(BACKGROUND) is None
        return known if known else await run_in_threadpool(self._browsers.admit, cookie, is_person)


def asked_in(scope: Scope) -> Asked | None:
    """What the gate let through; None before it, and where it let nothing through."""
    asked = scope.get("state", {}).get(_HELD)
    return asked if isinstance(asked, Asked) else None


def asked_of(request: Request) -> Asked:
    """What the gate let through. Raises AuthRequired for what did not come through it."""
    asked = asked_in(request.scope)
    if asked is None:
        raise AuthRequired("this address is not open")
    return asked


async def through_the_gate(request: Request) -> None:
    """Dependency of every route; one that were no coroutine would take a thread."""
    asked_of(request)


def refuse_routes_without_rows(app: FastAPI) -> None:
    """Raise RuntimeError where the document and the table do not name the same operations."""
    described = app.openapi()["paths"].items()
    refuse_missing_rows(Operation(method.upper(), path) for path, methods in described for method in methods)


def _refuse_unless_allowed(principal: Principal, operation: Operation, rule: Rule) -> None:
    if not rule.allows(principal):
        raise AuthForbidden("your roles do not allow this")
    if rule.scope_for(operation.method) not in principal.scopes:
        raise AuthForbidden("the token's scopes do not allow this")
