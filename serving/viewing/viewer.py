"""Pictures of filed slides: rendered when asked for, kept within bounds, masked where needed."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx, SizePx, whole
from ultraread.datasets.identity.masking import masked
from ultraread.datasets.slide import ImageInfo, Pixels, Slide
from ultraread.datasets.slide_address import SlideAddress
from ultraread.errors import ViewTooLarge
from ultraread.serving.viewing.display import (
    AS_IT_COMES,
    AS_STORED,
    AskedDisplay,
    Display,
    full_range,
    measured,
    shown,
)
from ultraread.serving.viewing.encode import AS_JPEG, Finish, encoded
from ultraread.serving.viewing.kept import Kept
from ultraread.serving.viewing.layers import (
    Layer,
    make_overview,
    overview_factor,
    overview_layer,
    sample_boxes,
    stored_layers,
)
from ultraread.serving.viewing.open_slides import OpenSlides
from ultraread.serving.viewing.region import Region, best_layer, picture_of, region_of
from ultraread.serving.viewing.slots import RenderingSlots

RENDERING = 1
"""Raised when the same picture gets other bytes: what browsers keep is then out of date."""
PICTURES_BYTES = 64 * 2**20
OVERVIEWS_BYTES = 128 * 2**20
MEASURED_SIDE_PX = 512
MASK_MARGIN_PX = 2
"""Pixels of a shrunk picture that a mask reaches further: filters mix what is hidden into its neighbours."""


@dataclass(frozen=True, slots=True)
class ViewedImage:
    """One image of a filed slide, and what of it is painted over (level-0 pixels)."""

    slide_id: str
    slide_sha256: str
    index: int
    size: SizePx
    masks: tuple[BoxPx, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """All that decides the bytes of a picture."""

    image: ViewedImage
    region: Region
    display: AskedDisplay = AS_IT_COMES
    finish: Finish = AS_JPEG

    @property
    def etag(self) -> str:
        """A strong entity tag, in its quotes."""
        return f'"{hashlib.sha256(f"{RENDERING} {self!r}".encode()).hexdigest()[:32]}"'


@dataclass(frozen=True, slots=True)
class MadePicture:
    """A picture's file. Where it is not whole, stored pixels could not be decoded: not this time."""

    file: bytes
    is_whole: bool


@dataclass(frozen=True, slots=True)
class _Overview:
    pixels: Pixels
    holes: tuple[BoxPx, ...]


class Viewer:
    """Holds the opened slides and what was made of them. Thread-safe; closed by its owner."""

    def __init__(self, slides: OpenSlides | None = None, slots: RenderingSlots | None = None) -> None:
        self._slides = slides or OpenSlides()
        self._slots = slots or RenderingSlots()
        self._pictures: Kept[MadePicture] = Kept(PICTURES_BYTES, lambda made: len(made.file))
        self._overviews: Kept[_Overview] = Kept(OVERVIEWS_BYTES, lambda overview: overview.pixels.nbytes)
        self._displays: Kept[Display] = Kept(2**20, lambda _display: 2**8)

    def __call__(self, picture: Picture, address: Callable[[], SlideAddress]) -> MadePicture:
        """The picture. `address` says where the slide lies, if it has to be opened.

        One that is not whole is not kept, and the slide is opened anew for the next: it may be repaired.
        Raises ViewRequestInvalid, ViewTooLarge, ViewBusy, and what opening the slide raises.
        """
        there = self._pictures.find(picture)
        if there is not None:
            return there
        with self._slots.one():
            made = self._pictures.get(picture, lambda: self._made(picture, address))
        if not made.is_whole:
            self._pictures.drop(picture)
            self._slides.forget(picture.image.slide_id)
        return made

    def forget(self, slide_id: str) -> None:
        """The slide is gone or was replaced: close its files."""
        self._slides.forget(slide_id)

    def close(self) -> None:
        self._slides.close()

    def _made(self, picture: Picture, address: Callable[[], SlideAddress]) -> MadePicture:
        holes: list[BoxPx] = []
        with self._slides.using(picture.image.slide_id, address) as slide:
            pixels = self._pixels(picture, slide, holes)
        file = encoded(painted(pixels, picture.region, picture.image.masks), picture.finish)
        return MadePicture(file, is_whole=not holes)

    def _pixels(self, picture: Picture, slide: Slide, holes: list[BoxPx]) -> NDArray[np.uint8]:
        image = slide.info.images[picture.image.index]
        layers = self._layers(picture.image, slide, image, holes)
        display = picture.display.over(self._default_display(picture.image, image, layers))
        return shown(picture_of(best_layer(layers, picture.region), picture.region), display)

    def _layers(self, viewed: ViewedImage, slide: Slide, image: ImageInfo, holes: list[BoxPx]) -> list[Layer]:
        """The stored levels, and an overview below them where the smallest one is large."""
        layers = stored_layers(slide, image, holes.append)
        coarsest = layers[-1]
        factor = overview_factor(coarsest.size)
        if factor == 1:
            return layers
        key = (viewed.slide_sha256, viewed.index)

        def overview() -> Pixels:
            there = self._overviews.get(key, lambda: _overview_of(slide, image, factor))
            holes.extend(there.holes)
            return there.pixels

        return [*layers, overview_layer(coarsest, factor, overview)]

    def _default_display(self, viewed: ViewedImage, image: ImageInfo, layers: Sequence[Layer]) -> Display:
        if image.bit_depth == 8:
            return AS_STORED
        if image.samples_per_px == 3 and image.bit_depth == 16:
            return full_range(16)
        key = (viewed.slide_sha256, viewed.index)
        return self._displays.get(key, lambda: measured(_sample(layers)))


def _overview_of(slide: Slide, image: ImageInfo, factor: int) -> _Overview:
    holes: list[BoxPx] = []
    coarsest = stored_layers(slide, image, holes.append)[-1]
    return _Overview(make_overview(coarsest, factor), tuple(holes[:1]))


def painted(pixels: NDArray[np.uint8], region: Region, masks: Sequence[BoxPx]) -> NDArray[np.uint8]:
    """The picture with the masks (level-0 pixels) painted over it, rounded outward."""
    boxes = [_in_picture(mask, region) for mask in masks]
    return masked(pixels, whole(region.size), boxes)


def fitting(size: SizePx, side_px: int) -> SizePx:
    """The size at which an image fits into a square; never larger than the image itself."""
    share = min(1.0, side_px / max(size.width, size.height))
    return SizePx(max(1, round(size.width * share)), max(1, round(size.height * share)))


def _in_picture(mask: BoxPx, region: Region) -> BoxPx:
    margin_x, margin_y = (MASK_MARGIN_PX if scale > 1 else 0 for scale in (region.across, region.down))
    left = floor((mask.x - region.left) / region.across) - margin_x
    top = floor((mask.y - region.top) / region.down) - margin_y
    right = ceil((mask.right - region.left) / region.across) + margin_x
    bottom = ceil((mask.bottom - region.top) / region.down) + margin_y
    return BoxPx(left, top, right - left, bottom - top)


def _sample(layers: Sequence[Layer]) -> Pixels:
    """The whole image, small; of an image too large to be seen whole, boxes all over it."""
    size = layers[0].size
    region = region_of(whole(size), fitting(size, MEASURED_SIDE_PX))
    try:
        return picture_of(best_layer(layers, region), region)
    except ViewTooLarge:
        boxes = [layers[0].read(box).astype(np.float32).ravel() for box in sample_boxes(size)]
        return np.concatenate(boxes)
