"""Convert a slide to OME-TIFF or DICOM WSI. Nothing of it is copied but pixels, scale and digest.

Pixels stream row of tiles by row of tiles: memory does not grow with the height of a slide.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.identity.masking import masked
from ultraread.datasets.scale import StatedScale, choose_scale
from ultraread.datasets.slide import ImageInfo, Pixels, Slide, TileUnreadable
from ultraread.errors import OutputExists, RequestInvalid, SlideDamaged

TILE_PX = 512
"""Side of what is compressed as one: 256 KiB of grey, a good range for a request to an object store."""

TellRows = Callable[[int], None]
"""Called with how many pixel rows of a full-size image are done."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image that is converted: where it is read, what is painted over, and the scale that is written."""

    slide: Slide
    info: ImageInfo
    masks: tuple[BoxPx, ...]
    scale: StatedScale | None

    def read(self, box: BoxPx) -> Pixels:
        """A box of the full size, masked. Raises SlideDamaged: a copy with a hole is no copy."""
        try:
            pixels = self.slide.read_box(self.info.index, 0, box)
        except TileUnreadable as failure:
            raise SlideDamaged(f"image {self.info.index}: {failure}") from failure
        return cast(Pixels, masked(pixels, box, self.masks))

    def bands(self, rows: int) -> Iterator[Pixels]:
        """The whole image from top to bottom, `rows` pixel rows at a time."""
        size = self.info.size
        for top in range(0, size.height, rows):
            yield self.read(BoxPx(0, top, size.width, min(rows, size.height - top)))


def chosen_images(images: Sequence[ImageInfo], wanted: Sequence[int]) -> list[ImageInfo]:
    """Those that were asked for, all where none was named. Raises RequestInvalid."""
    missing = [number for number in wanted if not 0 <= number < len(images)]
    if missing:
        raise RequestInvalid(f"there is no image {missing[0]}; the slide has {len(images)}")
    return [images[number] for number in wanted] if wanted else list(images)


def scale_to_write(image: ImageInfo, *more: StatedScale | None) -> StatedScale | None:
    """The most exact scale of an image, of its own and `more`; None where there is none: it may be kept so.

    Pixels that are not square are written as they are. Raises ScalesDisagree: a copy would hide that.
    """
    found = [*image.scales, *(scale for scale in more if scale is not None)]
    if len(found) <= 1:
        return found[0] if found else None
    best = choose_scale(found)
    return StatedScale(best.nm_per_px, best.nm_per_px, best.origin, best.tolerance, best.reason)


def pyramid_sizes(size: SizePx, tile_px: int = TILE_PX) -> list[SizePx]:
    """Sizes of the levels, each half of the one before, down to the first that is one tile."""
    sizes = [size]
    while max(sizes[-1].width, sizes[-1].height) > tile_px:
        sizes.append(SizePx(max(1, sizes[-1].width // 2), max(1, sizes[-1].height // 2)))
    return sizes


def halved(pixels: Any) -> Any:  # noqa: ANN401  # (height, width) or (height, width, 3) of any kind
    """Means of 2 x 2 px, whole numbers rounded half up; an odd last row or column is left out.

    A picture one pixel high or wide keeps that side.
    """
    height, width = pixels.shape[:2]
    even = pixels[: max(1, height // 2 * 2), : max(1, width // 2 * 2)]
    rows = [even[0::2], even[1::2] if height > 1 else even]
    wide = np.float64 if pixels.dtype.kind == "f" else np.uint32
    parts = [part[:, side::2] if width > 1 else part for part in rows for side in (0, 1)]
    total: Any = sum(part.astype(wide) for part in parts)
    return (total / 4 if wide is np.float64 else (total + 2) // 4).astype(pixels.dtype)


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """A temporary name beside `out`, renamed to it at the end; nothing is left where anything fails.

    Raises OutputExists.
    """
    if out.exists():
        raise OutputExists(f"{out} exists", "Choose another name, or move the old file away.")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.partial")
    _remove(unfinished)
    try:
        yield unfinished
        for file in [*unfinished.rglob("*"), unfinished]:
            _fsync(file)
        unfinished.rename(out)
        _fsync(out.parent)
    finally:
        _remove(unfinished)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
