"""Event streams of reads: one look into the store for all who follow, however many they are."""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Receive, Scope, Send

from ultraread.errors import UltraReadError
from ultraread.serving.access.principal import Principal
from ultraread.serving.api.bodies import Read, read_shown
from ultraread.serving.api.session import rules_of
from ultraread.serving.draining import draining_of
from ultraread.serving.limits.answers import EVENT_STREAM
from ultraread.serving.limits.standing import no_more_let_in
from ultraread.serving.limits.streams import StreamPlace, StreamPlaces
from ultraread.serving.settings import Settings
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import ReadRow, ReadState

KEEP_ALIVE_S = 15.0
"""Seconds of silence after which a comment is sent: proxies close what says nothing for a minute."""
RECHECK_S = 2.0
"""Seconds between looks whether who follows is still let in."""
AT_A_TIME = 500
"""Reads that one statement asks for."""
DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events until the read ends.",
        "content": {
            EVENT_STREAM: {
                "schema": {
                    "type": "object",
                    "required": ["event", "data"],
                    "properties": {
                        "event": {"enum": ["progress", "end"]},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                    },
                }
            }
        },
    }
}
"""For the OpenAPI document: each event; its data is the read."""
STILL_HERE = ": still here\n\n"
ASK_AGAIN = ": ask again\n\n"
_CHANGING = (
    ReadRow.id, ReadRow.state, ReadRow.tiles_total, ReadRow.tiles_done, ReadRow.ranges_done,
    ReadRow.cancel_requested, ReadRow.mlflow_run_id, ReadRow.started, ReadRow.ended, ReadRow.error_code,
)  # fmt: skip

Marks = tuple[object, ...]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Followed:
    """A read that somebody follows; `news` is set, and replaced, at every change."""

    read: Read
    marks: Marks = ()
    followers: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        woken, self.news = self.news, asyncio.Event()
        woken.set()


class ReadWatch:
    """One per process, in its event loop. It looks only while somebody follows."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._draining = draining_of(settings)
        self._places = StreamPlaces(settings.max_streams, settings.max_streams_each)
        self._followed: dict[str, _Followed] = {}
        self._following = Counter[Principal]()
        self._gone = set[Principal]()
        self._rechecked = 0.0
        self._is_closing = False
        self._looking: asyncio.Task[None] | None = None

    def stream(self, read: Read, principal: Principal) -> "EventStream":
        """Events of a read that the principal may see. Raises StreamLimit, ServiceBusy."""
        place = self._places.take(f"{principal.site}/{principal.who}")
        return EventStream(self._events(read, principal), place)

    async def _events(self, read: Read, principal: Principal) -> AsyncIterator[str]:
        until = time.monotonic() + self._settings.stream_limit_s
        told: Read | None = None
        with self._followed_by(read, principal) as followed:
            while True:
                news, read_now = followed.news, followed.read
                if read_now != told:
                    told = read_now
                    yield _event(read_now)
                if ReadState(read_now.state).has_ended:
                    return
                if self._is_closing or principal in self._gone or time.monotonic() >= until:
                    yield ASK_AGAIN
                    return
                if not await _woken(news, min(KEEP_ALIVE_S, until - time.monotonic())):
                    yield STILL_HERE

    @contextmanager
    def _followed_by(self, read: Read, principal: Principal) -> Iterator[_Followed]:
        followed = self._followed.setdefault(read.id, _Followed(read))
        followed.followers += 1
        self._following[principal] += 1
        self._look_on()
        try:
            yield followed
        finally:
            followed.followers -= 1
            if not followed.followers:
                self._followed.pop(read.id, None)
            self._following[principal] -= 1
            if not self._following[principal]:
                del self._following[principal]
                self._gone.discard(principal)

    def _look_on(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look_while_followed())

    async def _look_while_followed(self) -> None:
        while self._followed:
            await asyncio.sleep(self._settings.poll_s)
            try:
                await self._look()
            except (UltraReadError, SQLAlchemyError) as outage:
                log.warning("followed reads cannot be looked at (%s)", type(outage).__name__)

    async def _look(self) -> None:
        known = {read_id: one.marks for read_id, one in self._followed.items()}
        for marks, read in await run_in_threadpool(self._changed, known):
            if (followed := self._followed.get(read.id)) is not None:
                followed.marks, followed.read = marks, read
                followed.wake()
        if time.monotonic() - self._rechecked >= RECHECK_S:
            self._rechecked = time.monotonic()
            await self._recheck()

    def _changed(self, known: Mapping[str, Marks]) -> list[tuple[Marks, Read]]:
        """Reads whose row is not as it is known, with how it is now."""
        with self._store.reading() as session:
            now = [
                tuple(row)
                for some in _some_at_a_time(list(known))
                for row in session.execute(select(*_CHANGING).where(ReadRow.id.in_(some)))
            ]
            changed = {marks[0]: marks for marks in now if marks != known[str(marks[0])]}
            rows = [session.get_one(ReadRow, read_id) for read_id in changed]
            return [(changed[row.id], read_shown(row)) for row in rows]

    async def _recheck(self) -> None:
        """Who is let in no more, and a service that stops, end streams."""
        gone = await run_in_threadpool(self._let_in_no_more, list(self._following))
        self._is_closing = self._draining.is_on
        self._gone |= gone & set(self._following)
        if gone or self._is_closing:
            for followed in self._followed.values():
                followed.wake()

    def _let_in_no_more(self, principals: list[Principal]) -> set[Principal]:
        with self._store.reading() as session:
            return no_more_let_in(session, principals, rules_of(self._settings))


class EventStream(StreamingResponse):
    """Server-sent events that hold a place until who asked is gone."""

    media_type = EVENT_STREAM

    def __init__(self, events: AsyncIterator[str], place: StreamPlace) -> None:
        super().__init__(events, media_type=EVENT_STREAM)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


def _watch_of(request: Request) -> ReadWatch:
    return cast(ReadWatch, request.app.state.watch)


InWatch = Annotated[ReadWatch, Depends(_watch_of)]


async def _woken(news: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(max(0.0, within_s)):
            await news.wait()
    except TimeoutError:
        return False
    return True


def _event(read: Read) -> str:
    name = "end" if ReadState(read.state).has_ended else "progress"
    return f"event: {name}\ndata: {json.dumps(read.model_dump(mode='json'))}\n\n"


def _some_at_a_time(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), AT_A_TIME):
        yield ids[start : start + AT_A_TIME]
