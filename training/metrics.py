"""Figures of out-of-fold patch maps, each with an interval over section runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Truth = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def auc(scores: Scores, positive: Truth) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    Mann-Whitney U over the number of pairs (Hanley and McNeil 1982). NaN where one side is empty.
    """
    pairs = int(positive.sum()) * int((~positive).sum())
    return _won_pairs(scores[positive], scores[~positive]) / pairs if pairs else float("nan")


def auc_over_runs(scores: Sequence[Scores], positive: Sequence[Truth]) -> Estimate:
    """Pooled AUC of section runs (one flat array a run) with the exact bootstrap over runs.

    A resample draws as many runs as there are, with replacement; all equally likely resamples are
    enumerated (5 runs: 3,125), so the interval has no random part. It ignores that runs of one stack
    share a specimen.
    """
    sides = [(one[true], one[~true]) for one, true in zip(scores, positive, strict=True)]
    won = np.array([[_won_pairs(above, below) for _, below in sides] for above, _ in sides])
    positives = np.array([above.size for above, _ in sides])
    negatives = np.array([below.size for _, below in sides])

    def pooled(times: Scores) -> float:
        pairs = (times @ positives) * (times @ negatives)
        return float(times @ won @ times / pairs) if pairs else float("nan")

    return over_resampled_runs(pooled, len(scores))


def mean_over_runs(values: Sequence[Scores]) -> Estimate:
    """Pooled mean of section runs with the exact bootstrap over runs, as in `auc_over_runs`."""
    sums = np.array([one.sum() for one in values])
    counts = np.array([one.size for one in values])
    return over_resampled_runs(lambda times: float(times @ sums / (times @ counts)), len(values))


def over_resampled_runs(figure: Callable[[Scores], float], runs: int) -> Estimate:
    """Value at one copy of each run, and the 2.5 and 97.5 percentiles over every resample of runs.

    `figure` takes how often each run was drawn, (runs,) float64; resamples without a value are left out.
    """
    resamples = product(range(runs), repeat=runs)
    counts, often = np.unique(
        [np.bincount(drawn, minlength=runs) for drawn in resamples], axis=0, return_counts=True
    )
    values = np.repeat([figure(times.astype(np.float64)) for times in counts], often)
    low, high = np.nanpercentile(values, [2.5, 97.5], method="inverted_cdf")
    return Estimate(figure(np.ones(runs)), float(low), float(high))


def pool_patches(patch_map: Scores, side: int) -> Scores:
    """Mean of each `side` x `side` block of patches: (..., h, w) to (..., h / side, w / side)."""
    *leading, height, width = patch_map.shape
    blocks = patch_map.reshape(*leading, height // side, side, width // side, side)
    pooled: Scores = blocks.mean(axis=(-3, -1))
    return pooled


def present_threshold(scores: Scores, positive: Truth, specificity: float) -> float:
    """The lowest score at or above which at most 1 - `specificity` of the negatives lie; 1 where none is."""
    candidates = np.unique(scores)
    below = np.searchsorted(np.sort(scores[~positive]), candidates) / max(1, int((~positive).sum()))
    kept = candidates[below >= specificity]
    return float(kept[0]) if kept.size else 1.0


def seen_threshold(scores: Scores, positive: Truth, sensitivity: float) -> float:
    """The highest score at or above which at least `sensitivity` of the positives lie; 0 where none is."""
    candidates = np.unique(scores)
    below = np.searchsorted(np.sort(scores[positive]), candidates) / max(1, int(positive.sum()))
    kept = candidates[1 - below >= sensitivity]
    return float(kept[-1]) if kept.size else 0.0


def _won_pairs(above: Scores, below: Scores) -> float:
    """How many pairs (a, b) have a > b, ties counting half."""
    ordered = np.sort(below)
    won = np.searchsorted(ordered, above, side="left")
    not_lost = np.searchsorted(ordered, above, side="right")
    return float(won.sum() + not_lost.sum()) / 2
