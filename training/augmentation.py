"""Random crops that look like another laboratory's: geometry moves image and masks, appearance the image.

Inverted contrast is not among them: a model must refuse it, not learn it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision import tv_tensors
from torchvision.transforms import v2

from ultraread.training.config import AugmentationTable, TrainingConfig
from ultraread.training.fields import Field, soft_targets

LEVELS = 1024
"""Grey levels of an intensity curve."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's crops.

    `images` (N, 1, side, side) float32 in standard deviations; `targets` (N, C, side/p, side/p) area
    fractions; `known` (N, C) bool: whether the targets say anything; `tile_values` (N, C) float32: the
    area fraction stated for the whole crop, NaN where none is; `names` of the fields.
    """

    images: Tensor
    targets: Tensor
    known: Tensor
    tile_values: Tensor
    names: tuple[str, ...]


class RandomTranspose(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Swap x and y with probability 0.5; with both flips this gives all turns by 90 degrees."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"swap": bool(torch.rand(()) < 0.5)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401  # torchvision's signature
        return tv_tensors.wrap(inpt.mT.contiguous(), like=inpt) if params["swap"] else inpt  # pyright: ignore


def make_geometry(config: TrainingConfig, field: Field) -> v2.Compose:
    """A joint transform of image and masks: a crop of crop_px at a random scale, flipped and turned.

    Scale is the size of a thing in the crop over its size in the field; uniform in area. A field whose
    label speaks of the whole image is shown whole, squeezed to a square.
    """
    crop_px, shown = config.optimisation.crop_px, config.augmentation
    if field.is_told_as_a_whole:
        return _with_turns(v2.Resize((crop_px, crop_px), antialias=True))
    field_px = field.grey.shape[-1] * field.grey.shape[-2]
    areas = [(crop_px / scale) ** 2 / field_px for scale in (shown.scale_max, shown.scale_min)]
    area = (min(1.0, areas[0]), min(1.0, areas[1]))
    return _with_turns(v2.RandomResizedCrop(crop_px, scale=area, ratio=(1.0, 1.0), antialias=True))


def make_plain_geometry(config: TrainingConfig, field: Field) -> v2.Compose | None:
    """The same at scale 1, pixels untouched; None where the whole field is shown, or is too small."""
    crop_px = config.optimisation.crop_px
    if field.is_told_as_a_whole or min(field.grey.shape[-2:]) < crop_px:
        return None
    return _with_turns(v2.RandomCrop(crop_px))


def _with_turns(crop: v2.Transform) -> v2.Compose:
    return v2.Compose([crop, v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), RandomTranspose()])


class CropSampler:
    """Draws batches of augmented crops; what a step draws depends on seed and step only."""

    def __init__(self, fields: Sequence[Field], weights: Sequence[float], config: TrainingConfig) -> None:
        """`weights` say how often each field is drawn, relative to the others."""
        self._config = config
        self._fields = fields
        self._weights = torch.tensor(weights, dtype=torch.float64)
        self._geometry = [make_geometry(config, field) for field in fields]
        self._plain = [make_plain_geometry(config, field) for field in fields]
        self._histograms = [
            torch.histc(field.grey, LEVELS, min=0, max=1).double() / field.grey.numel() for field in fields
        ]

    def batch(self, step: int) -> Batch:
        """The crops of `step`, counted from 0."""
        torch.manual_seed(self._config.optimisation.seed * 1_000_003 + step)
        drawn = torch.multinomial(self._weights, self._config.optimisation.batch, replacement=True)
        chosen = [int(number) for number in drawn]
        crops, masks = zip(*(self._crop(number) for number in chosen), strict=True)
        fields = [self._fields[number] for number in chosen]
        return Batch(
            torch.stack(crops),
            soft_targets(torch.stack(masks), self._config.model.patch_px),
            torch.stack([field.known for field in fields]),
            torch.stack([field.tile_values for field in fields]),
            tuple(field.name for field in fields),
        )

    def _crop(self, number: int) -> tuple[Tensor, Tensor]:
        field, plain = self._fields[number], self._plain[number]
        as_filed = float(torch.rand(())) < self._config.augmentation.plain_probability
        geometry = plain if plain and as_filed else self._geometry[number]
        image, masks = geometry(tv_tensors.Image(field.grey), tv_tensors.Mask(field.masks))
        appearance = self._filed if as_filed else self._changed
        return appearance(image.as_subclass(Tensor), number), masks.as_subclass(Tensor)

    def _filed(self, image: Tensor, number: int) -> Tensor:
        """Normalised by its field, and nothing else."""
        clip = self._config.model.clip
        straight = torch.linspace(0, 1, LEVELS)
        return through_curve(image, self._histograms[number], straight).clamp(-clip, clip)

    def _changed(self, image: Tensor, number: int) -> Tensor:
        """Optics first, then the curve from dose to grey, then what the detector adds."""
        shown, clip = self._config.augmentation, self._config.model.clip
        crop = _lose_resolution(_out_of_focus(image.clamp(0, 1), shown), shown.resolution_loss_max)
        crop = through_curve(crop, self._histograms[number], self._curve(shown, number))
        contrast = 1 + shown.contrast * _between_minus_and_plus_one()
        crop = crop * contrast + shown.brightness * _between_minus_and_plus_one()
        crop = crop + uneven_illumination(crop.shape[-1], shown.illumination)
        noise = shown.noise * torch.rand(()) * torch.randn_like(crop)
        return (crop + noise).clamp(-clip, clip)

    def _curve(self, shown: AugmentationTable, number: int) -> Tensor:
        """A rising curve (LEVELS,) from 0 to 1: another field's histogram, random knots, or a gamma."""
        choice = float(torch.rand(()))
        if choice < shown.histogram_match_probability:
            other = int(torch.randint(len(self._histograms), ()))
            return matching_curve(self._histograms[number], self._histograms[other])
        if choice < shown.histogram_match_probability + shown.curve_probability:
            return random_curve()
        return torch.linspace(0, 1, LEVELS) ** _draw_gamma(shown.gamma_max)


