"""Slides that stay open between pictures, few enough for files and memory; closed when nobody uses them."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import Slide
from ultraread.datasets.slide_address import SlideAddress

MOST_OPEN = 8
MOST_HELD_BYTES = 512 * 2**20
DECODING_BYTES = 32 * 2**20
"""What an opened slide keeps of its stored tiles."""


@dataclass(slots=True)
class _Opened:
    slide: Slide
    held_bytes: int
    users: int = 0
    is_kept: bool = True


class OpenSlides:
    """Opened slides by id, the last used ones; a slide in use is never closed. Thread-safe."""

    def __init__(
        self,
        open_one: Callable[[SlideAddress], Slide] = open_slide,
        most: int = MOST_OPEN,
        most_bytes: int = MOST_HELD_BYTES,
    ) -> None:
        self._open_one = open_one
        self._most = most
        self._most_bytes = most_bytes
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._lock = Lock()
        self._opening = [Lock() for _ in range(16)]

    @contextmanager
    def using(self, slide_id: str, address: Callable[[], SlideAddress]) -> Iterator[Slide]:
        """The opened slide. Raises what opening it raises."""
        opened = self._taken(slide_id, address)
        try:
            yield opened.slide
        finally:
            self._give_back(opened)

    def forget(self, slide_id: str) -> None:
        """Close the slide, when its last user is done: it was removed or replaced."""
        with self._lock:
            opened = self._opened.pop(slide_id, None)
            if opened is not None:
                self._drop(opened)

    def close(self) -> None:
        for slide_id in list(self._opened):
            self.forget(slide_id)

    def __len__(self) -> int:
        return len(self._opened)

    def _taken(self, slide_id: str, address: Callable[[], SlideAddress]) -> _Opened:
        with self._opening[hash(slide_id) % len(self._opening)]:
            opened = self._find(slide_id)
            if opened is not None:
                return opened
            slide = self._open_one(address())
            opened = _Opened(slide, held_bytes(slide), users=1)
            with self._lock:
                self._opened[slide_id] = opened
                self._close_unused()
            return opened

    def _find(self, slide_id: str) -> _Opened | None:
        with self._lock:
            opened = self._opened.get(slide_id)
            if opened is not None:
                self._opened.move_to_end(slide_id)
                opened.users += 1
            return opened

    def _give_back(self, opened: _Opened) -> None:
        with self._lock:
            opened.users -= 1
            if not opened.is_kept and not opened.users:
                opened.slide.close()
            self._close_unused()

    def _close_unused(self) -> None:
        """Close the longest unused ones while there are too many; the newest stays."""
        for slide_id in list(self._opened)[:-1]:
            if not self._too_many():
                return
            if not self._opened[slide_id].users:
                self._drop(self._opened.pop(slide_id))

    def _too_many(self) -> bool:
        held = sum(opened.held_bytes for opened in self._opened.values())
        return len(self._opened) > self._most or held > self._most_bytes

    def _drop(self, opened: _Opened) -> None:
        opened.is_kept = False
        if not opened.users:
            opened.slide.close()


def held_bytes(slide: Slide) -> int:
    """About what an opened slide holds in memory: planes that are decoded whole, or some stored tiles."""
    whole = sum(
        image.size.area_px * image.samples_per_px * image.bit_depth // 8
        for image in slide.info.images
        if image.compression in {"png", "jpeg"} and image.stored_tile is None
    )
    return max(whole, DECODING_BYTES)
