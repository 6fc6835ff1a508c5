"""Intervals hold the truth about as often as they say, and estimates are what sums over tiles give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultraread.models.formula import parse_formula
from ultraread.serving.estimates import Bootstrap, Estimate, seed_of
from ultraread.serving.tally import BINS, Floats, Sums

NERVE = ("axon", "myelin")


def _sums(area: Floats, structure: Floats) -> Sums:
    """Sums of groups with one class; the histograms stay empty."""
    histogram = np.zeros((len(area), 1, BINS))
    return Sums(area[:, None], structure[:, None], histogram, histogram)


def _histograms(area: Floats, probabilities: Floats) -> Sums:
    """(G, T) tiles: area and probability of the tiles of each group."""
    groups = len(area)
    weight, weighted = np.zeros((groups, 1, BINS)), np.zeros((groups, 1, BINS))
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    for group in range(groups):
        np.add.at(weight[group, 0], bins[group], area[group])
        np.add.at(weighted[group, 0], bins[group], area[group] * probabilities[group])
    return Sums(area.sum(axis=1)[:, None], np.zeros((groups, 1)), weight, weighted)


def test_intervals_of_simulated_cases_hold_the_known_truth() -> None:
    """200 simulated cases of 25 fields whose area fractions scatter about 0.3."""
    chance = np.random.default_rng(856713)
    held = 0
    for case in range(200):
        area = chance.uniform(0.5, 1.5, 25)
        estimate = Bootstrap(_sums(area, area * chance.beta(3, 7, 25)), seed=case).area_fraction(0)
        assert estimate.ci95 is not None
        low, high = estimate.ci95
        assert low <= estimate.value <= high
        held += low <= 0.3 <= high
    assert 0.88 <= held / 200 <= 0.99, "95 % intervals of a percentile bootstrap over 25 groups"


def test_more_fields_make_the_interval_narrower() -> None:
    chance = np.random.default_rng(1)
    widths = []
    for fields in (10, 40, 160):
        area = np.ones(fields)
        interval = Bootstrap(_sums(area, chance.beta(3, 7, fields)), seed=1).area_fraction(0).ci95
        assert interval is not None
        widths.append(interval[1] - interval[0])
    assert widths[0] > 1.5 * widths[1] > 2.2 * widths[2]


def test_one_group_tells_no_spread() -> None:
    bootstrap = Bootstrap(_sums(np.array([8.0, 0.0]), np.array([2.0, 0.0])), seed=0)
    assert bootstrap.groups == 1, "a group without scored area is none"
    assert bootstrap.area_fraction(0) == Estimate(0.25, None)
    assert bootstrap.profile_area(0) == Estimate(2.0, None)


def test_no_group_at_all_can_be_made_and_says_so() -> None:
    assert Bootstrap(_sums(np.zeros(3), np.zeros(3)), seed=0).groups == 0


def test_fields_are_weighted_by_their_area() -> None:
    bootstrap = Bootstrap(_sums(np.array([1.0, 3.0]), np.array([0.2, 1.8])), seed=0)
    assert bootstrap.area_fraction(0).value == pytest.approx(0.5)
    assert bootstrap.area_fraction(0).ci95 == pytest.approx((0.2, 0.6))


@given(seed=st.integers(0, 10**6), top=st.sampled_from([0.01, 0.1, 0.33, 1.0]), tiles=st.integers(1, 40))
def test_the_mean_of_the_highest_tiles_is_that_of_all_tiles_sorted(seed: int, top: float, tiles: int) -> None:
    """As numpy computes it from the tiles themselves; the tile at the limit counts in part."""
    chance = np.random.default_rng(seed)
    area, probabilities = chance.uniform(1, 100, (3, tiles)), chance.beta(0.5, 2, (3, tiles))
    found = Bootstrap(_histograms(area, probabilities), seed=0).top_mean(0, top)
    falling = np.argsort(-probabilities.ravel())
    areas, values = area.ravel()[falling], probabilities.ravel()[falling]
    wanted = top * areas.sum()
    taken = np.clip(wanted - (np.cumsum(areas) - areas), 0, areas)
    assert found.value == pytest.approx((taken * values).sum() / wanted, abs=1 / BINS)
    assert found.ci95 is not None
    assert 0 <= found.ci95[0] <= found.ci95[1] <= probabilities.max() + 1e-9


def test_certain_tiles_score_one_and_impossible_ones_zero() -> None:
    area = np.ones((2, 4))
    assert Bootstrap(_histograms(area, np.ones((2, 4))), seed=0).top_mean(0, 0.1).value == pytest.approx(1)
    assert Bootstrap(_histograms(area, np.zeros((2, 4))), seed=0).top_mean(0, 0.1).value == 0


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    area = np.ones(20)
    sums = _sums(area, np.random.default_rng(3).beta(3, 7, 20))
    intervals = [Bootstrap(sums, seed).area_fraction(0).ci95 for seed in (1, 1, 2)]
    assert intervals[0] == intervals[1] != intervals[2]


def test_a_seed_depends_on_each_digest_and_on_their_order() -> None:
    assert seed_of("a", "b") == seed_of("a", "b")
    assert len({seed_of("a", "b"), seed_of("b", "a"), seed_of("ab"), seed_of("a")}) == 4


def test_a_second_source_of_error_pulls_the_ends_apart() -> None:
    assert Estimate(10, (8, 12)).widened(0.9, 1.1) == Estimate(10, (8 * 0.9, 12 * 1.1))
    assert Estimate(10, None).widened(0.9, 1.1).ci95 is None


def _two_classes(axon: Floats, myelin: Floats) -> Sums:
    """Groups of area 1 with the fractions of two classes."""
    histogram = np.zeros((len(axon), 2, BINS))
    return Sums(np.ones((len(axon), 2)), np.stack([axon, myelin], axis=1), histogram, histogram)


def test_a_g_ratio_has_the_interval_of_its_formula() -> None:
    """Axon and myelin rise and fall together: the ratio is known far better than either area."""
    fibres = np.random.default_rng(5).uniform(0.2, 1.0, 30)
    bootstrap = Bootstrap(_two_classes(0.36 * fibres, 0.64 * fibres), seed=5)
    g_ratio = bootstrap.derived(parse_formula("sqrt(axon / (axon + myelin))", NERVE), NERVE)
    assert g_ratio is not None
    assert g_ratio.value == pytest.approx(0.6)
    assert g_ratio.ci95 == pytest.approx((0.6, 0.6))
    area = bootstrap.area_fraction(0)
    assert area.ci95 is not None
    assert area.ci95[1] - area.ci95[0] > 0.02


def test_a_formula_is_that_of_each_resample() -> None:
    chance = np.random.default_rng(6)
    bootstrap = Bootstrap(_two_classes(chance.uniform(0.1, 0.4, 12), chance.uniform(0.1, 0.4, 12)), seed=6)
    twice = bootstrap.derived(parse_formula("2 * myelin - 0 * axon", NERVE), NERVE)
    assert twice is not None
    assert twice.value == pytest.approx(2 * bootstrap.area_fraction(1).value)
    assert twice.ci95 == pytest.approx(bootstrap.area_fraction(1).scaled(2).ci95)


@pytest.mark.parametrize("formula", ["axon / myelin", "sqrt(myelin - axon)"])
def test_what_is_not_defined_is_not_measured(formula: str) -> None:
    nothing = Bootstrap(_two_classes(np.full(4, 0.2), np.zeros(4)), seed=0)
    assert nothing.derived(parse_formula(formula, NERVE), NERVE) is None
