"""Durations by a monotonic clock and instants in UTC, for provenance.json."""

import time
from datetime import UTC, datetime
from typing import Any


class Stopwatch:
    """Laps of a read; the clock of durations never runs backwards."""

    def __init__(self) -> None:
        self._started = datetime.now(UTC)
        self._last = time.monotonic()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Note the seconds since the last lap under `name`."""
        now = time.monotonic()
        self._laps[name] = round(now - self._last, 3)
        self._last = now

    def told(self) -> dict[str, Any]:
        return {"started": self._started.isoformat(), "ended": datetime.now(UTC).isoformat(), **self._laps}
