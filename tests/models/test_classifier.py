"""The shipped model holds its golden pair here, and a tile's scores depend on that tile alone."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_model import BATCH, STEEPNESS, tiny_model

from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import find_model

Tiles = NDArray[np.float32]


@pytest.fixture(scope="module")
def shipped() -> OnnxClassifier:
    return OnnxClassifier(find_model("ultrastructure-vnc"), threads=1)


@pytest.fixture(scope="module")
def shipped_on_two_threads() -> OnnxClassifier:
    return OnnxClassifier(find_model("ultrastructure-vnc"), threads=2)


def _noise(count: int, side: int, seed: int = 0) -> Tiles:
    """Simulated: no real pixels."""
    return np.random.default_rng(seed).normal(size=(count, 1, side, side)).astype(np.float32)


def test_the_shipped_model_holds_its_golden_pair(shipped: OnnxClassifier) -> None:
    assert 0 <= shipped.golden_difference <= shipped.card.golden_pair.golden_tolerance


def test_scores_have_the_shape_that_the_card_states(shipped: OnnxClassifier) -> None:
    card = shipped.card
    scores = shipped(_noise(3, card.tile_px))
    assert card.outputs.patch_map is not None
    side = card.core_px // card.outputs.patch_map.stride_px
    assert scores.probabilities.shape == (3, len(card.classes))
    assert scores.patch_map is not None
    assert scores.patch_map.shape == (3, len(card.classes), side, side)
    assert scores.probabilities.dtype == scores.patch_map.dtype == np.float32


def test_a_tiles_scores_do_not_depend_on_its_batch(shipped: OnnxClassifier) -> None:
    """To the last bit: alone, in any place, beside any other tiles."""
    batch, side = shipped.card.batch_size, shipped.card.tile_px
    tile = _noise(1, side)
    alone = shipped(tile)
    assert alone.patch_map is not None
    for place in range(0, batch, 3):
        others = _noise(batch, side, seed=place + 1)
        others[place] = tile[0]
        beside = shipped(others)
        assert beside.patch_map is not None
        np.testing.assert_array_equal(beside.probabilities[place], alone.probabilities[0])
        np.testing.assert_array_equal(beside.patch_map[place], alone.patch_map[0])


def test_a_tiles_scores_do_not_depend_on_the_number_of_threads(
    shipped: OnnxClassifier, shipped_on_two_threads: OnnxClassifier
) -> None:
    """To the last bit."""
    tiles = _noise(shipped.card.batch_size, shipped.card.tile_px, seed=7)
    one, two = shipped(tiles), shipped_on_two_threads(tiles)
    assert one.patch_map is not None
    assert two.patch_map is not None
    np.testing.assert_array_equal(one.probabilities, two.probabilities)
    np.testing.assert_array_equal(one.patch_map, two.patch_map)


@pytest.mark.parametrize("count", [1, BATCH - 1, BATCH])
def test_a_batch_may_be_smaller_than_the_models(count: int, tmp_path: Path) -> None:
    classify = OnnxClassifier(tiny_model(tmp_path / "tiny"), threads=1)
    levels = np.linspace(-1, 1, count, dtype=np.float32)
    scores = classify(np.broadcast_to(levels[:, None, None, None], (count, 1, 64, 64)).copy())
    expected = 1 / (1 + np.exp(-(STEEPNESS * levels - 1)))
    np.testing.assert_allclose(scores.probabilities[:, 0], expected, rtol=1e-5)
    assert scores.patch_map is not None
    np.testing.assert_allclose(scores.patch_map[:, 0].mean(axis=(1, 2)), expected, rtol=1e-5)
