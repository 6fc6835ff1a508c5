"""How often something may happen: so many a second for ever, and more for a moment."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

MOST_KEYS = 10_000


class TokenBuckets:
    """A bucket of `burst` tokens for each key, filled with `per_s` tokens a second; thread-safe.

    Of more than MOST_KEYS keys, the one that was asked longest ago is forgotten: its bucket is full again.
    """

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._burst, self._clock = per_s, float(burst), clock
        self._left = OrderedDict[str, tuple[float, float]]()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._left)

    def take(self, key: str) -> float:
        """Take a token and return 0; where there is none, the seconds until there is one."""
        with self._lock:
            left = self._now_left(key)
            self._keep(key, left - 1 if left >= 1 else left)
        return 0.0 if left >= 1 else (1 - left) / self._per_s

    def wait_s(self, key: str) -> float:
        """Seconds until there is a token; 0 where there is one. Takes none."""
        with self._lock:
            left = self._now_left(key)
        return 0.0 if left >= 1 else (1 - left) / self._per_s

    def _now_left(self, key: str) -> float:
        left, at = self._left.get(key, (self._burst, self._clock()))
        return min(self._burst, left + (self._clock() - at) * self._per_s)

    def _keep(self, key: str, left: float) -> None:
        self._left[key] = (left, self._clock())
        self._left.move_to_end(key)
        while len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)
