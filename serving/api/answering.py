"""Which keyed requests a process is answering right now."""

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Answering:
    """One per process; shared by its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = Counter[Hashable]()

    @contextmanager
    def at(self, key: Hashable) -> Iterator[bool]:
        """Be at it; tells whether another thread is, who came before and has not gone."""
        with self._lock:
            is_another_at_it = self._threads[key] > 0
            self._threads[key] += 1
        try:
            yield is_another_at_it
        finally:
            with self._lock:
                self._threads[key] -= 1
                if not self._threads[key]:
                    del self._threads[key]
