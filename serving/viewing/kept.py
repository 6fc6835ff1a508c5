"""What was made once and is asked for again, within a bound of bytes; made once at a time."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The values last used, up to `most_bytes` of them; the newest stays whatever its size. Thread-safe."""

    def __init__(self, most_bytes: int, bytes_of: Callable[[Value], int]) -> None:
        self._most_bytes = most_bytes
        self._bytes_of = bytes_of
        self._values: OrderedDict[object, Value] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()
        self._making = [Lock() for _ in range(16)]

    def get(self, key: object, make: Callable[[], Value]) -> Value:
        """The value under a key; `make` runs where there is none, and never twice at once for one key."""
        with self._making[hash(key) % len(self._making)]:
            there = self.find(key)
            return self._keep(key, make()) if there is None else there

    def find(self, key: object) -> Value | None:
        """The value under a key, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def drop(self, key: object) -> None:
        """Keep the value under a key no longer."""
        with self._lock:
            if key in self._values:
                self._bytes -= self._bytes_of(self._values.pop(key))

    @property
    def bytes(self) -> int:
        return self._bytes

    def _keep(self, key: object, value: Value) -> Value:
        with self._lock:
            self._values[key] = value
            self._bytes += self._bytes_of(value)
            while self._bytes > self._most_bytes and len(self._values) > 1:
                _, dropped = self._values.popitem(last=False)
                self._bytes -= self._bytes_of(dropped)
        return value
