"""A folder of fields: each file a slide of its own, all their images one after the other."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.slide import Pixels, Slide, SlideFormat, SlideInfo
from ultraread.datasets.slide_address import SlideAddress, series_of
from ultraread.errors import InputRefused


class FieldsSlide:
    """Several opened slides as one; image indices run on through all of them."""

    def __init__(self, address: SlideAddress, open_one: Callable[[SlideAddress], Slide]) -> None:
        self._slides: list[Slide] = []
        try:
            for number, part in enumerate(_parts(address)):
                self._slides.append(_opened(part, number, open_one))
        except BaseException:
            self.close()
            raise
        self._images = [(slide, image) for slide in self._slides for image in slide.info.images]
        self.info = SlideInfo(
            format=SlideFormat.FIELDS,
            images=tuple(replace(image, index=n) for n, (_, image) in enumerate(self._images)),
            tags=tuple(tag for slide in self._slides for tag in slide.info.tags),
            left_out=tuple(dict.fromkeys(name for slide in self._slides for name in slide.info.left_out)),
        )

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        slide, of_slide = self._images[image]
        return slide.read_box(of_slide.index, level, box)

    def close(self) -> None:
        for slide in self._slides:
            slide.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
