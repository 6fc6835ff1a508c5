"""The outermost layer: who may ask, how much, how often and how slowly; and the last net for failures."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ultraread.errors import NotFound, OriginRefused, RequestInvalid, RequestTimeout
from ultraread.serving.access.principal import PRINCIPAL
from ultraread.serving.api.problems import failed
from ultraread.serving.limits.answers import Answer
from ultraread.serving.limits.bodies import Body, is_part, most_bytes
from ultraread.serving.limits.places import Place, Places
from ultraread.serving.limits.rates import Rates
from ultraread.serving.setting_groups.limits import LimitsSettings

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
ALWAYS_ANSWERED = ("/healthz", "/readyz", "/metrics")
"""Who watches the service must hear of it when it is busiest."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ufffd]")
_NUL = re.compile(rb"%00|%ed%[ab]", re.IGNORECASE)
"""NUL, and halves of characters, as they stand in a query."""
UNAUTHORIZED = 401

log = logging.getLogger(__name__)


class Edge:
    """ASGI middleware; nothing that the application does gets past it without the headers of `Answer`."""

    def __init__(
        self, app: ASGIApp, proxied_hosts: tuple[str, ...], limits: LimitsSettings, rates: Rates
    ) -> None:
        self._app = app
        self._hosts = frozenset((*LOOPBACK_NAMES, *proxied_hosts))
        self._limits, self._rates = limits, rates
        self._places = Places(limits.max_requests, limits.max_waiting, limits.max_wait_s)
        self._places_of_parts = Places(limits.max_parts, limits.max_waiting, limits.max_wait_s)
        self._running = set[asyncio.Future[None]]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._answer(scope, send)
        try:
            await self._checked(scope, receive, answer)
        except Exception as error:
            if answer.was_left:
                log.info("an answer was not read; its connection is closed")
                return
            if answer.has_begun:
                raise
            answer.drop()
            await failed(error)(scope, receive, self._answer(scope, send))

    def _answer(self, scope: Scope, send: Send) -> Answer:
        return Answer(send, scope.get("scheme") == "https", self._limits.slow_reader_s)

    async def _checked(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        headers = Headers(scope=scope)
        self._refuse_other_hosts(headers)
        self._refuse_other_origins(headers)
        _refuse_odd_address(scope)
        address, credentials = _address(scope), _credentials(headers)
        if scope["path"] not in ALWAYS_ANSWERED:
            self._rates.refuse_stranger(address, credentials)
        body = Body(receive, most_bytes(scope["method"], headers), self._limits)
        body.refuse_announced(headers)
        try:
            await self._in_its_place(scope, headers, body, answer)
        finally:
            self._count(scope, address, credentials, answer.status)

    async def _in_its_place(self, scope: Scope, headers: Headers, body: Body, answer: Answer) -> None:
        if scope["path"] in ALWAYS_ANSWERED:
            await self._app(scope, body, answer)
            return
        places = self._places_of_parts if is_part(scope["method"], headers) else self._places
        place = await places.take()
        await self._in_time(self._app(scope, body, answer), body, answer, place)

    async def _in_time(self, answering: Awaitable[None], body: Body, answer: Answer, place: Place) -> None:
        """Raises RequestTimeout. What runs in a thread keeps its place until it ends."""
        task = asyncio.ensure_future(answering)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: place.leave())
        try:
            await self._begun(task, body, answer)
            if answer.is_stream:
                place.leave()
            await task
        except (RequestTimeout, asyncio.CancelledError):
            answer.drop()
            task.cancel()
            raise

    async def _begun(self, task: "asyncio.Future[None]", body: Body, answer: Answer) -> None:
        """Wait until the answer begins. Raises RequestTimeout."""
        begun = asyncio.ensure_future(answer.begun.wait())
        try:
            while not answer.has_begun and not task.done():
                left = body.last_byte + self._limits.request_limit_s - time.monotonic()
                if left <= 0:
                    raise RequestTimeout(f"there was no answer within {self._limits.request_limit_s:g} s")
                waited: set[asyncio.Future[Any]] = {task, begun}
                await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()

    def _count(self, scope: Scope, address: str, credentials: str, status: int) -> None:
        """A request that nobody answers for counts against its address."""
        if scope.get(PRINCIPAL) is not None:
            self._rates.was_known(credentials)
        elif scope["path"] not in ALWAYS_ANSWERED:
            self._rates.was_stranger(address)
            if status == UNAUTHORIZED:
                self._rates.was_refused(credentials)

    def _refuse_other_hosts(self, headers: Headers) -> None:
        """A web page that rebinds its own name to this machine still sends its own name."""
        if _without_port(headers.get("host", "")) not in self._hosts:
            raise RequestInvalid("this service has another host name", "See setting proxied_hosts.")

    def _refuse_other_origins(self, headers: Headers) -> None:
        """Browsers send a page's own address along; some requests they send without asking first."""
        origin = headers.get("origin")
        if origin is not None and _without_port(origin.partition("://")[2]) not in self._hosts:
            raise OriginRefused("a page of another site sent this request")


def _refuse_odd_address(scope: Scope) -> None:
    """Raises NotFound and RequestInvalid for characters that no id or name here has."""
    if _UNPRINTABLE.search(scope["path"]):
        raise NotFound("there is nothing at this address")
    if _NUL.search(scope.get("query_string", b"")):
        raise RequestInvalid("the query holds NUL or half a character")


def _address(scope: Scope) -> str:
    """Whose connection it is; from a reverse proxy on this machine, whom X-Forwarded-For names."""
    client = scope.get("client")
    return client[0] if client else ""


def _credentials(headers: Headers) -> str:
    return headers.get("authorization", "") or headers.get("cookie", "")


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
