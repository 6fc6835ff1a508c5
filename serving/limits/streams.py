"""How many event streams are open, in all and of each principal."""

from collections import Counter
from typing import Self

from ultraread.errors import ServiceBusy, StreamLimit

RETRY_AFTER_S = 30


class StreamPlaces:
    """For one event loop."""

    def __init__(self, most: int, most_each: int) -> None:
        self._most, self._most_each = most, most_each
        self._held = Counter[str]()

    @property
    def taken(self) -> int:
        return self._held.total()

    def take(self, who: str) -> "StreamPlace":
        """Raises StreamLimit where `who` holds enough, ServiceBusy where all are taken."""
        if self._held[who] >= self._most_each:
            told = f"you have {self._most_each} event streams open"
            raise StreamLimit(told, retry_after_s=RETRY_AFTER_S)
        if self.taken >= self._most:
            raise ServiceBusy("too many event streams are open", "Ask for GET /v1/reads/{id} now and then.")
        self._held[who] += 1
        return StreamPlace(self._held, who)


class StreamPlace:
    """A place that is held until its `with` ends."""

    def __init__(self, held: Counter[str], who: str) -> None:
        self._held, self._who = held, who

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held[self._who] -= 1
        if not self._held[self._who]:
            del self._held[self._who]
