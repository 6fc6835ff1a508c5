"""One look at a labelled field: what the check needs of it, small enough to keep for a whole manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultraread.datasets.geometry import SizePx
from ultraread.datasets.labelled_image import LabelledImage, load_labelled
from ultraread.datasets.manifest import LabelledField, locate
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.perceptual_hash import Fingerprint, fingerprint
from ultraread.datasets.scale import StatedScale

THUMBNAIL_PX = 360


@dataclass(frozen=True, slots=True)
class FieldLook:
    """`fractions` is the area fraction of each class that is labelled, `thumbnail` (h, w) grey.

    `cover` (C, h, w) is how much of each of its pixels a class covers, 0 to 255, in the order of the codes.
    """

    field: LabelledField
    size: SizePx
    fractions: Mapping[str, float]
    fingerprint: Fingerprint
    thumbnail: NDArray[np.uint8]
    cover: NDArray[np.uint8]
    stated: tuple[StatedScale, ...]


def look_at(field: LabelledField, codes: Sequence[str]) -> FieldLook:
    """Read image and masks once. Raises what `load_labelled` raises."""
    image = load_labelled(field, codes)
    masks = [_shrunk(255.0 * mask.astype(np.float32)) for mask in image.masks]
    return FieldLook(
        field=field,
        size=SizePx(image.grey.shape[1], image.grey.shape[0]),
        fractions={
            code: _fraction(image, channel) for channel, code in enumerate(codes) if image.known[channel]
        },
        fingerprint=fingerprint(image.grey),
        thumbnail=_shrunk(255 * image.grey),
        cover=np.stack(masks) if masks else np.zeros((0, 1, 1), np.uint8),
        stated=_stated_scales(field),
    )


def _fraction(image: LabelledImage, channel: int) -> float:
    stated = float(image.tile_values[channel])
    return float(image.masks[channel].mean()) if np.isnan(stated) else stated


def _shrunk(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Means over blocks, so that the longer side is at most THUMBNAIL_PX."""
    picture = Image.fromarray(values, mode=None)
    ratio = min(1.0, THUMBNAIL_PX / max(picture.size))
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    return np.asarray(picture.resize(size, Image.Resampling.BOX)).round().astype(np.uint8)


def _stated_scales(field: LabelledField) -> tuple[StatedScale, ...]:
    with open_slide(locate(field.image, field.folder, field.image_sha256)) as slide:
        return slide.info.images[0].scales
