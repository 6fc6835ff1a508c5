"""A labelled field as arrays: grey values, one mask a class, and which classes it says anything about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.annotations import read_annotation
from ultraread.datasets.geometry import SizePx, whole
from ultraread.datasets.manifest import Kind, LabelledField, locate
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import TileUnreadable
from ultraread.datasets.tile_stream import as_grey
from ultraread.errors import ClassEmpty, LabelsRefused, NonFinitePixels

WHOLE_NUMBERS = (8, 16)
"""Bit depths of whole numbers, whose full range is known."""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """`grey` (H, W) from 0 to 1, linear in the stored intensities; `masks` (C, H, W) of 0 and 1.

    `known` (C,) is False where no annotation labels the class. `tile_values` (C,) are area fractions stated
    for the whole image, NaN where none is stated; the mask of such a class is empty and means nothing. `span`
    holds the least and greatest stored intensity as shares of the full range of the image's bit depth; None
    for float pixels, whose range is not known.
    """

    field: LabelledField
    grey: NDArray[np.float32]
    masks: NDArray[np.uint8]
    known: NDArray[np.bool_]
    tile_values: NDArray[np.float32]
    span: tuple[float, float] | None


def load_labelled(field: LabelledField, codes: Sequence[str]) -> LabelledImage:
    """Read a field's image and the masks of `codes`, in that order; both files' digests are confirmed.

    Raises LabelsRefused by its fact, IntegrityFailed, CorpusUnreachable, or why the image cannot be opened.
    """
    grey, span = read_grey_and_span(locate(field.image, field.folder, field.image_sha256))
    masks, tile_values = (
        np.zeros((len(codes), *grey.shape), np.uint8),
        np.full(len(codes), np.nan, np.float32),
    )
    for row in field.annotations:
        if row.class_codes.isdisjoint(codes):
            continue
        if row.kind == Kind.TILE:
            tile_values[codes.index(row.code)] = row.value
            continue
        file = locate(row.annotation, field.folder, row.annotation_sha256)
        for code, mask in read_annotation(row, file, SizePx(grey.shape[1], grey.shape[0])).items():
            if code in codes:
                masks[codes.index(code)] |= mask
    known = np.array([code in field.codes for code in codes], bool)
    return LabelledImage(field, grey, masks, known, tile_values, span)


def require_classes(images: Sequence[LabelledImage], codes: Sequence[str]) -> None:
    """Raise ClassEmpty that names a class which nothing in `images` shows."""
    for channel, code in enumerate(codes):
        if not any(_shows(image, channel) for image in images):
            raise ClassEmpty(f"{code} is nowhere labelled in {len(images)} images")


def read_grey(file: Path) -> NDArray[np.float32]:
    """Return the first image of a file, full size, (H, W) float32 from 0 to 1; all 0 where it is constant."""
    return read_grey_and_span(file)[0]


def read_grey_and_span(file: Path) -> tuple[NDArray[np.float32], tuple[float, float] | None]:
    """Return `read_grey`, and the span of the stored intensities: see LabelledImage."""
    with open_slide(file) as slide:
        image = slide.info.images[0]
        try:
            grey = as_grey(slide.read_box(0, 0, whole(image.size)))
        except TileUnreadable as failure:
            raise LabelsRefused(f"{file.name}: {failure}", "Export the image again.") from failure
    if not np.isfinite(grey).all():
        raise NonFinitePixels(f"{file.name} holds NaN or infinite pixels")
    return _from_0_to_1(grey), _span(grey, image.bit_depth)


def _span(grey: NDArray[np.float32], bit_depth: int) -> tuple[float, float] | None:
    if bit_depth not in WHOLE_NUMBERS:
        return None
    full = 2**bit_depth - 1
    return float(grey.min()) / full, float(grey.max()) / full


def _from_0_to_1(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    least, most = float(grey.min()), float(grey.max())
    return np.asarray((grey - least) / ((most - least) or 1.0), np.float32)


def _shows(image: LabelledImage, channel: int) -> bool:
    return bool(image.masks[channel].any()) or bool(image.tile_values[channel] > 0)
