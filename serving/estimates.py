"""Estimates with intervals from sums over tiles: area fractions by stereology, scores, bootstrap.

The bootstrap resamples groups with replacement: fields of a case, or ranges of a single image. Ranges of one
image share its section and its staining, so their interval is narrower than the truth, and is said to be.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ultraread.models.formula import Formula
from ultraread.serving.tally import Floats, Sums

REPLICATES = 1000
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % percentile interval; no interval where only one group could be resampled."""

    value: float
    ci95: tuple[float, float] | None

    def scaled(self, factor: float) -> "Estimate":
        interval = None if self.ci95 is None else (self.ci95[0] * factor, self.ci95[1] * factor)
        return Estimate(self.value * factor, interval)

    def widened(self, low_factor: float, high_factor: float) -> "Estimate":
        """Let a second source of error, such as the scale's tolerance, pull the ends of the interval apart.

        Without a resampling interval there is none: the scale's error alone would look like certainty.
        """
        if self.ci95 is None:
            return self
        return Estimate(self.value, (self.ci95[0] * low_factor, self.ci95[1] * high_factor))


def seed_of(*digests: str) -> int:
    """A seed that depends on what was read and with which model, and on nothing else."""
    return int.from_bytes(hashlib.sha256("\n".join(digests).encode()).digest()[:8], "big")


class Bootstrap:
    """Resamples the groups of some sums; every estimate uses the same REPLICATES resamples.

    Estimates are sums over groups weighted by how often each was drawn (einsum without BLAS: its order of
    addition, and so the last bit, does not depend on threads).
    """

    def __init__(self, sums: Sums, seed: int) -> None:
        occupied = sums.area.any(axis=1)
        self._sums = Sums(*(part[occupied] for part in sums.parts()))
        self.groups = int(occupied.sum())
        self._draws = np.ones((1 + REPLICATES, self.groups))
        if self.groups:
            share = np.full(self.groups, 1 / self.groups)
            self._draws[1:] = np.random.default_rng(seed).multinomial(self.groups, share, size=REPLICATES)

    def area_fraction(self, class_index: int) -> Estimate:
        """Share of the scored area that the class covers, 0 to 1.

        Delesse's principle: on random sections the area fraction estimates the volume fraction, V_V = A_A
        (A. Delesse, 1847; Weibel, Stereological Methods, 1979).
        """
        covered = self._resampled(self._sums.structure[:, class_index])
        return self._estimate(_ratio(covered, self._resampled(self._sums.area[:, class_index])))

    def profile_area(self, class_index: int) -> Estimate:
        """Area that the class covers in the scored tiles, in square model pixels."""
        fraction = self.area_fraction(class_index)
        return fraction.scaled(float(self._sums.area[:, class_index].sum()))

    def is_told(self, class_index: int) -> bool:
        """Whether any tile is left that speaks of the class."""
        return bool(self._sums.area[:, class_index].any() and self._sums.weight[:, class_index].any())

    def derived(self, formula: Formula, class_names: Sequence[str]) -> Estimate | None:
        """A formula over area fractions, on each resample by itself; None where one leaves it undefined.

        Its interval is that of the formula: areas of one field belong together, and are drawn together.
        """
        area = self._resampled(self._sums.area)
        covered = self._resampled(self._sums.structure)
        fractions = _ratio(covered, area)
        values = formula({name: fractions[:, index] for index, name in enumerate(class_names)})
        return self._estimate(values) if np.isfinite(values).all() else None

    def top_mean(self, class_index: int, top_fraction: float) -> Estimate:
        """Area-weighted mean of the highest `top_fraction` of tile probabilities."""
        weight = self._resampled(self._sums.weight[:, class_index])
        weighted = self._resampled(self._sums.weighted[:, class_index])
        return self._estimate(_top_mean(weight, weighted, top_fraction))

    def _resampled(self, part: Floats) -> Floats:
        """(1 + REPLICATES, ...): the sums themselves first, then each resample's."""
        return np.asarray(np.einsum("rg,g...->r...", self._draws, part))

    def _estimate(self, resampled: Floats) -> Estimate:
        """The first is the estimate, the rest its resamples; one group alone tells no spread."""
        drawn = resampled[1:][np.isfinite(resampled[1:])]
        if self.groups < 2 or not len(drawn):
            return Estimate(float(resampled[0]), None)
        low, high = np.percentile(drawn, PERCENTILES)
        return Estimate(float(resampled[0]), (float(low), float(high)))


def _top_mean(weight: Floats, weighted: Floats, top_fraction: float) -> Floats:
    """Means over the top of (R, BINS) histograms; the bin at the limit counts in part, with its own mean."""
    falling, falling_weighted = weight[:, ::-1], weighted[:, ::-1]
    above = np.cumsum(falling, axis=1) - falling
    wanted = top_fraction * falling.sum(axis=1, keepdims=True)
    taken = np.clip(wanted - above, 0, falling)
    means = np.divide(falling_weighted, falling, out=np.zeros_like(falling), where=falling > 0)
    return _ratio((taken * means).sum(axis=1), wanted[:, 0])


def _ratio(part: Floats, of: Floats) -> Floats:
    """NaN where a resample drew nothing that artefacts have left."""
    return np.divide(part, of, out=np.full_like(part, np.nan), where=of > 0)
