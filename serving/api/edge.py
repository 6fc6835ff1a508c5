"""The outermost layer: who may be addressed, what every answer carries, and the last net for failures."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ultraread.errors import RequestInvalid
from ultraread.serving.api.problems import failed

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
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
            self._refuse_other_hosts(Headers(scope=scope))
            await self._app(scope, receive, answer)
        except Exception as error:
            if answer.has_begun:
                raise
            await failed(error)(scope, receive, answer)

    def _refuse_other_hosts(self, headers: Headers) -> None:
        """A web page that rebinds its own name to this machine still sends its own name."""
        if _without_port(headers.get("host", "")) not in self._hosts:
            raise RequestInvalid("this service has another host name", "See setting proxied_hosts.")


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


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
