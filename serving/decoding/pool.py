"""Decoding what came from outside: in processes that may hang, crash or fill up without harm to anybody."""

from collections.abc import Callable
from threading import BoundedSemaphore
from typing import TypeVar

from ultraread.datasets.slide_address import SlideAddress
from ultraread.errors import DecodeFailed, DecodingBusy, Unavailable
from ultraread.serving.decoding.bounded_slide import BoundedSlide, BoundedTiles, Ring
from ultraread.serving.decoding.limits import DecodeLimits
from ultraread.serving.decoding.messages import Call
from ultraread.serving.decoding.process import SEE_LIMITS, Nursery

Result = TypeVar("Result")
NO_LIMITS_STATED = DecodeLimits()
ANSWERS_WITHIN_S = 10.0
"""A process that is asked whether it lives; it answers within milliseconds."""


class DecodingPool:
    """Starts a bounded number of processes, each for one slide or call, then thrown away. Thread-safe.

    Whatever happens there comes back as an error of ours: DecodeTimeout, DecodeCrash, or what was raised.
    Closed by its owner; its processes end with the process that holds it, too.
    """

    def __init__(self, limits: DecodeLimits = NO_LIMITS_STATED) -> None:
        self.limits = limits
        self._nursery = Nursery()
        self._places = BoundedSemaphore(limits.processes)

    def open(self, address: SlideAddress) -> BoundedSlide:
        """As open_slide does. Raises DecodingBusy where no place becomes free."""
        self._take_place()
        try:
            return BoundedSlide(self._nursery, address, self.limits, release=self._places.release)
        except BaseException:
            self._places.release()
            raise

    def keep_open(self, address: SlideAddress) -> BoundedSlide:
        """As `open`, for an owner that bounds the number of its slides: nobody waits for these."""
        return BoundedSlide(self._nursery, address, self.limits)

    def tiles(self, address: SlideAddress, ring: Ring, processes: int = 1) -> BoundedTiles:
        """The slide's tiles, for scoring. Raises what opening the slide raises."""
        return BoundedTiles(self._nursery, address, self.limits, ring, processes)

    def call(
        self,
        function: Callable[..., Result],
        *arguments: object,
        limit_s: float | None = None,
        files: tuple[str, ...] = (),
    ) -> Result:
        """What a function of a module returns: plain values, data classes and enums of ours, no arrays.

        It may read `files`, and what is below those of them that are folders.
        """
        self._take_place()
        try:
            process = self._nursery.start(self.limits.memory_bytes, None)
            try:
                call = Call(function, arguments, files)
                result: Result = process.ask(call, limit_s or self.limits.open_s)
                return result
            finally:
                process.kill()
        finally:
            self._places.release()

    def check(self) -> None:
        """Start a process that answers, whatever else is decoded meanwhile. Raises Unavailable."""
        process = self._nursery.start(self.limits.memory_bytes, None)
        try:
            process.ask(Call(abs, (-1,)), ANSWERS_WITHIN_S)
        except DecodeFailed as failed:
            raise Unavailable(f"no slide can be decoded: {failed.what}", SEE_LIMITS) from failed
        finally:
            process.kill()

    def close(self) -> None:
        """End every process."""
        self._nursery.close()

    def _take_place(self) -> None:
        if not self._places.acquire(timeout=self.limits.open_s):
            raise DecodingBusy(f"{self.limits.processes} slides are being decoded")
