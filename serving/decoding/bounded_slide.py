"""A slide that is opened in a process of its own: what its bytes do there harms nothing here."""

from collections.abc import Callable
from math import prod
from queue import LifoQueue
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.slide import ClosedByWith, Pixels, SlideInfo
from ultraread.datasets.slide_address import SlideAddress
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.datasets.tile_stream import TilePixels
from ultraread.errors import DecodeCrash, DecodeFailed
from ultraread.serving.decoding.fetching import Fetcher, as_sent, fetcher_of
from ultraread.serving.decoding.limits import DecodeLimits
from ultraread.serving.decoding.messages import Box, Open, Placed, PlacedTile, Request, Tile
from ultraread.serving.decoding.process import DecodingProcess, Nursery
from ultraread.serving.decoding.shared_memory import SharedMemory

BOX_BYTES = 64 * 2**20
"""Of pixels that cross at a time; larger boxes cross in strips."""
TRIES = 2
"""Of a tile: whatever else killed its process, as the kernel does where memory ends, must not fail it."""


class SlideProcess:
    """The process that has a slide open; when it dies, another takes its place. For one thread at a time."""

    def __init__(
        self,
        nursery: Nursery,
        address: SlideAddress,
        limits: DecodeLimits,
        memory: SharedMemory,
        fetch: Fetcher | None = None,
    ) -> None:
        self._nursery, self._address, self._limits, self._memory = nursery, address, limits, memory
        self._fetch = fetch or fetcher_of(address)
        self._process: DecodingProcess | None = None
        self._info: SlideInfo | None = None
        self._is_closed = False

    @property
    def info(self) -> SlideInfo:
        """Raises what opening the slide raises."""
        if self._info is None:
            self._running()
        assert self._info is not None  # noqa: S101
        return self._info

    def ask(self, request: Request) -> Any:  # noqa: ANN401  # as the request says
        """Raises as DecodingProcess does, of a new process what opening the slide raises."""
        return self._running().ask(request, self._limits.tile_s, self._fetch)

    def close(self) -> None:
        """A thread that still asks gets an error, and no other process that would write into the memory."""
        self._is_closed = True
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _running(self) -> DecodingProcess:
        if self._is_closed:
            raise ValueError("read of a closed slide")
        if self._process is not None and self._process.is_alive:
            return self._process
        process = self._nursery.start(self._limits.memory_bytes, self._memory)
        try:
            self._info = process.ask(Open(as_sent(self._address)), self._limits.open_s, self._fetch)
        except BaseException:
            process.kill()
            raise
        self._process = process
        return process


