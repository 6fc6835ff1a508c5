"""Figures have their known values; intervals are those of resampled groups, the same every time."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ultraread.training import metrics
from ultraread.training.metrics import (
    CALIBRATION_BINS,
    Scored,
    auc,
    auc_of_resample,
    calibration_error_of_resample,
    dice_of_resample,
    f1_of_resample,
    mean_of_resample,
    over_resamples,
    pool_patches,
    precision_of_resample,
    reliability,
)

ONE = np.ones(1)
score_arrays = hnp.arrays(np.float64, (5, 8), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))


def drawn(seed: int, count: int, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of things of which a fifth are positive, and which."""
    chance = np.random.default_rng(seed)
    positive = chance.random(count) < 0.2
    return 1 / (1 + np.exp(-chance.normal(skill * positive, 1))), positive


def one_group(scores: np.ndarray, fractions: np.ndarray) -> Scored:
    return Scored([scores], [fractions.astype(np.float64)])


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),  # the example of scikit-learn's roc_auc_score
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.0),
        ([0.9, 0.1], [0, 1], 0.0),
        ([0.5, 0.5, 0.5], [0, 1, 1], 0.5),
    ],
)
def test_auc_has_its_known_values(scores: list[float], positive: list[int], expected: float) -> None:
    assert auc(np.array(scores), np.array(positive, bool)) == expected


def test_auc_of_one_side_only_is_no_number() -> None:
    assert np.isnan(auc(np.ones(3), np.ones(3, bool)))


@settings(max_examples=20, deadline=None)
@given(
    scores=score_arrays,
    positive=hnp.arrays(np.bool_, (5, 8)).filter(lambda one: one.any() and not one.all()),
)
def test_the_pooled_auc_of_groups_is_the_auc_of_all_and_lies_in_its_interval(
    scores: np.ndarray, positive: np.ndarray
) -> None:
    scored = Scored(list(scores), list(positive.astype(float)))
    estimate = over_resamples(auc_of_resample(scored, 0.5), scored.groups)
    assert estimate.value == pytest.approx(auc(scores.ravel(), positive.ravel()))
    assert 0 <= estimate.low <= estimate.high <= 1


def test_average_precision_has_its_known_value() -> None:
    """The example of scikit-learn's average_precision_score."""
    scored = one_group(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
    assert precision_of_resample(scored, 0.5)(ONE) == pytest.approx(5 / 6)


@pytest.mark.parametrize(("seed", "skill"), [(0, 0.0), (1, 1.0), (2, 3.0)])
def test_average_precision_is_that_of_a_direct_computation(seed: int, skill: float) -> None:
    scores, positive = drawn(seed, 20_000, skill)
    ranked = positive[np.argsort(-scores, kind="stable")]
    exact = (ranked.cumsum() / np.arange(1, len(ranked) + 1))[ranked].mean()
    groups = Scored(np.split(scores, 4), np.split(positive.astype(float), 4))
    assert precision_of_resample(groups, 0.5)(np.ones(4)) == pytest.approx(exact, abs=0.002)


def test_average_precision_counts_a_group_as_often_as_it_is_drawn() -> None:
    scores, positive = drawn(3, 4000)
    halves = Scored(np.split(scores, 2), np.split(positive.astype(float), 2))
    twice = Scored([np.tile(scores[:2000], 2)], [np.tile(positive[:2000], 2).astype(float)])
    of_twice = precision_of_resample(twice, 0.5)(ONE)
    assert precision_of_resample(halves, 0.5)(np.array([2.0, 0.0])) == pytest.approx(of_twice, abs=0.002)


@pytest.mark.parametrize(
    ("scores", "truth", "expected"),
    [
        ([0.25, 0.25, 0.25, 0.25], [0, 0, 0, 1], 0.0),
        ([0.9, 0.9, 0.1, 0.1], [1, 0, 0, 0], 0.25),  # half the things 0.4 off, half 0.1
        ([1.0, 0.0], [0, 1], 1.0),
        ([0.3, 0.3], [0.1, 0.3], 0.1),  # area fractions
    ],
)
def test_calibration_error_has_its_known_values(
    scores: list[float], truth: list[float], expected: float
) -> None:
    error = calibration_error_of_resample([np.array(scores)], [np.array(truth, float)])
    assert error(ONE) == pytest.approx(expected)


def test_a_reliability_diagram_has_a_point_for_every_bin_that_holds_something() -> None:
    rows = reliability(np.array([0.01, 0.03, 1.0]), np.array([0.0, 0.5, 1.0]))
    assert rows == [(pytest.approx(0.02), 0.25, 2), (1.0, 1.0, 1)]
    assert len(reliability(np.linspace(0, 1, 1000), np.zeros(1000))) == CALIBRATION_BINS


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        ([1.0, 0.0], [1.0, 0.0], 1.0),
        ([1.0, 0.0], [0.0, 1.0], 0.0),
        ([0.5, 0.5], [1.0, 0.0], 0.5),
        ([1.0, 1.0], [1.0, 0.0], 2 / 3),
    ],
)
def test_dice_has_its_known_values(predicted: list[float], true: list[float], expected: float) -> None:
    assert dice_of_resample(one_group(np.array(predicted), np.array(true)))(ONE) == pytest.approx(expected)


def test_f1_has_its_known_value() -> None:
    """One right call, one false one, one miss; a score at the threshold is called."""
    scored = one_group(np.array([0.9, 0.5, 0.1, 0.2]), np.array([0.3, 0.0, 0.3, 0.0]))
    assert f1_of_resample(scored, 0.3, 0.5)(ONE) == pytest.approx(0.5)


def test_the_interval_of_a_mean_is_that_of_all_resamples_of_two_groups() -> None:
    estimate = over_resamples(mean_of_resample([np.array([0.0]), np.array([1.0])]), 2)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.0, 1.0)


def test_of_few_groups_every_resample_is_enumerated() -> None:
    values = np.array([0.0, 1.0, 5.0, 7.0])
    means = [np.mean(one) for one in product(values, repeat=4)]
    low, high = np.percentile(means, [2.5, 97.5], method="inverted_cdf")
    estimate = over_resamples(lambda times: float(times @ values / 4), 4)
    assert (estimate.value, estimate.low, estimate.high) == (3.25, low, high)


def test_of_many_groups_resamples_are_drawn_and_always_the_same() -> None:
    values = np.random.default_rng(0).normal(size=40)
    seen: list[float] = []

    def figure(times: np.ndarray) -> float:
        assert times.sum() == 40
        seen.append(float(times @ values / 40))
        return seen[-1]

    estimate = over_resamples(figure, 40)
    assert len(seen) == metrics.RESAMPLES + 1
    assert over_resamples(figure, 40) == estimate
    standard_error = values.std() / 40**0.5
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)


def test_resamples_without_a_value_are_left_out() -> None:
    estimate = over_resamples(lambda times: float("nan") if times[0] == 0 else float(times[0]), 2)
    assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 2.0)


def test_a_figure_that_never_has_a_value_has_no_interval_either() -> None:
    estimate = over_resamples(lambda _: float("nan"), 2)
    assert np.isnan([estimate.value, estimate.low, estimate.high]).all()


def test_tiles_are_means_of_their_patches_and_a_rest_is_left_out() -> None:
    patches = np.arange(20, dtype=np.float64).reshape(1, 4, 5)
    assert pool_patches(patches, 2).tolist() == [[[3.0, 5.0], [13.0, 15.0]]]
