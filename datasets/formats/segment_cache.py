"""Decoded pieces of stored images, kept within a bound, each decoded at most once at a time."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from ultraread.datasets.slide import Pixels, TileUnreadable
from ultraread.errors import UltraReadError

CACHE_BYTES = 32 * 2**20
Key = tuple[int, int, int]
"""Image, level, number of the piece."""


class SegmentCache:
    """The last decoded pieces within CACHE_BYTES. Whatever a decoder raises becomes TileUnreadable."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Pixels | None] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()
        self._decoding = [Lock() for _ in range(16)]

    def get(self, key: Key, decode: Callable[[], Pixels | None]) -> Pixels | None:
        """Return the piece, None where the file is sparse. Raises TileUnreadable, StorageUnreachable."""
        with self._decoding[hash(key) % len(self._decoding)]:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            segment = _decoded(decode, key[2])
            self._keep(key, segment)
            return segment

    def _keep(self, key: Key, segment: Pixels | None) -> None:
        with self._lock:
            self._kept[key] = segment
            self._bytes += 0 if segment is None else segment.nbytes
            while self._bytes > CACHE_BYTES and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= 0 if dropped is None else dropped.nbytes


def _decoded(decode: Callable[[], Pixels | None], number: int) -> Pixels | None:
    try:
        return decode()
    except (TileUnreadable, UltraReadError):
        raise
    except OSError as failure:  # a fault of the disk is that of one piece, too
        raise TileUnreadable(
            f"stored tile {number}: {failure.strerror or 'the file is cut off'}"
        ) from failure
    except Exception as failure:  # each codec has an error type of its own; MemoryError is one of them
        raise TileUnreadable(f"stored tile {number}: {type(failure).__name__}") from failure
