"""The second door: may this slide be read by a model that demands this scale, modality and tile?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx, SizePx, whole
from ultraread.datasets.other_scales import OtherScales, no_others
from ultraread.datasets.scale import Scale, StatedScale, check_scale_range, choose_scale
from ultraread.datasets.slide import ImageInfo, Modality, Pixels, Slide, TileUnreadable
from ultraread.errors import (
    BitDepthMismatch,
    ModalityMismatch,
    NonFinitePixels,
    ReadRefused,
    RegionInvalid,
    SlideTooSmall,
)

GREY_WITHIN = 8
"""8-bit steps by which channels of grey coded as RGB may differ (JPEG chroma rounding)."""
GREY_FRACTION = 0.999
SAMPLE_BOXES = 4
SAMPLE_SIDE_PX = 256


@dataclass(frozen=True, slots=True)
class ReadDemands:
    """What a model asks of an image before it may read it."""

    modality: Modality
    nominal_nm_per_px: float
    min_nm_per_px: float
    max_nm_per_px: float
    tile_px: int
    bit_depths: tuple[int, ...] = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class AdmittedImage:
    """An image that may be read: its trusted scale, what it is, and the part to read (level-0 pixels)."""

    info: ImageInfo
    modality: Modality
    scale: Scale
    region: BoxPx
    zoom: float


@dataclass(frozen=True, slots=True)
class OutOfScopeImage:
    """A light micrograph, which no model of electron micrographs reads; its scale where the file has one."""

    info: ImageInfo
    scale: Scale | None


@dataclass(frozen=True, slots=True)
class Admission:
    """The images of a slide that are read, and those that a read only tells of."""

    images: tuple[AdmittedImage, ...]
    out_of_scope: tuple[OutOfScopeImage, ...]


def admit(
    slide: Slide,
    demands: ReadDemands,
    stated: StatedScale | None = None,
    region: BoxPx | None = None,
    others: OtherScales = no_others,
) -> Admission:
    """Admit every image of the slide. Raises the ReadRefused or RegionInvalid that applies.

    An image's scale is chosen from what its file states, what an operator states, and `others`.

    The glass slide belongs to its case, so a light micrograph refuses nothing: its findings are out of scope.
    """
    kinds = [(image, modality_of(slide, image)) for image in slide.info.images]
    apart = [image for image, kind in kinds if _is_out_of_scope(kind, demands)]
    return Admission(
        tuple(
            _admit_image(slide, image, kind, demands, _with(stated, others), region)
            for image, kind in kinds
            if image not in apart
        ),
        tuple(OutOfScopeImage(image, _scale_if_any(image, others)) for image in apart),
    )


def modality_of(slide: Slide, image: ImageInfo) -> Modality:
    """The image's modality; grey coded as RGB counts as grey, which is taken as an electron micrograph."""
    if image.samples_per_px == 1 or image.modality_is_stated:
        return image.modality
    spread = [_channel_spread(pixels) for pixels in _sample(slide, image)]
    is_grey = bool(spread) and np.mean([(each <= GREY_WITHIN).mean() for each in spread]) >= GREY_FRACTION
    return Modality.TEM if is_grey else image.modality


def _is_out_of_scope(modality: Modality, demands: ReadDemands) -> bool:
    return Modality.SEMITHIN_LIGHT == modality != demands.modality


def _with(stated: StatedScale | None, others: OtherScales) -> OtherScales:
    return lambda image: [*others(image), *([stated] if stated else [])]


def _scale_if_any(image: ImageInfo, others: OtherScales) -> Scale | None:
    """A scale that an operator states is that of the fields, not of the glass slide."""
    try:
        return choose_scale([*image.scales, *others(image)])
    except ReadRefused:
        return None


def _admit_image(
    slide: Slide,
    image: ImageInfo,
    modality: Modality,
    demands: ReadDemands,
    others: OtherScales,
    region: BoxPx | None,
) -> AdmittedImage:
    if modality != demands.modality:
        raise ModalityMismatch(f"image {image.index} is {modality}; the model reads {demands.modality}")
    if image.bit_depth not in demands.bit_depths:
        read = " and ".join(map(str, demands.bit_depths))
        raise BitDepthMismatch(f"image {image.index} has {image.bit_depth} bit; the model reads {read} bit")
    scale = choose_scale([*image.scales, *others(image)])
    check_scale_range(scale, demands.min_nm_per_px, demands.max_nm_per_px)
    part = region or whole(image.size)
    if not part.lies_in(image.size):
        told = f"region {part.x},{part.y} {part.width} x {part.height} px"
        raise RegionInvalid(f"{told} does not lie in {image.size.width} x {image.size.height} px")
    zoom = demands.nominal_nm_per_px / scale.nm_per_px
    _refuse_too_small(part, zoom, demands.tile_px)
    _refuse_nonfinite(slide, image)
    return AdmittedImage(image, modality, scale, part, zoom)


def _refuse_too_small(region: BoxPx, zoom: float, tile_px: int) -> None:
    needed = tile_px * zoom
    if min(region.width, region.height) < needed - 0.5:
        raise SlideTooSmall(f"{region.width} x {region.height} px; a tile of the model needs {needed:.0f} px")


def _refuse_nonfinite(slide: Slide, image: ImageInfo) -> None:
    if image.bit_depth == 32 and not all(np.isfinite(pixels).all() for pixels in _sample(slide, image)):
        raise NonFinitePixels(f"image {image.index} holds NaN or infinite pixels")


def _sample(slide: Slide, image: ImageInfo) -> Iterator[Pixels]:
    """Boxes on a lattice over the image; damaged ones are left out here and counted by the read."""
    for box in _lattice(image.size):
        try:
            yield slide.read_box(image.index, 0, box)
        except TileUnreadable:
            continue


def _lattice(size: SizePx) -> Iterator[BoxPx]:
    side_x, side_y = min(SAMPLE_SIDE_PX, size.width), min(SAMPLE_SIDE_PX, size.height)
    for row in range(SAMPLE_BOXES):
        for column in range(SAMPLE_BOXES):
            x = (size.width - side_x) * column // (SAMPLE_BOXES - 1)
            y = (size.height - side_y) * row // (SAMPLE_BOXES - 1)
            yield BoxPx(x, y, side_x, side_y)


def _channel_spread(pixels: Pixels) -> NDArray[np.float32]:
    """(height, width): largest minus smallest channel, in 8-bit steps."""
    steps = 257 if pixels.dtype == np.uint16 else 1
    spread: NDArray[np.float32] = np.ptp(pixels.astype(np.float32), axis=2) / np.float32(steps)
    return spread
