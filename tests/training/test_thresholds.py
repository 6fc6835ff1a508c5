"""Limits hold their error rates on exchangeable fields, say nothing where tiles are few, and count misses."""

import numpy as np
import pytest
from made_maps import MITO, PATCHES, VIEW, field_maps

from ultraread.serving.estimates import _top_mean
from ultraread.serving.tally import BINS
from ultraread.training.thresholds import (
    FIELD_TILES,
    TOP_FRACTION,
    Limits,
    choose_limits,
    coverage,
    field_calls,
    field_score,
    threshold,
)

RATE = 0.05


def tiles(seed: int, count: int, shows: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of tiles of which a share of `shows` show the class, and their area fractions."""
    chance = np.random.default_rng(seed)
    fractions = np.where(chance.random(count) < shows, 0.3, 0.0)
    return chance.beta(np.where(fractions > 0, 8, 2), np.where(fractions > 0, 3, 8)), fractions


def test_a_field_is_scored_by_its_highest_tenth_the_last_tile_in_part() -> None:
    scores = np.arange(16) / 16
    assert field_score(scores) == pytest.approx((15 / 16 + 0.6 * 14 / 16) / 1.6)
    assert field_score(np.array([[0.2, 0.9], [0.4, 0.3]])) == pytest.approx([0.9, 0.4])


@pytest.mark.parametrize("count", [1, 4, 10, 16, 37, 200])
def test_a_field_is_scored_as_the_service_scores_it_within_a_bin(count: int) -> None:
    """The service adds tiles of equal area up in bins of their score."""
    scores = np.random.default_rng(count).random(count)
    bins = (scores * BINS).astype(int)
    weight = np.bincount(bins, minlength=BINS)[None].astype(float)
    weighted = np.bincount(bins, scores, BINS)[None]
    served = float(_top_mean(weight, weighted, TOP_FRACTION)[0])
    assert field_score(scores) == pytest.approx(served, abs=1 / BINS)


@pytest.mark.parametrize("shows", [0.3, 0.7])
def test_limits_hold_their_error_rates_on_new_fields_of_exchangeable_tiles(shows: float) -> None:
    limits = choose_limits(field_maps(*tiles(0, 2000, shows)), VIEW, RATE)
    scores, fractions = tiles(1, 40_000, shows)
    empty, shown = scores[fractions == 0], scores[fractions > 0]
    chance = np.random.default_rng(2)
    without = chance.choice(empty, (5000, FIELD_TILES))
    with_one = np.hstack([chance.choice(shown, (5000, 1)), chance.choice(empty, (5000, FIELD_TILES - 1))])
    false_calls = np.mean([limits.call(one) == "present" for one in field_score(without)])
    misses = np.mean([limits.call(one) == "not_seen" for one in field_score(with_one)])
    assert false_calls == pytest.approx(RATE, abs=0.02)
    assert misses == pytest.approx(RATE, abs=0.02)
    called = np.mean([limits.call(one) == "present" for one in field_score(with_one)])
    assert called > 0.5, "a limit that nothing reaches would hold, too"


def test_fields_made_of_few_tiles_are_called_wrongly_no_more_often_than_said() -> None:
    """Of 30 tiles the highest is in many made fields at once: their scores are equal."""
    scores, fractions = tiles(3, 60, 0.5)
    limits = choose_limits(field_maps(scores, fractions), VIEW, RATE)
    empty = scores[fractions == 0]
    made = field_score(np.random.default_rng(4).choice(empty, (20_000, FIELD_TILES)))
    assert np.mean([limits.call(one) == "present" for one in made]) <= RATE + 0.005
    assert limits.present < 1


def test_a_model_that_gives_every_tile_the_same_score_never_calls_a_class_present() -> None:
    _, fractions = tiles(5, 200, 0.5)
    limits = choose_limits(field_maps(np.full(200, 0.25), fractions), VIEW, RATE)
    assert limits.call(0.25) == "indeterminate"


def test_with_too_few_tiles_on_one_side_its_limit_is_never_reached() -> None:
    """Nineteen tiles are the fewest that can bear witness to one error in twenty."""
    few, enough = np.r_[np.zeros(18), np.full(19, 0.3)], np.r_[np.zeros(19), np.full(18, 0.3)]
    scores = np.random.default_rng(0).random(37)
    without_present = choose_limits(field_maps(scores, few), VIEW, RATE)
    assert without_present.present == 1.0
    assert without_present.not_seen > 0
    without_not_seen = choose_limits(field_maps(scores, enough), VIEW, RATE)
    assert without_not_seen.not_seen == 0.0
    assert without_not_seen.present < 1


def test_where_every_tile_shows_the_class_not_seen_is_still_chosen() -> None:
    scores, _ = tiles(6, 100, 1.0)
    limits = choose_limits(field_maps(scores, np.ones(100)), VIEW, RATE)
    assert limits.present == 1.0
    assert 0 < limits.not_seen < 1


def test_not_seen_never_lies_above_present() -> None:
    """Scores that rank the wrong way round would have it so."""
    scores, fractions = tiles(7, 400, 0.5)
    limits = choose_limits(field_maps(1 - scores, fractions), VIEW, RATE)
    assert limits.not_seen <= limits.present


@pytest.mark.parametrize(
    ("score", "said"),
    [(0.7, "present"), (0.6, "present"), (0.5, "indeterminate"), (0.4, "indeterminate"), (0.3, "not_seen")],
)
def test_a_field_is_called_by_where_its_score_lies(score: float, said: str) -> None:
    assert Limits(0.6, 0.4).call(score) == said


def test_the_card_states_the_limits_to_the_digit_and_what_they_stand_on() -> None:
    maps = field_maps(*tiles(8, 500, 0.5))
    limits = choose_limits(maps, VIEW, RATE)
    said = threshold(maps, VIEW, RATE, limits)
    assert (said.code, said.present, said.not_seen) == ("UR-MITO", limits.present, limits.not_seen)
    shown = int((tiles(8, 500, 0.5)[1] > 0).sum())
    assert (
        f"{shown} tiles that show it and {500 - shown} that do not, of 500 sections" in said.operating_point
    )
    assert "at most 5 % of fields" in said.operating_point


def test_coverage_counts_what_was_missed_called_falsely_and_left_open() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.9, 0.1])
    fractions = np.array([0.3, 0.3, 0.3, 0.0, 0.0])
    counted = coverage(field_maps(scores, fractions), VIEW, Limits(0.6, 0.4), "elsewhere")
    assert (counted.fields_with, counted.misses) == (3, 1)
    assert (counted.fields_without, counted.false_calls) == (2, 1)
    assert (counted.abstained, counted.code, counted.dataset) == (1, "UR-MITO", "elsewhere")


def test_a_large_image_is_called_in_fields_of_four_by_four_tiles() -> None:
    """Of 5 x 4 tiles, the four below make a field of their own."""
    scores = np.zeros((5 * PATCHES, 4 * PATCHES))
    scores[4 * PATCHES :, :PATCHES] = 0.9
    maps = field_maps(scores, scores)
    assert field_calls(maps, VIEW, Limits(0.6, 0.4)) == [("not_seen", False), ("present", True)]
    assert maps.one == MITO