class BoundedSlide(ClosedByWith):
    """The Slide protocol over one process. `release` is called once, when what was opened is closed."""

    def __init__(
        self,
        nursery: Nursery,
        address: SlideAddress,
        limits: DecodeLimits,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """Raises what opening the slide raises, DecodeTimeout and DecodeCrash among it."""
        self._memory = SharedMemory(BOX_BYTES)
        self._slide = SlideProcess(nursery, address, limits, self._memory)
        self._release = release
        self._deaths, self._most_deaths = 0, limits.deaths
        self._last: DecodeFailed | None = None
        self._is_open, self._lock = True, Lock()
        try:
            self.info = self._slide.info
        except BaseException:
            self._end()
            raise

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        """Raises DecodeTimeout, DecodeCrash: at once where that has happened too often; TileUnreadable."""
        rows = max(1, BOX_BYTES // (box.width * self._bytes_a_px(image)))
        strips = [
            BoxPx(box.x, y, box.width, min(rows, box.bottom - y)) for y in range(box.y, box.bottom, rows)
        ]
        parts: list[NDArray[Any]] = [self._strip(Box(image, level, strip)) for strip in strips]
        joined: NDArray[Any] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return joined

    def close(self) -> None:
        with self._lock:
            if not self._is_open:
                return
            try:
                self._end()
            finally:
                self._release()

    def _end(self) -> None:
        self._is_open = False
        try:
            self._slide.close()
        finally:
            self._memory.close()

    def _bytes_a_px(self, image: int) -> int:
        info = self.info.images[image]
        return info.samples_per_px * info.bit_depth // 8

    def _strip(self, wanted: Box) -> Pixels:
        with self._lock:
            if not self._is_open:
                raise ValueError("read of a closed slide")
            if self._last is not None and self._deaths > self._most_deaths:
                raise self._last
            try:
                return self._pixels(self._slide.ask(wanted))
            except DecodeFailed as failed:
                self._deaths, self._last = self._deaths + 1, failed
                raise

    def _pixels(self, placed: Placed) -> Pixels:
        """A copy: the memory is used again. Raises DecodeCrash for what cannot lie there."""
        if not isinstance(placed, Placed) or prod(placed.shape) * np.dtype(placed.kind).itemsize > BOX_BYTES:
            raise DecodeCrash("the process that decoded it answered what it was not asked")
        pixels: Pixels = self._memory.array(placed.shape, placed.kind).copy()
        return pixels


class BoundedTiles:
    """Tiles of one slide, read in `processes` of its own into a ring of shared memory. Thread-safe."""

    def __init__(
        self,
        nursery: Nursery,
        address: SlideAddress,
        limits: DecodeLimits,
        ring: "Ring",
        processes: int = 1,
    ) -> None:
        """Raises what opening the slide raises."""
        self._ring = ring
        self._most_deaths = limits.deaths
        self._deaths, self._lock = 0, Lock()
        fetch = fetcher_of(address)  # one for all: tiles that lie side by side share blocks
        self._all = [SlideProcess(nursery, address, limits, ring.memory, fetch) for _ in range(processes)]
        self._idle: LifoQueue[SlideProcess] = LifoQueue()
        for each in self._all:
            self._idle.put(each)
        try:
            self.info = self._all[-1].info
        except BaseException:
            self.close()
            raise

    def __call__(self, plan: TilePlan, tile: PlannedTile, slot: int, most_failed: int) -> TilePixels:
        """The tile, its pixels in the ring at `slot`; one that its process dies of is a failure with a code.

        Raises DecodeTimeout or DecodeCrash where more than `most_failed` tiles, or too many of the slide,
        ended so; NonFinitePixels.
        """
        process = self._idle.get()
        try:
            for attempt in range(TRIES):
                try:
                    placed = process.ask(Tile(plan, tile, self._ring.offset(slot)))
                    return self._pixels(placed, plan, tile, slot)
                except DecodeFailed as failed:
                    if attempt == TRIES - 1:
                        return self._failed(tile, failed, most_failed)
            raise AssertionError("a loop of no tries")
        finally:
            self._idle.put(process)

    def close(self) -> None:
        for each in self._all:
            each.close()

    def _pixels(self, placed: PlacedTile, plan: TilePlan, tile: PlannedTile, slot: int) -> TilePixels:
        if placed.failure:
            return TilePixels(tile, None, failure=placed.failure)
        grid = None if placed.grid is None else np.frombuffer(placed.grid, np.float32).reshape(2, 8)
        return TilePixels(tile, self._ring.view(slot, plan.seen_px), placed.is_blank, grid=grid)

    def _failed(self, tile: PlannedTile, failed: DecodeFailed, most_failed: int) -> TilePixels:
        with self._lock:
            self._deaths += 1
            if self._deaths > min(most_failed, self._most_deaths):
                raise failed
        return TilePixels(tile, None, failure=f"{failed.code}: {failed.what}")


class Ring:
    """Places for tiles of `side_px` in shared memory, written to again and again."""

    def __init__(self, slots: int, side_px: int) -> None:
        self.slots = slots
        self._side_px = side_px
        self.memory = SharedMemory(slots * side_px**2 * 4)

    def offset(self, slot: int) -> int:
        return (slot % self.slots) * self._side_px**2 * 4

    def view(self, slot: int, side_px: int) -> NDArray[np.float32]:
        view: NDArray[np.float32] = self.memory.array((side_px, side_px), np.float32, self.offset(slot))
        return view

    def close(self) -> None:
        self.memory.close()
