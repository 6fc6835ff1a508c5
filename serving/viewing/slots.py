"""A few pictures are rendered at once, some wait, more are turned away: a viewer asks for hundreds."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Semaphore

from ultraread.errors import ViewBusy

AT_ONCE = 2
WAITING = 24
"""Below the 40 threads of the web framework, so that other routes still answer."""


class RenderingSlots:
    """Thread-safe. Raises ViewBusy where too many wait already."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._most = at_once + waiting
        self.inside = 0
        self._lock = Lock()
        self._running = Semaphore(at_once)

    @contextmanager
    def one(self) -> Iterator[None]:
        with self._lock:
            if self.inside >= self._most:
                raise ViewBusy(f"{self._most} pictures are being made")
            self.inside += 1
        try:
            with self._running:
                yield
        finally:
            with self._lock:
                self.inside -= 1
