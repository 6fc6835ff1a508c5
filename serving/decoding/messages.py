"""What travels between the service and a decoding process: framed, bounded, and of known kinds only."""

import io
import pickle
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from enum import Enum
from importlib import import_module
from typing import Any

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.slide_address import SlideAddress
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.errors import UltraReadError

LENGTH = struct.Struct("!Q")
MOST_BYTES = 256 * 2**20
"""Of one message: 10,000 images with all their tags stay far below."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open the slide that later requests are about; answered with its SlideInfo."""

    address: SlideAddress


@dataclass(frozen=True, slots=True)
class Box:
    """Decode a box into the shared memory; answered with `Placed`."""

    image: int
    level: int
    box: BoxPx


@dataclass(frozen=True, slots=True)
class Tile:
    """Read a tile of a plan into the shared memory at `offset`; answered with `PlacedTile`."""

    plan: TilePlan
    tile: PlannedTile
    offset: int


@dataclass(frozen=True, slots=True)
class Call:
    """Call a function that its module names, which may read `files`; answered with what it returns."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    files: tuple[str, ...] = ()


Request = Open | Box | Tile | Call


@dataclass(frozen=True, slots=True)
class Placed:
    """An array that lies in the shared memory."""

    shape: tuple[int, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class PlacedTile:
    """A tile whose pixels lie in the shared memory, unless there is a failure; `grid`: float32, (2, 8)."""

    is_blank: bool
    failure: str
    grid: bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a request."""

    value: Any


@dataclass(frozen=True, slots=True)
class Refused:
    """An error of ours."""

    error: UltraReadError


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A TileUnreadable."""

    why: str


@dataclass(frozen=True, slots=True)
class Raised:
    """Anything else: a library's error that nobody expected, by its class; or memory ran out."""

    name: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bytes [start, end) of an object, which only the service may reach; without an end, its size."""

    location: str
    start: int = 0
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched: bytes or a size; else the class of the failure."""

    value: bytes | int | None
    failure: str = ""


class Ended(Exception):
    """The other side is gone."""


def send(channel: socket.socket, message: object, until: float | None = None) -> None:
    """Raises TimeoutError, Ended. `until` is a time of the monotonic clock."""
    packed = pickle.dumps(message, protocol=5)
    _keep_to(channel, until)
    try:
        channel.sendall(LENGTH.pack(len(packed)) + packed)
    except (BrokenPipeError, ConnectionResetError) as gone:
        raise Ended from gone


def receive(channel: socket.socket, until: float | None = None) -> bytes:
    """The bytes of the next message. Raises TimeoutError; Ended, also for a message beyond MOST_BYTES."""
    (length,) = LENGTH.unpack(_exactly(channel, LENGTH.size, until))
    if length > MOST_BYTES:
        raise Ended
    return bytes(_exactly(channel, length, until))


def _exactly(channel: socket.socket, count: int, until: float | None) -> bytearray:
    received = bytearray(count)
    view = memoryview(received)
    while view:
        _keep_to(channel, until)
        try:
            there = channel.recv_into(view)
        except ConnectionResetError as gone:
            raise Ended from gone
        if not there:
            raise Ended
        view = view[there:]
    return received


def _keep_to(channel: socket.socket, until: float | None) -> None:
    """The least wait is not nothing: what has arrived already counts, however late it is looked for."""
    channel.settimeout(None if until is None else max(until - time.monotonic(), 0.001))


def told(message: bytes) -> Any:  # noqa: ANN401  # one of the messages above
    """Unpack what a decoding process says. Raises pickle.UnpicklingError for what it may not say."""
    return _OfKnownKinds(io.BytesIO(message)).load()


SPOKEN = ("ultraread.datasets.", "ultraread.errors", "ultraread.serving.decoding.messages")
"""Whose classes are told; elsewhere there are data classes that can be called, and then do something."""


class _OfKnownKinds(pickle.Unpickler):
    """A slide that took its decoder over must not reach further: data classes, enums, errors of ours only."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  # pickle's own signature
        if module.startswith(SPOKEN):
            found = getattr(import_module(module), name, None)
            if isinstance(found, type) and (is_dataclass(found) or issubclass(found, Enum | UltraReadError)):
                return found
        raise pickle.UnpicklingError(f"{module}.{name}")
