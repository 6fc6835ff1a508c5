"""What keeps a read its owner's: a beat from a thread of its own, and writes that outlast an outage."""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from ultraread.errors import DatabaseUnreachable, ReadCancelled, ReadDeadlinePassed, StorageFull
from ultraread.serving.store.jobs import ClaimedRead, Jobs, LostLease

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 1.0
"""Seconds between tries to reach the database."""
NOT_NOW = (DatabaseUnreachable, StorageFull)
"""What a write of the queue waits for the end of: nothing else could be written about the read either."""


class Stopping(Exception):
    """The process is asked to stop: give the read back."""


def outlast(write: Callable[[], T], stop: threading.Event) -> T:
    """Repeat a write of the queue until the database takes it; each may be repeated, come or not.

    Raises what the write raises; what is in NOT_NOW alone once the process is asked to stop.
    """
    began = time.monotonic()
    while True:
        try:
            return write()
        except NOT_NOW as outage:
            log.warning("waiting for the database since %.0f s: %s", time.monotonic() - began, outage.what)
            if stop.wait(RETRY_S):
                raise


class Heartbeat:
    """Prolongs the lease, and hears there of cancelling, of the deadline and of losing the lease."""

    def __init__(self, jobs: Jobs, claim: ClaimedRead, every_s: float, stop: threading.Event) -> None:
        self._jobs, self._claim, self._every_s, self._asked_to_stop = jobs, claim, every_s, stop
        self._done = threading.Event()
        self._why_not: Exception | None = None
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def check(self) -> None:
        """Raise what keeps the read from going on: LostLease, ReadCancelled, ReadDeadlinePassed, Stopping."""
        if self._why_not is not None:
            raise self._why_not
        if self._asked_to_stop.is_set():
            raise Stopping

    def wait(self, seconds: float) -> None:
        """Sit still, unless something keeps the read from going on: raises what `check` does."""
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            self.check()
            self._asked_to_stop.wait(min(left_s, self._every_s))
        self.check()

    def heard(self, is_cancelled: bool) -> None:
        """What a beat of somebody else's told."""
        if is_cancelled:
            self._why_not = ReadCancelled("cancelled while it ran")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while self._why_not is None and not self._done.wait(self._every_s):
            try:
                self.heard(self._jobs.beat(self._claim))
            except (LostLease, ReadDeadlinePassed) as over:
                self._why_not = over
            except Exception as outage:  # whatever it is: the lease ends by itself if it lasts
                log.warning("no heartbeat for read %s: %s", self._claim.read.id, outage)
