"""Opaque specks: told from dark tissue by how dark they are, or by how many are as dark as the darkest."""

import numpy as np
import pytest

from ultraread.datasets.quality.overview import specks

Cells = tuple[np.ndarray, np.ndarray]


DARKEST = -2.0


def _tissue(chance: np.random.Generator) -> Cells:
    """Simulated: mean and darkest part of 64 x 64 cells, with ever fewer cells the darker they are."""
    darkest = DARKEST + 1.6 * chance.beta(2, 2, (64, 64))
    return (darkest + chance.uniform(0.2, 1, darkest.shape)).astype(np.float32), darkest.astype(np.float32)


@pytest.mark.parametrize(
    ("count", "level"), [(15, DARKEST - 0.6), (800, DARKEST - 0.6), (100, DARKEST), (800, DARKEST)]
)
def test_few_specks_darker_than_tissue_and_many_as_dark_are_found(count: int, level: float) -> None:
    chance = np.random.default_rng(count)
    mean, darkest = _tissue(chance)
    at = np.unravel_index(chance.choice(mean.size, count, replace=False), mean.shape)
    mean[at], darkest[at] = 2, level + chance.normal(0, 0.02, count)
    found = specks(mean, darkest, np.zeros(mean.shape, bool))
    assert found[at].mean() > 0.7
    assert found.sum() < 1.2 * count


@pytest.mark.parametrize("seed", range(20))
def test_tissue_has_none_however_dark_some_of_it_is(seed: int) -> None:
    mean, darkest = _tissue(np.random.default_rng(seed))
    assert not specks(mean, darkest, np.zeros(mean.shape, bool)).any()


def test_what_is_dark_without_an_edge_is_no_speck() -> None:
    """A cell that is dark all over: a granule larger than a patch, a fold, a grid bar."""
    mean, darkest = _tissue(np.random.default_rng(0))
    mean[10:14, 10:40] = darkest[10:14, 10:40] = darkest.min()
    assert not specks(mean, darkest, np.zeros(mean.shape, bool)).any()


def test_what_another_artefact_explains_is_not_looked_at() -> None:
    mean, darkest = _tissue(np.random.default_rng(0))
    mean[10:14, 10:40], darkest[10:14, 10:40] = 2, DARKEST - 0.6
    taken = np.zeros(mean.shape, bool)
    assert specks(mean, darkest, taken).sum() == 4 * 30
    taken[8:16, 8:42] = True
    assert not specks(mean, darkest, taken).any()
    assert not specks(mean, darkest, np.ones_like(taken)).any()
