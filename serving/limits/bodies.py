"""The body of a request: never more than it may have, never slower than it may be."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from ultraread.serving.setting_groups.limits import LimitsSettings

LARGEST_JSON = 2**20
LARGEST_BODY = 33 * 2**20
"""Bytes; a part of an upload, which has its own limit below this one."""


def is_part(method: str, headers: Headers) -> bool:
    """Parts of uploads are put; whatever else comes is taken for JSON, whether it says so or not."""
    return method == "PUT" and "json" not in headers.get("content-type", "").lower()


def most_bytes(method: str, headers: Headers) -> int:
    return LARGEST_BODY if is_part(method, headers) else LARGEST_JSON


class Body:
    """Passes a request's body on, up to `most` bytes of it, as long as it keeps the pace.

    Raises HTTPException with 413, and 408 where the body is further behind the pace than the grace: any other
    exception, FastAPI takes for a body that cannot be parsed.
    """

    def __init__(self, receive: Receive, most: int, limits: LimitsSettings) -> None:
        self._receive, self._most, self._limits = receive, most, limits
        self._began = time.monotonic()
        self._received = 0
        self.is_whole = False
        self.last_byte = self._began
        """When something came last, by the monotonic clock."""

    def refuse_announced(self, headers: Headers) -> None:
        announced = headers.get("content-length", "")
        if announced.isdecimal():
            self._refuse_more(int(announced[:20]))

    async def __call__(self) -> Message:
        if self.is_whole:
            return await self._receive()
        message = await self._next_piece()
        self._received += len(message.get("body", b""))
        self._refuse_more(self._received)
        self.last_byte = time.monotonic()
        self.is_whole = not message.get("more_body", False)
        return message

    async def _next_piece(self) -> Message:
        due = self._began + self._limits.body_grace_s + self._received / self._limits.body_bytes_per_s
        try:
            async with asyncio.timeout(max(0.0, due - time.monotonic())):
                return await self._receive()
        except TimeoutError as failure:
            pace = self._limits.body_bytes_per_s
            raise HTTPException(408, f"the body came more slowly than {pace} bytes a second") from failure

    def _refuse_more(self, count: int) -> None:
        if count > self._most:
            raise HTTPException(413, f"such a request has at most {self._most} bytes")
