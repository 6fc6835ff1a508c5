"""Random crops of labelled sections: geometry moves image and masks together, appearance the image only."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from ultraread.training.config import AugmentationTable, TrainingConfig
from ultraread.training.tile_dataset import Section, soft_targets


class RandomTranspose(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Swap x and y with probability 0.5; with both flips this gives all turns by 90 degrees."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"swap": bool(torch.rand(()) < 0.5)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401  # torchvision's signature
        return tv_tensors.wrap(inpt.mT.contiguous(), like=inpt) if params["swap"] else inpt  # pyright: ignore


def make_geometry(config: TrainingConfig, section_px: int) -> v2.Compose:
    """A joint transform of image and masks: a crop of crop_px at a random scale, flipped and turned.

    Scale is the size of a thing in the crop over its size in the section; uniform in area.
    """
    crop_px, shown = config.optimisation.crop_px, config.augmentation
    areas = [(crop_px / (scale * section_px)) ** 2 for scale in (shown.scale_max, shown.scale_min)]
    area = (areas[0], min(1.0, areas[1]))
    crop = v2.RandomResizedCrop(crop_px, scale=area, ratio=(1.0, 1.0), antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), RandomTranspose()])


class CropSampler:
    """Draws batches of augmented crops; what a step draws depends on seed and step only."""

    def __init__(self, sections: Sequence[Section], config: TrainingConfig) -> None:
        self._config = config
        self._geometry = make_geometry(config, section_px=sections[0].grey.shape[-1])
        self._blur = v2.RandomApply(
            [v2.GaussianBlur(7, config.augmentation.blur_sigma_px)], config.augmentation.blur_probability
        )
        self._images = [tv_tensors.Image(section.grey.float() / 255) for section in sections]
        self._masks = [tv_tensors.Mask(section.masks) for section in sections]
        self._histograms = [torch.bincount(section.grey.flatten(), minlength=256) for section in sections]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return (N, 1, side, side) float32 in standard deviations and (N, C, side/p, side/p) targets."""
        torch.manual_seed(self._config.optimisation.seed * 1_000_003 + step)
        chosen = torch.randint(len(self._images), (self._config.optimisation.batch,)).tolist()
        crops, masks = zip(*(self._crop(section) for section in chosen), strict=True)
        return torch.stack(crops), soft_targets(torch.stack(masks), self._config.model.patch_px)

    def _crop(self, section: int) -> tuple[Tensor, Tensor]:
        image, masks = self._geometry(self._images[section], self._masks[section])
        crop = self._appearance(image.as_subclass(Tensor), self._histograms[section])
        return crop, masks.as_subclass(Tensor)

    def _appearance(self, image: Tensor, histogram: Tensor) -> Tensor:
        shown, clip = self._config.augmentation, self._config.model.clip
        crop: Tensor = self._blur(normalise_with_gamma(image, histogram, _draw_gamma(shown)))
        contrast = 1 + shown.contrast * _between_minus_and_plus_one()
        crop = crop * contrast + shown.brightness * _between_minus_and_plus_one()
        noise = shown.noise * torch.rand(()) * torch.randn_like(crop)
        return (crop + noise).clamp(-clip, clip)


def normalise_with_gamma(image: Tensor, histogram: Tensor, gamma: float) -> Tensor:
    """Raise a crop (values 0 to 1) to `gamma`, then normalise it by its whole section under that gamma.

    `histogram` (256,) counts the section's grey values, so its mean and standard deviation after the power
    are exact without touching its pixels: per-image normalisation sees whole images when serving, too.
    """
    levels = torch.linspace(0, 1, 256, dtype=torch.float64) ** gamma
    weights = histogram.double() / histogram.sum()
    mean = (weights * levels).sum()
    std = (weights * (levels - mean) ** 2).sum().sqrt().clamp_min(1e-6)
    return (image.clamp(0, 1) ** gamma - mean.item()) / std.item()


def _draw_gamma(shown: AugmentationTable) -> float:
    return math.exp(math.log(shown.gamma_max) * float(_between_minus_and_plus_one()))


def _between_minus_and_plus_one() -> Tensor:
    return 2 * torch.rand(()) - 1
