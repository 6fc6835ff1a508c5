"""Whole fields through a model, tiled and normalised as the service does it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ultraread.datasets.manifest import LabelledField
from ultraread.training.fields import Field, normalise, soft_targets
from ultraread.training.model_view import ModelView
from ultraread.training.network import Outputs, PatchNetwork

Maps = NDArray[np.float32]
Score = Callable[[Tensor], Outputs]
"""Maps (N, 1, tile, tile) float32 in standard deviations to what the model gives."""


@dataclass(frozen=True, slots=True)
class FieldPrediction:
    """Patch maps of one field.

    `predicted` and `true` (area fraction), each (C, H // p, W // p) float32; `known` (C,) bool;
    `strangeness` (tiles,) float32.
    """

    field: LabelledField
    predicted: Maps
    true: Maps
    known: NDArray[np.bool_]
    strangeness: NDArray[np.float32]


def predict_field(score: Score, field: Field, view: ModelView) -> FieldPrediction:
    """Score a field by tiles in batches of the served size and put its patch map together."""
    tiles, columns = field_tiles(field.grey, view)
    with torch.inference_mode():
        scored = [score(batch) for batch in torch.split(tiles, view.batch_size)]
    true = soft_targets(field.masks, view.patch_px)
    predicted = join_tiles(torch.cat([one.patch_map for one in scored]), columns)
    return FieldPrediction(
        field=field.labelled,
        predicted=predicted[:, : true.shape[1], : true.shape[2]].numpy(),
        true=true.numpy(),
        known=field.known.numpy(),
        strangeness=torch.cat([one.out_of_domain for one in scored]).numpy(),
    )


def predict_fields(score: Score, fields: Sequence[Field], view: ModelView) -> list[FieldPrediction]:
    return [predict_field(score, field, view) for field in fields]


def of_network(network: PatchNetwork) -> Score:
    """A trained network as a scorer, on a GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    placed = network.to(device).eval()

    def score(tiles: Tensor) -> Outputs:
        return Outputs(*(one.cpu() for one in placed(tiles.to(device))))

    return score


def field_tiles(grey: Tensor, view: ModelView) -> tuple[Tensor, int]:
    """Tiles whose cores cover a (1, H, W) field once, row by row, and how many stand in a row.

    (tiles, 1, tile, tile) float32, normalised by the field; what lies outside of it is its reflection.
    """
    core_px, margin_px, (height, width) = view.core_px, view.margin_px, grey.shape[-2:]
    below, beside = -height % core_px, -width % core_px
    reach = ((0, 0), (margin_px, below + margin_px), (margin_px, beside + margin_px))
    padded = np.pad(normalise(grey, view.clip).numpy(), reach, mode="reflect")
    return cut_tiles(torch.from_numpy(padded), view.tile_px, core_px), (width + beside) // core_px


def cut_tiles(image: Tensor, side_px: int, step_px: int) -> Tensor:
    """Cut (C, H, W) into (tiles, C, side, side), row by row, one every `step_px`."""
    tiles = image.unfold(1, side_px, step_px).unfold(2, side_px, step_px)
    return tiles.permute(1, 2, 0, 3, 4).reshape(-1, image.shape[0], side_px, side_px)


def join_tiles(tiles: Tensor, columns: int) -> Tensor:
    """Put (tiles, C, h, w), row by row, together to (C, H, W): the inverse of cutting without overlap."""
    _, channels, height, width = tiles.shape
    grid = tiles.reshape(-1, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return grid.reshape(channels, -1, columns * width)
