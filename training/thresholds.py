"""`present` and `not_seen` limits of a class, chosen for whole fields by a split-conformal rule.

The service calls a field by the mean of its highest tiles, so the limits are chosen on that score and not on
single tiles. Fields without the class are made by drawing tiles without it; fields that show it have one tile
that does. Of each kind at most the stated share may be called wrongly.
"""

import math
from dataclasses import dataclass

import numpy as np

from ultraread.models.card import ConformalClass, Threshold
from ultraread.training.class_maps import ClassMaps
from ultraread.training.metrics import Values, pool_patches
from ultraread.training.model_view import ModelView

FIELD_TILES = 16
"""Tiles of a made field: a 1,024 px image at the model's scale."""
MADE_FIELDS = 4000
SEED = 160856
DIGITS = 6
"""Decimals of a limit, as the card states it."""
TOP_FRACTION = 0.1
"""Of the tiles of a field, by area: the card's aggregation rule."""

ASSUMES = (
    "New fields are exchangeable with fields made of tiles of the calibration sections: same tissue, "
    "staining, section thickness and microscope."
)
CANNOT_COVER = (
    "Other specimens, laboratories and instruments: all calibration sections are of one specimen, and one "
    "specimen is no sample of specimens. `coverage` counts what happened on data sets that were left out."
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Present at or above `present`, not seen below `not_seen`, between them nothing is said."""

    present: float
    not_seen: float

    def call(self, score: float) -> str:
        if score >= self.present:
            return "present"
        return "not_seen" if score < self.not_seen else "indeterminate"


def field_score(tiles: Values) -> Values:
    """Mean of the highest TOP_FRACTION of tiles, the last one in part: (..., tiles) to (...)."""
    count = tiles.shape[-1]
    weight = np.clip(TOP_FRACTION * count - np.arange(count), 0, 1)
    falling = -np.sort(-tiles, axis=-1)
    score: Values = falling @ weight / weight.sum()
    return score


def choose_limits(maps: ClassMaps, view: ModelView, rate: float) -> Limits:
    """The limits of one class from out-of-fold tiles of the served size.

    Where too few tiles lie on one side for the stated error rate, that limit is never reached.
    """
    shown, empty = _sides(maps, view)
    rng = np.random.default_rng(SEED)
    present = not_seen = None
    if rank := _rank(empty.size, rate):
        made = field_score(_drawn(rng, empty, FIELD_TILES))
        present = _above(float(np.quantile(made, rank, method="higher")))
    if rank := _rank(shown.size, rate):
        one = _drawn(rng, shown, 1)
        others = _drawn(rng, empty, FIELD_TILES - 1) if empty.size else one.repeat(FIELD_TILES - 1, 1)
        made = field_score(np.hstack([one, others]))
        not_seen = _at_most(float(np.quantile(made, 1 - rank, method="lower")))
    highest = 1.0 if present is None else present
    return Limits(highest, min(highest, 0.0 if not_seen is None else not_seen))


def threshold(maps: ClassMaps, view: ModelView, rate: float, limits: Limits) -> Threshold:
    """What the card says of one class."""
    return Threshold(
        code=maps.one.code,
        present=limits.present,
        not_seen=limits.not_seen,
        operating_point=_operating_point(maps, view, rate),
    )


def coverage(maps: ClassMaps, view: ModelView, limits: Limits, dataset: str) -> ConformalClass:
    """Count, over real fields of at most 4 x 4 tiles, what the limits said and where they were wrong."""
    called = field_calls(maps, view, limits)
    return ConformalClass(
        code=maps.one.code,
        dataset=dataset,
        fields_with=sum(shows for _, shows in called),
        misses=sum(shows and said == "not_seen" for said, shows in called),
        fields_without=sum(not shows for _, shows in called),
        false_calls=sum(not shows and said == "present" for said, shows in called),
        abstained=sum(said == "indeterminate" for said, _ in called),
    )


def field_calls(maps: ClassMaps, view: ModelView, limits: Limits) -> list[tuple[str, bool]]:
    """What is said of each field of at most 4 x 4 tiles, and whether one of its tiles shows the class."""
    side = view.core_px // view.patch_px
    return [
        (limits.call(float(field_score(scores))), bool((fractions >= maps.one.positive_fraction).any()))
        for group, truth in zip(maps.predicted, maps.true, strict=True)
        for predicted, true in zip(group, truth, strict=True)
        for scores, fractions in _blocks(predicted, true, side)
    ]


def _sides(maps: ClassMaps, view: ModelView) -> tuple[Values, Values]:
    """Scores of served tiles that show the class, and of those that do not."""
    side = view.core_px // view.patch_px
    scored = maps.scored(side)
    scores = np.concatenate(scored.scores)
    positive = np.concatenate(scored.positive(maps.one.positive_fraction))
    return scores[positive], scores[~positive]


def _rank(count: int, rate: float) -> float | None:
    """The conformal quantile ceil((n + 1)(1 - rate)) / n (Vovk et al. 2005); None where n is too small."""
    rank = math.ceil((count + 1) * (1 - rate))
    return rank / count if 0 < rank <= count else None


def _above(score: float) -> float:
    """The least limit of DIGITS decimals that this score does not reach: equal scores are common."""
    return float(min(1.0, (math.floor(score * 10**DIGITS) + 1) / 10**DIGITS))


def _at_most(score: float) -> float:
    """The greatest limit of DIGITS decimals that this score does not lie below."""
    return float(math.floor(score * 10**DIGITS) / 10**DIGITS)


def _drawn(rng: np.random.Generator, tiles: Values, count: int) -> Values:
    """(MADE_FIELDS, count) tiles drawn with replacement."""
    return rng.choice(tiles, size=(MADE_FIELDS, count))


def _blocks(predicted: Values, true: Values, side: int) -> list[tuple[Values, Values]]:
    """Tiles of each block of at most 4 x 4 served tiles: scores and area fractions, flat."""
    scores, fractions = pool_patches(predicted, side), pool_patches(true, side)
    reach = math.isqrt(FIELD_TILES)
    return [
        (scores[y : y + reach, x : x + reach].ravel(), fractions[y : y + reach, x : x + reach].ravel())
        for y in range(0, scores.shape[0], reach)
        for x in range(0, scores.shape[1], reach)
    ]


def _operating_point(maps: ClassMaps, view: ModelView, rate: float) -> str:
    (shown, empty), percent, one = _sides(maps, view), 100 * rate, maps.one
    return (
        f"For fields of {FIELD_TILES} tiles of {view.core_px} px; a tile shows {one.name} from "
        f"{100 * one.positive_fraction:g} % of its area on. present: at most {percent:g} % of fields without "
        f"a tile that shows it reach this limit; not_seen: at most {percent:g} % of fields with one such "
        f"tile stay below. Chosen out of fold on {shown.size} tiles that show it and {empty.size} that do "
        f"not, of {maps.fields} sections; {MADE_FIELDS} made fields of each kind. Larger fields are called "
        "present more easily."
    )
