"""Artefacts of graded strength laid over real fields, to see how figures fall."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import v2

from ultraread.training.augmentation import defocused
from ultraread.training.fields import Field

SEED = 1602
Change = Callable[[Tensor, float], Tensor]
"""Changes (1, H, W) grey of 0 to 1 by a strength."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """A change of the picture, and the strengths at which it is tried."""

    name: str
    unit: str
    strengths: tuple[float, ...]
    change: Change
    rescales: bool = False


def with_artefact(field: Field, artefact: Artefact, strength: float) -> Field:
    """The field as it would have been filed with the artefact; its labels stay where they are."""
    if artefact.rescales:
        return _rescaled(field, strength)
    return replace(field, grey=artefact.change(field.grey, strength))


def blur(grey: Tensor, sigma_px: float) -> Tensor:
    """A Gaussian of `sigma_px` model pixels: drift, vibration, scattering."""
    side = 2 * round(3 * sigma_px) + 1
    blurred: Tensor = v2.functional.gaussian_blur(grey, [side, side], [sigma_px, sigma_px])
    return blurred


def noise(grey: Tensor, strength: float) -> Tensor:
    """White noise of `strength` standard deviations of the image: a short exposure."""
    drawn = torch.randn(grey.shape, generator=torch.Generator().manual_seed(SEED))
    return grey + strength * grey.std() * drawn


def contrast(grey: Tensor, gamma: float) -> Tensor:
    """Another curve from dose to grey; linear contrast is taken out by the normalisation."""
    return grey.clamp(0, 1) ** gamma


def jpeg(grey: Tensor, quality: float) -> Tensor:
    """Through JPEG, at 8 bits."""
    written = io.BytesIO()
    pixels = (grey[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).save(written, "JPEG", quality=int(quality))
    return torch.from_numpy(np.asarray(Image.open(written), np.float32) / 255)[None]


def _rescaled(field: Field, factor: float) -> Field:
    """A pixel size wrong by `factor`: everything is that much larger than the model was told."""
    height, width = (max(32, round(side * factor)) for side in field.grey.shape[-2:])
    grey = interpolate(
        field.grey[None], (height, width), mode="bilinear", antialias=True, align_corners=False
    )
    masks = interpolate(field.masks[None].float(), (height, width), mode="area")[0] >= 0.5
    return replace(field, grey=grey[0], masks=masks.to(torch.uint8))


ARTEFACTS = (
    Artefact("blur", "px sigma", (1.0, 2.0, 3.0), blur),
    Artefact("defocus", "px radius", (2.0, 4.0), defocused),
    Artefact("noise", "SD", (0.5, 1.0, 2.0), noise),
    Artefact("contrast", "gamma", (0.5, 1.5, 2.0), contrast),
    Artefact("scale", "x", (0.8, 1.2), lambda grey, _: grey, rescales=True),
    Artefact("jpeg", "quality", (50.0, 20.0, 10.0), jpeg),
)
"""Chosen to reach from hardly visible to what a microscopist would repeat; not tuned on any figure."""
