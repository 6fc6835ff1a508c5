"""What workers did, line by line in one file: the history that the checker holds the store against."""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """`at_s` is of the machine's monotonic clock, the same one for all processes."""

    at_s: float
    pid: int
    worker: str
    what: str
    subject: str
    detail: dict[str, Any]


class Journal:
    """Appends; a line is written at once and whole, whoever dies after it."""

    def __init__(self, path: Path, worker: str) -> None:
        self._worker = worker
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def tell(self, what: str, subject: str = "", **detail: Any) -> None:  # noqa: ANN401  # whatever JSON holds
        event = [time.monotonic(), os.getpid(), self._worker, what, subject, detail]
        with suppress(OSError):  # under a limit of file size, the journal ends, and the worker goes on
            os.write(self._file, (json.dumps(event) + "\n").encode())


def events_in(path: Path, offset: int = 0) -> list[Event]:
    """All events from this byte on, in their order."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(offset)
        return [Event(*json.loads(line)) for line in file]
