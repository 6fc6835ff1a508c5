"""The out-of-domain score: how far a tile's features lie from those of the training tiles."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ultraread.training.fields import Field
from ultraread.training.model_view import ModelView
from ultraread.training.network import PatchNetwork
from ultraread.training.predict import field_tiles

SOURCE = (
    "Squared Mahalanobis distance of the tile's mean backbone features (strides 8, 16, 32) to those of the "
    "training tiles, a principal component (Lee et al. 2018)"
)


def fit_strangeness(network: PatchNetwork, fields: Sequence[Field], view: ModelView, components: int) -> None:
    """Put mean and whitening of the training tiles' features into the network.

    Turned and mirrored tiles count too: which way up a section lies says nothing.
    """
    features = torch.cat([_features(network, field, view) for field in fields]).double()
    mean = features.mean(dim=0)
    components = min(components, len(features) // 4)
    _, spread, axes = torch.linalg.svd(features - mean, full_matrices=False)
    deviations = spread[:components] / (len(features) - 1) ** 0.5
    network.strangeness.mean = mean.float()
    network.strangeness.whitening = (axes[:components] / deviations[:, None]).T.float().contiguous()


def false_alarm_threshold(strangeness: np.ndarray, rate: float) -> float:
    """The score that at most `rate` of these tiles, which are no strangers, lie above."""
    return float(np.quantile(strangeness, 1 - rate, method="higher"))


def _features(network: PatchNetwork, field: Field, view: ModelView) -> Tensor:
    tiles, _ = field_tiles(field.grey, view)
    with torch.inference_mode():
        turned = [variant for batch in torch.split(tiles, view.batch_size) for variant in _turned(batch)]
        return torch.cat([network.tile_features(one) for one in turned])


def _turned(tiles: Tensor) -> list[Tensor]:
    return [tiles, tiles.flip(2), tiles.flip(3), tiles.mT]