def through_curve(image: Tensor, histogram: Tensor, curve: Tensor) -> Tensor:
    """Map a crop (values 0 to 1) through `curve` (LEVELS,), normalised by its whole field under that curve.

    `histogram` (LEVELS,) holds the share of the field's pixels a level, so the field's mean and standard
    deviation under the curve are had without its pixels: normalisation sees whole images when serving, too.
    """
    levels = curve.double()
    mean = (histogram * levels).sum()
    std = (histogram * (levels - mean) ** 2).sum().sqrt().clamp_min(1e-6)
    position = image.clamp(0, 1) * (LEVELS - 1)
    below = position.nan_to_num().floor().long().clamp_max(LEVELS - 2)  # NaN stays NaN in `position`
    mapped = torch.lerp(curve[below], curve[below + 1], position - below)
    return (mapped - mean.float()) / std.float()


def random_curve() -> Tensor:
    """A rising curve through four random knots, mixed with the straight line so that it never goes flat."""
    knots = torch.cat([torch.zeros(1), torch.sort(torch.rand(4)).values, torch.ones(1)])
    curve = interpolate(knots[None, None], LEVELS, mode="linear", align_corners=True)[0, 0]
    return 0.5 * curve + 0.5 * torch.linspace(0, 1, LEVELS)


def matching_curve(histogram: Tensor, other: Tensor) -> Tensor:
    """The rising curve that gives a field with `histogram` the grey values of a field with `other`."""
    wanted = torch.searchsorted(other.cumsum(0), histogram.cumsum(0).clamp_max(1 - 1e-9))
    return wanted.clamp_max(LEVELS - 1).float() / (LEVELS - 1)


def uneven_illumination(side_px: int, strength: float) -> Tensor:
    """A smooth random field (1, side, side) of at most `strength` standard deviations, mean about 0."""
    coarse = strength * torch.rand(()) * (2 * torch.rand(1, 1, 3, 3) - 1)
    return interpolate(coarse, (side_px, side_px), mode="bicubic", align_corners=True)[0]


def _out_of_focus(image: Tensor, shown: AugmentationTable) -> Tensor:
    """Blurred by motion and scattering (Gaussian), or by defocus (a disc), or not."""
    choice = float(torch.rand(()))
    if choice < shown.blur_probability:
        low, high = shown.blur_sigma_px
        sigma = low + (high - low) * float(torch.rand(()))
        blurred: Tensor = v2.functional.gaussian_blur(image, [2 * math.ceil(2 * sigma) + 1] * 2, [sigma] * 2)
        return blurred
    if choice < shown.blur_probability + shown.defocus_probability:
        low, high = shown.defocus_radius_px
        return defocused(image, low + (high - low) * float(torch.rand(())))
    return image


def defocused(image: Tensor, radius_px: float) -> Tensor:
    """(1, H, W) convolved with a disc: the geometrical optics of defocus."""
    reach = math.ceil(radius_px)
    offsets = torch.arange(-reach, reach + 1).float()
    disc = (radius_px + 0.5 - (offsets[:, None] ** 2 + offsets[None] ** 2).sqrt()).clamp(0, 1)
    padded = torch.nn.functional.pad(image[None], [reach] * 4, mode="reflect")
    return torch.nn.functional.conv2d(padded, (disc / disc.sum())[None, None])[0]


def _lose_resolution(image: Tensor, most: float) -> Tensor:
    """Shrink by a factor of 1 to `most` and enlarge again, half of the time: a coarser acquisition."""
    if most <= 1 or float(torch.rand(())) < 0.5:
        return image
    side = image.shape[-1]
    small = max(8, round(side / (1 + (most - 1) * float(torch.rand(())))))
    shrunk = interpolate(image[None], (small, small), mode="bilinear", antialias=True, align_corners=False)
    return interpolate(shrunk, (side, side), mode="bilinear", align_corners=False)[0]


def _draw_gamma(gamma_max: float) -> float:
    return math.exp(math.log(gamma_max) * float(_between_minus_and_plus_one()))


def _between_minus_and_plus_one() -> Tensor:
    return 2 * torch.rand(()) - 1
