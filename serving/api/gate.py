"""Inside the edge: says who asks, and lets nobody through whom the table of routes does not."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ultraread.errors import AuthForbidden, AuthInvalid, AuthRequired
from ultraread.serving.access.entrance import NOT_VALID, Entrance
from ultraread.serving.access.principal import PRINCIPAL, Principal
from ultraread.serving.access.routes import TABLE, Operation, RouteTable, Rule, refuse_missing_rows

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_HELD = "asked"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for, as the table of routes calls it, and by whom; nobody where it is open."""

    operation: Operation
    principal: Principal | None


class Gate:
    """ASGI middleware. It answers before a body is read, and before a route is chosen."""

    def __init__(self, app: ASGIApp, entrance: Entrance) -> None:
        self._app = app
        self._entrance = entrance
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
        principal = await self._admitted(Headers(scope=scope))
        scope[PRINCIPAL] = principal
        for operation, rule in rows:
            _refuse_unless_allowed(principal, operation, rule)
        return principal

    async def _admitted(self, headers: Headers) -> Principal:
        stated = headers.get("authorization")
        if stated is None:
            raise AuthRequired("this needs a token or a login")
        token = _BEARER.fullmatch(stated.strip())
        if token is None:
            raise AuthInvalid(NOT_VALID)
        known = self._entrance.known(token.group(1))
        return known or await run_in_threadpool(self._entrance.admit, token.group(1))


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


def through_the_gate(request: Request) -> None:
    """Dependency of every route."""
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
