"""What only one process at a time may do: a file is locked, and the lock dies with its holder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ultraread.errors import UltraReadError


@contextmanager
def alone(lock: Path, otherwise: UltraReadError) -> Iterator[None]:
    """Hold the file's lock meanwhile. Raises `otherwise` where another process holds it."""
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise otherwise from None
        yield
