"""Whole sections through the network, tiled and normalised as the service does it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ultraread.training.config import TrainingConfig
from ultraread.training.network import PatchNetwork
from ultraread.training.tile_dataset import Section, normalise, soft_targets


@dataclass(frozen=True, slots=True)
class SectionPrediction:
    """Patch maps of one section: `predicted` and `true` (area fraction), each (C, H/p, W/p) float32."""

    index: int
    predicted: NDArray[np.float32]
    true: NDArray[np.float32]


def predict_section(network: PatchNetwork, section: Section, config: TrainingConfig) -> SectionPrediction:
    """Score a section by tiles in batches of the served size and put its patch map together."""
    tiles = section_tiles(section, config)
    with torch.inference_mode():
        maps = [network(batch)[1] for batch in torch.split(tiles, config.model.batch_size)]
    columns = section.grey.shape[-1] // config.model.tile_px
    predicted = join_tiles(torch.cat(maps), columns)
    return SectionPrediction(
        section.index, predicted.numpy(), soft_targets(section.masks, config.model.patch_px).numpy()
    )


def predict_sections(
    network: PatchNetwork, sections: Sequence[Section], config: TrainingConfig
) -> list[SectionPrediction]:
    return [predict_section(network, section, config) for section in sections]


def section_tiles(section: Section, config: TrainingConfig) -> Tensor:
    """The whole tiles of a section, row by row: (tiles, 1, tile, tile) float32, normalised by the section."""
    return cut_tiles(normalise(section.grey, config.model.clip), config.model.tile_px)


def cut_tiles(image: Tensor, side_px: int) -> Tensor:
    """Cut (C, H, W) into (tiles, C, side, side), row by row."""
    tiles = image.unfold(1, side_px, side_px).unfold(2, side_px, side_px)
    return tiles.permute(1, 2, 0, 3, 4).reshape(-1, image.shape[0], side_px, side_px)


def join_tiles(tiles: Tensor, columns: int) -> Tensor:
    """Put (tiles, C, h, w), row by row, together to (C, H, W): the inverse of `cut_tiles`."""
    _, channels, height, width = tiles.shape
    grid = tiles.reshape(-1, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return grid.reshape(channels, -1, columns * width)
