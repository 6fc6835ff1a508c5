import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ultraread.training.metrics import (
    auc,
    auc_over_runs,
    mean_over_runs,
    pool_patches,
    present_threshold,
    seen_threshold,
)


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
    scores=hnp.arrays(np.float64, (5, 8), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    positive=hnp.arrays(np.bool_, (5, 8)).filter(lambda drawn: drawn.any() and not drawn.all()),
)
def test_the_pooled_auc_of_runs_is_the_auc_of_all_and_lies_in_its_interval(
    scores: np.ndarray, positive: np.ndarray
) -> None:
    estimate = auc_over_runs(list(scores), list(positive))
    assert estimate.value == pytest.approx(auc(scores.ravel(), positive.ravel()))
    assert 0 <= estimate.low <= estimate.high <= 1


def test_the_interval_of_a_mean_is_that_of_all_resamples_of_two_runs() -> None:
    estimate = mean_over_runs([np.array([0.0]), np.array([1.0])])
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.0, 1.0)


def test_tiles_are_means_of_their_patches() -> None:
    pooled = pool_patches(np.arange(16, dtype=np.float64).reshape(1, 4, 4), 2)
    assert pooled.tolist() == [[[2.5, 4.5], [10.5, 12.5]]]


def test_thresholds_reach_their_operating_points_and_no_more() -> None:
    scores = np.arange(100) / 100
    positive = scores >= 0.5
    assert present_threshold(scores, positive, specificity=0.9) == 0.45
    assert seen_threshold(scores, positive, sensitivity=0.9) == 0.55


def test_thresholds_that_nothing_reaches_leave_every_score_between_them() -> None:
    equal, positive = np.full(4, 0.5), np.array([True, False, True, False])
    assert present_threshold(equal, positive, specificity=0.9) == 1.0
    assert seen_threshold(equal, positive, sensitivity=0.9) == 0.5
