"""One decoding process: opens one slide, hands its pixels over in shared memory, and is thrown away."""

import mmap
import pickle
import socket
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import Slide, TileUnreadable
from ultraread.datasets.tile_stream import TileReader
from ultraread.errors import UltraReadError
from ultraread.serving.decoding.messages import (
    Answer,
    Box,
    Call,
    Ended,
    Open,
    Placed,
    PlacedTile,
    Raised,
    Refused,
    Request,
    Tile,
    Unreadable,
    receive,
    send,
)
from ultraread.serving.decoding.readable import confine_to, of_slide


def work(channel: socket.socket, memory: mmap.mmap | None) -> None:
    """Answer requests until the service closes the channel."""
    desk = _Desk(channel, memory)
    while True:
        try:
            request: Request = pickle.loads(receive(channel))  # noqa: S301  # the service's own words
            send(channel, _outcome(desk, request))
        except Ended:
            return


def _outcome(desk: "_Desk", request: Request) -> Answer | Refused | Unreadable | Raised:
    """Whatever a library raises, MemoryError among it, is an answer too."""
    try:
        return Answer(desk.answer(request))
    except Exception as failure:
        if _ran_out_of_memory(failure):
            return Raised(MemoryError.__name__)
        if isinstance(failure, UltraReadError):
            return Refused(failure)
        if isinstance(failure, TileUnreadable):
            return Unreadable(str(failure))
        return Raised(type(failure).__name__)


def _ran_out_of_memory(failure: BaseException | None) -> bool:
    while failure is not None and not isinstance(failure, MemoryError):
        failure = failure.__cause__ or failure.__context__
    return failure is not None


class _Desk:
    """The opened slide and the memory that its pixels are put into."""

    def __init__(self, channel: socket.socket, memory: mmap.mmap | None) -> None:
        self._channel = channel
        self._memory = memory
        self._slide: Slide | None = None

    def answer(self, request: Request) -> Any:  # noqa: ANN401  # as the request says
        match request:
            case Open(address):
                confine_to(of_slide(address))
                if any(file.location.startswith("s3://") for file in address.files):
                    from ultraread.serving.decoding.fetching import fetch_through

                    fetch_through(self._channel)
                self._slide = open_slide(address)
                return self._slide.info
            case Box(image, level, box):
                pixels = self._opened.read_box(image, level, box)
                self._put(pixels, 0)
                return Placed(pixels.shape, pixels.dtype.str)
            case Tile(plan, tile, offset):
                read = TileReader(self._opened, plan)(tile)
                if read.grey is not None:
                    self._put(read.grey, offset)
                return PlacedTile(read.is_blank, read.failure, _bytes(read.grid))
            case Call(function, arguments, files):
                confine_to(files)
                return function(*arguments)

    @property
    def _opened(self) -> Slide:
        if self._slide is None:
            raise RuntimeError("no slide is open")
        return self._slide

    def _put(self, pixels: NDArray[Any], offset: int) -> None:
        if self._memory is None:
            raise RuntimeError("no memory is shared")
        place = np.frombuffer(self._memory, pixels.dtype, pixels.size, offset)
        place[:] = pixels.reshape(-1)


def _bytes(grid: NDArray[np.float32] | None) -> bytes | None:
    return None if grid is None else grid.astype(np.float32).tobytes()


def become_worker(channel: socket.socket, memory: mmap.mmap | None, path: list[str]) -> None:
    """Work with the modules of the service's own path."""
    sys.path[:] = path
    work(channel, memory)
