"""The only part of a worker that is not the product's own: a classifier that sleeps instead of computing."""

import select

import numpy as np
from numpy.typing import NDArray

from ultraread.models.card import ModelCard
from ultraread.models.classifier import Scores

PATCHES = 4
"""A side of the tiny model's patch map: tiles of 64 px, patches of 16."""


class FakeClassifier:
    """Takes its time, and scores a tile by its brightness alone: the same tile gives the same bytes."""

    def __init__(self, card: ModelCard, tile_s: float) -> None:
        self.card = card
        self._tile_s = tile_s

    def __call__(self, tiles: NDArray[np.float32]) -> Scores:
        # Not sleep(): libfaketime fails it where the clock jumps meanwhile.
        select.select([], [], [], self._tile_s * len(tiles))
        side = tiles.shape[-1] // PATCHES
        blocks = tiles[:, 0].reshape(len(tiles), PATCHES, side, PATCHES, side).mean(axis=(2, 4))
        bright = (0.5 + 0.4 * np.tanh(blocks)).astype(np.float32)
        patches = np.stack([bright, 1 - bright], axis=1)
        return Scores(patches.mean(axis=(2, 3), dtype=np.float32), patches)
