"""Figures of patch maps, each with a bootstrap interval over groups: fields, or runs of sections."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Truth = NDArray[np.bool_]

EXACT_GROUPS = 6
"""Up to so many groups every resample is enumerated (6 groups: 46,656); above, RESAMPLES are drawn."""
RESAMPLES = 2000
SEED = 856713
CALIBRATION_BINS = 15
"""Equally wide bins of the expected calibration error (Guo et al. 2017)."""
RANKING_BINS = 1000
"""Bins of pooled quantiles for average precision: it then differs from the exact one by less than 0.001."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of things and the share of each that the class covers, flat float64, one pair a group."""

    scores: Sequence[Values]
    fractions: Sequence[Values]

    def positive(self, covered: float) -> list[Truth]:
        """Which things count as showing the class."""
        return [one >= covered for one in self.fractions]

    @property
    def groups(self) -> int:
        return len(self.scores)


def auc(scores: Values, positive: Truth) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    Mann-Whitney U over the number of pairs (Hanley and McNeil 1982). NaN where one side is empty.
    """
    pairs = int(positive.sum()) * int((~positive).sum())
    return _won_pairs(scores[positive], scores[~positive]) / pairs if pairs else float("nan")


def auc_of_resample(scored: Scored, covered: float) -> Callable[[Values], float]:
    """The pooled AUC as a function of how often each group was drawn."""
    sides = [
        (one[true], one[~true]) for one, true in zip(scored.scores, scored.positive(covered), strict=True)
    ]
    won = np.array([[_won_pairs(above, below) for _, below in sides] for above, _ in sides])
    positives = np.array([above.size for above, _ in sides])
    negatives = np.array([below.size for _, below in sides])

    def pooled(times: Values) -> float:
        pairs = (times @ positives) * (times @ negatives)
        return float(times @ won @ times / pairs) if pairs else float("nan")

    return pooled


def mean_of_resample(values: Sequence[Values]) -> Callable[[Values], float]:
    sums = np.array([[one.sum(), one.size] for one in values])
    return _of_sums(sums, lambda total: _ratio(total[0], total[1]))


def dice_of_resample(scored: Scored) -> Callable[[Values], float]:
    """Soft Dice of patches: twice the shared area over the sum of predicted and true area."""
    pairs = zip(scored.scores, scored.fractions, strict=True)
    sums = np.array([[2 * np.minimum(p, t).sum(), p.sum() + t.sum()] for p, t in pairs])
    return _of_sums(sums, lambda total: _ratio(total[0], total[1]))


def f1_of_resample(scored: Scored, covered: float, threshold: float) -> Callable[[Values], float]:
    """F1 of calling everything at or above `threshold` positive."""
    called = [one >= threshold for one in scored.scores]
    pairs = list(zip(called, scored.positive(covered), strict=True))
    sums = np.array([[2.0 * (c & t).sum(), float(c.sum() + t.sum())] for c, t in pairs])
    return _of_sums(sums, lambda total: _ratio(total[0], total[1]))


def calibration_error_of_resample(
    scores: Sequence[Values], truth: Sequence[Values]
) -> Callable[[Values], float]:
    """Expected calibration error: the mean over bins of |mean score - mean truth|, weighted by size.

    `truth` is 0 or 1, or an area fraction: then the score is judged as an expected area.
    """
    sums = np.array([_bins(one, true).ravel() for one, true in zip(scores, truth, strict=True)])

    def error(total: Values) -> float:
        gaps, counts = total.reshape(2, -1)
        return _ratio(np.abs(gaps).sum(), counts.sum())

    return _of_sums(sums, error)


def reliability(scores: Values, truth: Values) -> list[tuple[float, float, int]]:
    """Mean score, mean truth and size of each bin that is not empty: what a reliability diagram draws."""
    bins = _bin_of(scores)
    found = [bins == number for number in range(CALIBRATION_BINS)]
    return [(float(scores[b].mean()), float(truth[b].mean()), int(b.sum())) for b in found if b.any()]


def precision_of_resample(scored: Scored, covered: float) -> Callable[[Values], float]:
    """Average precision: the mean over positives of the precision at their score."""
    edges = np.unique(np.quantile(np.concatenate(scored.scores), np.linspace(0, 1, RANKING_BINS + 1)))
    pairs = zip(scored.scores, scored.positive(covered), strict=True)
    sums = np.array([_ranked(one, true, edges).ravel() for one, true in pairs])

    def average(total: Values) -> float:
        positives, everything = total.reshape(2, -1)[:, ::-1]
        precision = positives.cumsum() / np.maximum(everything.cumsum(), 1)
        return _ratio(float((precision * positives).sum()), float(positives.sum()))

    return _of_sums(sums, average)


def over_resamples(figure: Callable[[Values], float], groups: int) -> Estimate:
    """Value at one copy of each group, and the 2.5 and 97.5 percentiles over resamples of groups.

    A resample draws as many groups as there are, with replacement; few groups are enumerated, so the
    interval has no random part, many are drawn with a fixed seed. `figure` takes how often each group was
    drawn, (groups,) float64; resamples without a value are left out. It ignores that fields of one specimen
    are alike.
    """
    counts, often = _resamples(groups)
    values = np.repeat([figure(times.astype(np.float64)) for times in counts], often)
    if np.isnan(values).all():
        return Estimate(figure(np.ones(groups)), float("nan"), float("nan"))
    low, high = np.nanpercentile(values, [2.5, 97.5], method="inverted_cdf")
    return Estimate(figure(np.ones(groups)), float(low), float(high))


def pool_patches(patch_map: Values, side: int) -> Values:
    """Mean of each whole block of `side` x `side` patches: (..., h, w) to (..., h // side, w // side)."""
    *leading, height, width = patch_map.shape
    rows, columns = height // side, width // side
    whole = patch_map[..., : rows * side, : columns * side]
    pooled: Values = whole.reshape(*leading, rows, side, columns, side).mean(axis=(-3, -1))
    return pooled


def _resamples(groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct resamples as counts a group, and how often each occurs."""
    if groups <= EXACT_GROUPS:
        drawn = [np.bincount(one, minlength=groups) for one in product(range(groups), repeat=groups)]
        return np.unique(drawn, axis=0, return_counts=True)
    rng = np.random.default_rng(SEED)
    counts = rng.multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)
    return counts, np.ones(RESAMPLES, np.int64)


def _of_sums(sums: Values, figure: Callable[[Values], float]) -> Callable[[Values], float]:
    """A figure of sums that add up over groups, (groups, K)."""
    return lambda times: figure(times @ sums)


def _bins(scores: Values, truth: Values) -> Values:
    """(2, bins): the sum of score - truth, and the number, in each bin."""
    bins = _bin_of(scores)
    gaps = np.bincount(bins, scores - truth, CALIBRATION_BINS)
    return np.stack([gaps, np.bincount(bins, minlength=CALIBRATION_BINS)]).astype(np.float64)


def _bin_of(scores: Values) -> NDArray[np.int64]:
    return np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def _ranked(scores: Values, positive: Truth, edges: Values) -> Values:
    """(2, bins): positives, and all, in each bin of scores."""
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(edges) - 1)
    found, everything = np.bincount(bins, positive, len(edges)), np.bincount(bins, minlength=len(edges))
    return np.stack([found, everything]).astype(np.float64)


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below else float("nan")


def _won_pairs(above: Values, below: Values) -> float:
    """How many pairs (a, b) have a > b, ties counting half."""
    ordered = np.sort(below)
    won = np.searchsorted(ordered, above, side="left")
    not_lost = np.searchsorted(ordered, above, side="right")
    return float(won.sum() + not_lost.sum()) / 2
