"""Send a file in parts, several at once; what an interrupted try has sent is not sent again."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, Protocol, TypeVar

from ultraread.datasets.digest import sha256_of_stream
from ultraread.errors import Interrupted, UltraReadError

PART_BYTES = 8 * 2**20
"""Held in memory once for each connection."""
CONNECTIONS = 4
TRIES = 6
FIRST_WAIT_S = 0.5
BUSY = frozenset({429, 503})
"""What passes: too many requests, or a service that is not there for a moment."""

GO_ON = "Run the same command again: it goes on where it stopped."

Json = dict[str, Any]
Returned = TypeVar("Returned")
BytesSent = Callable[[int, int], None]


class TakesParts(Protocol):
    """What a client has to offer."""

    def announce_upload(self, file_name: str, size: int, sha256: str) -> Json: ...
    def uploads(self, sha256: str) -> list[Json]: ...
    def put_part(self, upload_id: str, start: int, part: bytes, size: int) -> Json: ...


@dataclass(slots=True)
class _Progress:
    """Counts bytes for `tell`, which one thread at a time calls."""

    sent: int
    size: int
    tell: BytesSent
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, count: int) -> None:
        with self.lock:
            self.sent += count
            self.tell(self.sent, self.size)


def send_file(
    client: TakesParts,
    stream: BinaryIO,
    file_name: str,
    tell: BytesSent = lambda sent, total: None,
    *,
    sha256: str | None = None,
    connections: int = CONNECTIONS,
    stop: threading.Event | None = None,
) -> str:
    """Send what is missing of an opened file and return the upload's id; `tell` hears of every part.

    `sha256`: of the file, where it is known. Once `stop` is set, no further part is sent.
    Raises UploadChecksumMismatch where the file changed meanwhile, QuotaExceeded, Unavailable.
    """
    size = os.fstat(stream.fileno()).st_size
    upload = _begun(client, file_name, size, sha256 or _digest(stream))
    missing: list[tuple[int, int]] = [(start, end) for start, end in upload["missing"]]
    progress = _Progress(size - sum(end - start for start, end in missing), size, tell)
    if progress.sent:
        progress.add(0)

    stop = stop or threading.Event()

    def send(start: int, end: int) -> None:
        if stop.is_set():
            raise Interrupted("stopped; what was sent is kept", GO_ON)
        part = os.pread(stream.fileno(), end - start, start)
        _patiently(lambda: client.put_part(upload["id"], start, part, size))
        progress.add(len(part))

    at_once([partial(send, start, end) for start, end in _parts(missing)], connections, stop)
    return str(upload["id"])


def at_once(calls: Sequence[Callable[[], Returned]], threads: int, stop: threading.Event) -> list[Returned]:
    """Call each, so many at a time; the first failure, or Ctrl-C, sets `stop` and begins no further one."""
    with ThreadPoolExecutor(threads, thread_name_prefix="send") as pool:
        running = [pool.submit(call) for call in calls]
        try:
            for each in as_completed(running):
                each.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [each.result() for each in running]


def _digest(stream: BinaryIO) -> str:
    stream.seek(0)
    return sha256_of_stream(stream)


def _begun(client: TakesParts, file_name: str, size: int, sha256: str) -> Json:
    """The upload that an earlier try of the same file left behind, or a new one."""
    found = client.uploads(sha256) if size > PART_BYTES else []
    same = (one for one in found if (one["file_name"], one["bytes"]) == (file_name, size))
    return next(same, None) or _patiently(lambda: client.announce_upload(file_name, size, sha256))


def _parts(missing: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for start, end in missing:
        for at in range(start, end, PART_BYTES):
            yield at, min(at + PART_BYTES, end)


def _patiently(ask: Callable[[], Json]) -> Json:
    """Ask again, later and later, while the service is busy or away."""
    for attempt in range(TRIES - 1):
        try:
            return ask()
        except UltraReadError as failure:
            if failure.http_status not in BUSY or failure.code == "quota_exceeded":
                raise
        time.sleep(FIRST_WAIT_S * 2**attempt)
    return ask()
