"""Labelled fields as tensors at the model's pixel size, and the soft targets that the network learns."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.labelled_image import LabelledImage, load_labelled, require_classes
from ultraread.datasets.manifest import LabelledField, Manifest, load_manifest
from ultraread.datasets.tile_stream import resample
from ultraread.errors import ContrastInverted, LabelsRefused, RequestInvalid
from ultraread.training.config import DataTable, TrainingConfig
from ultraread.training.model_view import ModelView, view_of_recipe


@dataclass(frozen=True, slots=True)
class Field:
    """One labelled image at the model's nm/px.

    `grey` (1, H, W) float32, 0 to 1 over the image's range (of its bit depth's range where the view asks for
    it); `masks` (C, H, W) uint8 of 0 and 1; `known`
    (C,) bool, False for classes of which no mask says where they are; `tile_values` (C,) float32, the area
    fraction that a label of the whole image states, NaN where there is none.
    """

    labelled: LabelledField
    grey: Tensor
    masks: Tensor
    known: Tensor
    tile_values: Tensor

    @property
    def name(self) -> str:
        return self.labelled.name

    @property
    def is_told_as_a_whole(self) -> bool:
        """Whether a label speaks of the whole image, so that a crop of it would be told wrongly."""
        return bool(self.tile_values.isfinite().any())


@dataclass(frozen=True, slots=True)
class LearnedSet:
    """A data set that is learned from: its fields of the recipe's split, and how often they are drawn."""

    manifest: Manifest
    fields: tuple[LabelledField, ...]
    weight: float


def learned_sets(config: TrainingConfig) -> list[LearnedSet]:
    """What the recipe learns from, in its order.

    Raises ManifestInvalid where a set has no such field, RequestInvalid where two sets have one name.
    """
    names = [one.manifest.stem for one in config.data]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise RequestInvalid(f"two data sets are called {twice[0]}", "Name their manifests differently.")
    return [_learned_set(one) for one in config.data]


def _learned_set(one: DataTable) -> LearnedSet:
    manifest = load_manifest(one.manifest)
    return LearnedSet(manifest, manifest.only(one.split).fields, one.weight)


def load_fields(labelled: Sequence[LabelledField], view: ModelView) -> list[Field]:
    """Load fields in that order. Raises LabelsRefused for what cannot be judged."""
    return [load_field(one, view) for one in labelled]


def load_training_fields(labelled: Sequence[LabelledField], config: TrainingConfig) -> list[Field]:
    """Load fields to learn from: every class is somewhere, and electron-dense classes are dark."""
    images = [load_labelled(one, config.codes) for one in labelled]
    require_classes(images, config.codes)
    for image in images:
        refuse_inverted(image, config)
    return [_at_model_scale(image, view_of_recipe(config)) for image in images]


def load_field(labelled: LabelledField, view: ModelView) -> Field:
    """Load one field."""
    return _at_model_scale(load_labelled(labelled, view.codes), view)


def refuse_inverted(image: LabelledImage, config: TrainingConfig) -> None:
    """Raise ContrastInverted where an electron-dense class is brighter than what is around it."""
    for one, mask, known in zip(config.classes, image.masks, image.known, strict=True):
        inside = mask.astype(bool)
        if one.electron_dense and known and inside.any() and not inside.all():
            lighter = float(image.grey[inside].mean() - image.grey[~inside].mean())
            if lighter > 0:
                raise ContrastInverted(f"{image.field.name}: {one.name} is brighter than the rest")


def normalise(grey: Tensor, clip: float | None) -> Tensor:
    """Subtract the image's mean, divide by its standard deviation, clip: the card's `image_mean_std`.

    Takes a whole image of any shape and returns float32 of that shape, in standard deviations. Without
    `clip` the values stay: the card's `full_range`.
    """
    if clip is None:
        return grey
    values = grey.float()
    return ((values - values.mean()) / values.std(correction=0).clamp_min(1e-6)).clamp(-clip, clip)


def soft_targets(masks: Tensor, side_px: int) -> Tensor:
    """Area fraction of each class in each square: (..., C, H, W) of 0 and 1 to (..., C, H // s, W // s)."""
    return avg_pool2d(masks.float(), side_px)


def digest_of_fields(fields: Sequence[LabelledField]) -> str:
    """sha256 over the sorted lines `sha256  name` of every image and annotation, as `sha256sum` writes."""
    rows = [(one.image_sha256, one.image) for one in fields]
    rows += [(row.annotation_sha256, row.annotation) for one in fields for row in one.annotations]
    lines = "".join(f"{digest}  {name}\n" for digest, name in sorted(set(rows)) if name)
    return hashlib.sha256(lines.encode()).hexdigest()


def _at_model_scale(image: LabelledImage, view: ModelView) -> Field:
    zoom, grey = image.field.nm_per_px / view.nm_per_px, image.grey
    if view.clip is None:
        grey = _of_full_range(image)
    tile_values = torch.from_numpy(image.tile_values)
    grey = _resized(grey, zoom)
    if min(grey.shape) < view.patch_px:
        raise LabelsRefused(
            f"{image.field.name} is smaller than a patch of {view.patch_px} px at {view.nm_per_px:g} nm/px",
            "Leave it out of the manifest.",
        )
    masks = [_resized(mask.astype(np.float32), zoom) >= 0.5 for mask in image.masks]
    return Field(
        labelled=image.field,
        grey=torch.from_numpy(grey[None]),
        masks=torch.from_numpy(np.stack(masks).astype(np.uint8)),
        known=torch.from_numpy(image.known) & tile_values.isnan(),
        tile_values=tile_values,
    )


def _of_full_range(image: LabelledImage) -> NDArray[np.float32]:
    """Grey as a share of its bit depth's range: what a model by `full_range` was made for."""
    if image.span is None:
        raise LabelsRefused(
            f"{image.field.name} has float pixels, whose full range is not known",
            "Export it with 8 or 16 bits for this model.",
        )
    least, most = image.span
    return np.asarray(least + (most - least) * image.grey, np.float32)


def _resized(values: NDArray[np.float32], zoom: float) -> NDArray[np.float32]:
    """The same picture with `zoom` times as many pixels a side, by the filter that reads use."""
    height, width = values.shape
    target = BoxPx(0, 0, max(1, round(width * zoom)), max(1, round(height * zoom)))

    def read(box: BoxPx) -> NDArray[np.float32]:
        return values[box.y : box.bottom, box.x : box.right]

    return np.array(resample(read, (0.0, 0.0, float(width), float(height)), target))  # torch may write
