"""The outermost layer: who may ask, how much, what every answer carries, and the last net for failures."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ultraread.errors import OriginRefused, RequestInvalid
from ultraread.serving.api.problems import failed

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
LARGEST_JSON = 2**20
LARGEST_BODY = 33 * 2**20
"""Bytes; a part of an upload, which has its own limit below this one."""
EVERY_ANSWER = {
    "X-Research-Use-Only": "true",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Edge:
    """ASGI middleware; nothing that the application does gets past it without these headers."""

    def __init__(self, app: ASGIApp, proxied_hosts: tuple[str, ...]) -> None:
        self._app = app
        self._hosts = frozenset((*LOOPBACK_NAMES, *proxied_hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            headers = Headers(scope=scope)
            self._refuse_other_hosts(headers)
            self._refuse_other_origins(headers)
            body = _Body(receive, _most_bytes(scope["method"], headers))
            body.refuse_announced(headers)
            await self._app(scope, body, answer)
        except Exception as error:
            if answer.has_begun:
                raise
            await failed(error)(scope, receive, answer)

    def _refuse_other_hosts(self, headers: Headers) -> None:
        """A web page that rebinds its own name to this machine still sends its own name."""
        if _without_port(headers.get("host", "")) not in self._hosts:
            raise RequestInvalid("this service has another host name", "See setting proxied_hosts.")

    def _refuse_other_origins(self, headers: Headers) -> None:
        """Browsers send a page's own address along; some requests they send without asking first."""
        origin = headers.get("origin")
        if origin is not None and _without_port(origin.partition("://")[2]) not in self._hosts:
            raise OriginRefused("a page of another site sent this request")


class _Body:
    """Passes a request's body on, up to `most` bytes of it.

    Raises HTTPException: any other one, FastAPI takes for a body that cannot be parsed.
    """

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._received = 0

    def refuse_announced(self, headers: Headers) -> None:
        announced = headers.get("content-length", "")
        if announced.isdecimal():
            self._refuse_more(int(announced[:20]))

    async def __call__(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._refuse_more(self._received)
        return message

    def _refuse_more(self, count: int) -> None:
        if count > self._most:
            raise HTTPException(413, f"such a request has at most {self._most} bytes")


class _Answer:
    """Passes an answer on, with EVERY_ANSWER's headers."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in EVERY_ANSWER.items():
                headers.setdefault(name, value)
        await self._send(message)


def _most_bytes(method: str, headers: Headers) -> int:
    """Parts of uploads are put; whatever else comes is taken for JSON, whether it says so or not."""
    is_part = method == "PUT" and "json" not in headers.get("content-type", "").lower()
    return LARGEST_BODY if is_part else LARGEST_JSON


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
