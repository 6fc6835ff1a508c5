"""Inside the gate, around the routes: how often who asks may ask, and what a JSON body may be."""

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ultraread.serving.access.principal import PRINCIPAL
from ultraread.serving.api.gate import asked_in
from ultraread.serving.limits.bodies import LARGEST_JSON
from ultraread.serving.limits.rates import Rates
from ultraread.serving.limits.strict_json import refuse_odd_json

LARGEST_OF_STRANGERS = 2**14
"""Bytes of JSON from whom nobody answers for: looking at a MiB takes half a second of a core."""
LOOKED_AT_HERE = 2**14
"""Bytes; more is looked at in a thread, while the event loop answers others."""


class Entry:
    """ASGI middleware; the one place where a JSON body is looked at before a route parses it.

    What the gate found no row for, no route parses either: its body is not looked at.
    """

    def __init__(self, app: ASGIApp, rates: Rates) -> None:
        self._app, self._rates = app, rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            principal = scope.get(PRINCIPAL)
            if principal is not None:
                self._rates.admit(f"{principal.site}/{principal.who}")
            if asked_in(scope) is not None and _is_json(Headers(scope=scope)):
                receive = await _checked(receive, LARGEST_JSON if principal else LARGEST_OF_STRANGERS)
        await self._app(scope, receive, send)


def _is_json(headers: Headers) -> bool:
    return "json" in headers.get("content-type", "").lower()


async def _checked(receive: Receive, most: int) -> Receive:
    """The same body again, once it was looked at in whole. Raises RequestInvalid, HTTPException with 413."""
    body = bytearray()
    message: Message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        if message["type"] != "http.request":
            return _again(message, receive)
        body += message.get("body", b"")
        if len(body) > most:
            raise HTTPException(413, f"such a request has at most {most} bytes")
    if len(body) > LOOKED_AT_HERE:
        await run_in_threadpool(refuse_odd_json, bytes(body))
    elif body:
        refuse_odd_json(bytes(body))
    return _again({"type": "http.request", "body": bytes(body), "more_body": False}, receive)


def _again(first: Message, then: Receive) -> Receive:
    waiting = [first]

    async def receive() -> Message:
        return waiting.pop() if waiting else await then()

    return receive
