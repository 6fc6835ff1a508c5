"""What an opened slide is: images with size, levels, pixel kind, modality and the scales that were found."""

from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.scale import StatedScale

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
"""(height, width) grey or (height, width, 3) RGB, as stored."""


class Modality(StrEnum):
    """How an image was made."""

    TEM = "tem"
    SEM = "sem"
    STEM = "stem"
    SEMITHIN_LIGHT = "semithin_light"


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One pixel plane. `levels` starts with the full size; `samples_per_px` is 1 (grey) or 3 (RGB)."""

    index: int
    levels: tuple[SizePx, ...]
    bit_depth: int
    samples_per_px: int
    modality: Modality
    modality_is_stated: bool
    scales: tuple[StatedScale, ...]

    @property
    def size(self) -> SizePx:
        return self.levels[0]


@dataclass(frozen=True, slots=True)
class SlideInfo:
    """What a slide holds; `format` names the reader's format (`tiff`, `ome_tiff`, `png`, `jpeg`)."""

    format: str
    images: tuple[ImageInfo, ...]


class Slide(Protocol):
    """An opened slide: a resource, closed by `with`."""

    @property
    def info(self) -> SlideInfo: ...

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        """Return the pixels of a box of that level; the box lies inside it. Safe to call from threads.

        Raises TileUnreadable where stored bytes cannot be decoded.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class TileUnreadable(Exception):
    """Stored pixels cannot be decoded: the tile is named and counted; it does not end a read."""
