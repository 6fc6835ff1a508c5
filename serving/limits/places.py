"""How many requests are answered at once: some wait for a moment, more are turned away at once."""

import asyncio
from typing import Self

from ultraread.errors import ServiceBusy


class Places:
    """A bounded number of places and a bounded queue in front of them; for one event loop."""

    def __init__(self, places: int, waiting: int, wait_s: float) -> None:
        self._places = asyncio.Semaphore(places)
        self._most_waiting = waiting
        self._wait_s = wait_s
        self.taken = 0
        self.waiting = 0

    async def take(self) -> "Place":
        """Wait for a place. Raises ServiceBusy where too many wait already, or after `wait_s`."""
        if self._places.locked() and self.waiting >= self._most_waiting:
            raise _busy()
        self.waiting += 1
        try:
            await asyncio.wait_for(self._places.acquire(), self._wait_s)
        except TimeoutError as failure:
            raise _busy() from failure
        finally:
            self.waiting -= 1
        self.taken += 1
        return Place(self)

    def give_back(self) -> None:
        self.taken -= 1
        self._places.release()


class Place:
    """A place that is held until `leave`, which may be called again."""

    def __init__(self, places: Places) -> None:
        self._places: Places | None = places

    def leave(self) -> None:
        places, self._places = self._places, None
        if places is not None:
            places.give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


def _busy() -> ServiceBusy:
    return ServiceBusy("too many requests at once")
