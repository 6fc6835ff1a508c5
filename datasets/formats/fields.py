"""A folder of fields: each file a slide of its own, all their images one after the other."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import PurePosixPath
from threading import Lock

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.slide import ClosedByWith, Pixels, Slide, SlideFormat, SlideInfo, TileUnreadable
from ultraread.datasets.slide_address import SlideAddress, series_of
from ultraread.errors import InputRefused, SlideTooLarge

MAX_FIELDS = 10_000
MAX_OPEN = 32
"""Fields that stay open for the next read: a process may often open no more than 1,024 files."""


class FieldsSlide(ClosedByWith):
    """Several slides as one; image indices run on through all of them. Each is opened where it is read."""

    def __init__(self, address: SlideAddress, open_one: Callable[[SlideAddress], Slide]) -> None:
        parts = tuple(islice(_parts(address), MAX_FIELDS + 1))
        if len(parts) > MAX_FIELDS:
            raise SlideTooLarge(f"more than {MAX_FIELDS:,} fields in one folder", "Divide the folder.")
        self._opened = _OpenedFields(parts, open_one)
        try:
            described = [self._opened.info(number) for number in range(len(parts))]
        except BaseException:
            self.close()
            raise
        self._images = [(n, image) for n, info in enumerate(described) for image in info.images]
        self.info = SlideInfo(
            format=SlideFormat.FIELDS,
            images=tuple(replace(image, index=n) for n, (_, image) in enumerate(self._images)),
            tags=tuple(tag for info in described for tag in info.tags),
            left_out=tuple(dict.fromkeys(name for info in described for name in info.left_out)),
        )

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        number, of_field = self._images[image]
        with self._opened.field(number) as slide:
            if of_field not in slide.info.images:
                raise TileUnreadable("a file of the folder is another than it was")
            return slide.read_box(of_field.index, level, box)

    def close(self) -> None:
        self._opened.close()


class _OpenedFields:
    """The fields that were read last, open; those that are being read stay open whatever their number."""

    def __init__(self, parts: Sequence[SlideAddress], open_one: Callable[[SlideAddress], Slide]) -> None:
        self._parts = parts
        self._open_one = open_one
        self._slides: OrderedDict[int, Slide] = OrderedDict()
        self._readers: Counter[int] = Counter()
        self._lock = Lock()
        self._is_closed = False

    def info(self, number: int) -> SlideInfo:
        """Raises the InputRefused of a field, with its number."""
        with self._lock:
            return self._slide(number).info

    @contextmanager
    def field(self, number: int) -> Iterator[Slide]:
        """A field that stays open meanwhile. Raises TileUnreadable where it cannot be opened any more."""
        with self._lock:
            try:
                slide = self._slide(number)
            except InputRefused as refused:
                raise TileUnreadable("a file of the folder can be read no more") from refused
            self._readers[number] += 1
        try:
            yield slide
        finally:
            with self._lock:
                self._readers[number] -= 1

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            while self._slides:
                self._slides.popitem()[1].close()

    def _slide(self, number: int) -> Slide:
        if self._is_closed:
            raise ValueError("read of a closed slide")
        if number not in self._slides:
            self._close_unread()
            self._slides[number] = _opened(self._parts[number], number, self._open_one)
        self._slides.move_to_end(number)
        return self._slides[number]

    def _close_unread(self) -> None:
        unread = [number for number in self._slides if not self._readers[number]]
        for number in unread[: max(0, len(self._slides) - MAX_OPEN + 1)]:
            self._slides.pop(number).close()


def _parts(address: SlideAddress) -> Iterator[SlideAddress]:
    """Each file by itself; an EMI file with the SER files that it describes."""
    left = {file.name: file for file in address.files}
    for file in address.files:
        if file.name in left:
            names = series_of(file.name, left)
            yield SlideAddress(PurePosixPath(file.name).name, tuple(left.pop(name) for name in names))


def _opened(part: SlideAddress, number: int, open_one: Callable[[SlideAddress], Slide]) -> Slide:
    try:
        return open_one(part)
    except InputRefused as refused:
        remedy = f"{refused.remedy} Or move that file out of the folder; hidden files and notes are left out."
        raise type(refused)(f"file {number + 1} of the folder: {refused.what}", remedy) from refused
