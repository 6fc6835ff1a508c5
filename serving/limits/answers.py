"""What every answer carries, and how long whoever asked may take to read it."""

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
)
EVERY_ANSWER = {
    "X-Research-Use-Only": "true",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-site",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
OVER_TLS = {"Strict-Transport-Security": "max-age=31536000"}
EVENT_STREAM = "text/event-stream"


class Answer:
    """Passes an answer on with EVERY_ANSWER's headers; after `drop` it passes nothing on any more."""

    def __init__(self, send: Send, is_tls: bool, slow_reader_s: float) -> None:
        self._send = send
        self._also = EVERY_ANSWER | (OVER_TLS if is_tls else {})
        self._slow_reader_s = slow_reader_s
        self._is_dropped = False
        self.was_left = False
        """Whether who asked reads no more."""
        self.has_begun = False
        self.status = 0
        self.is_stream = False
        self.begun = asyncio.Event()

    def drop(self) -> None:
        """What the application still sends goes nowhere: somebody else answers."""
        self._is_dropped = True

    async def __call__(self, message: Message) -> None:
        """Raises ClientDisconnect where what was sent is not taken in time: the connection is given up."""
        if self._is_dropped:
            return
        if message["type"] == "http.response.start":
            self._begin(message)
        try:
            async with asyncio.timeout(self._slow_reader_s):
                await self._send(message)
        except TimeoutError as failure:
            self.was_left = True
            raise ClientDisconnect from failure

    def _begin(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in self._also.items():
            headers.setdefault(name, value)
        self.has_begun, self.status = True, message["status"]
        self.is_stream = headers.get("content-type", "").startswith(EVENT_STREAM)
        self.begun.set()
