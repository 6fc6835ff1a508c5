"""Each scored tile counts with its area inside the image: padding counts nothing, and nothing is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from ranges import CARD, SIDE, made_by_hand, plan_of, tallied
from tiny_model import STRIDE_PX

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.tile_plan import PlannedTile
from ultraread.serving.findings import MAX_EVIDENCE
from ultraread.serving.score_tiles import BLANK, FAILED, SCORED
from ultraread.serving.tally import ImageTally, TileCounts, patch_areas, stack

WIDTHS = st.integers(1, 300)


@given(width=WIDTHS, height=WIDTHS)
def test_the_area_of_all_tiles_is_that_of_the_image(width: int, height: int) -> None:
    sums = tallied(plan_of(width, height)).sums.total()
    assert sums.area.tolist() == [[width * height] * 2]
    assert sums.weight.sum(axis=2)[0].tolist() == [width * height] * 2


@given(width=WIDTHS, height=WIDTHS)
def test_a_quarter_of_each_patch_is_a_quarter_of_the_image(width: int, height: int) -> None:
    """Exactly, although the patches of border tiles reach into the padding."""
    sums = tallied(plan_of(width, height)).sums.total()
    np.testing.assert_array_equal(sums.structure[0], [0.25 * width * height, 0.5 * width * height])


@given(width=st.integers(1, 150), height=st.integers(1, 150), seed=st.integers(0, 999))
def test_structure_is_what_painting_each_pixel_gives(width: int, height: int, seed: int) -> None:
    shares: dict[int, NDArray[np.float16]] = {}

    def patches(tile: PlannedTile) -> NDArray[np.float16]:
        chance = np.random.default_rng((seed, tile.index))
        return shares.setdefault(tile.index, chance.uniform(0, 1, (2, SIDE, SIDE)).astype(np.float16))

    plan = plan_of(width, height)
    sums = tallied(plan, patches=patches).sums.total()
    painted = np.zeros((2, height, width))
    for tile in plan.tiles():
        box = tile.model_box
        pixels = shares[tile.index].astype(float).repeat(STRIDE_PX, axis=1).repeat(STRIDE_PX, axis=2)
        painted[:, box.y : box.bottom, box.x : box.right] = pixels[:, : box.height, : box.width]
    np.testing.assert_allclose(sums.structure[0], painted.sum(axis=(1, 2)))


def test_patches_of_a_border_tile_count_with_what_lies_inside() -> None:
    areas = patch_areas(BoxPx(64, 0, 36, 8), STRIDE_PX, SIDE)
    np.testing.assert_array_equal(areas, [[128, 128, 32, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def _damaged(tile: PlannedTile) -> np.uint8:
    return {0: BLANK, 1: FAILED, 2: FAILED}.get(tile.index, SCORED)


def test_planned_is_scored_and_blank_and_failed() -> None:
    image = tallied(plan_of(256, 192, range_tiles=5), status=_damaged)
    assert image.counts == TileCounts(planned=12, scored=9, blank=1, failed=2)
    assert image.counts.complete
    assert image.sums.total().area[0, 0] == 9 * 64 * 64


def test_a_missing_range_is_seen() -> None:
    plan = plan_of(256, 192, range_tiles=5)
    tally = ImageTally(plan, CARD)
    for ranges, tiles in list(made_by_hand(plan))[:-1]:
        tally.add(ranges, tiles)
    assert not tally.counts.complete


def test_witnesses_are_the_best_tiles_and_earlier_ones_first_among_equals() -> None:
    plan = plan_of(64 * 10, 64 * 10)
    image = tallied(plan, scores=lambda tile: (tile.index // 2 / 100, 0.5))
    bright, dark = image.witnesses
    assert len(bright) == len(dark) == MAX_EVIDENCE
    assert [-witness.minus_place for witness in bright[:4]] == [98, 99, 96, 97]
    assert [-witness.minus_place for witness in dark] == list(range(MAX_EVIDENCE))
    boxes = [tile.box for tile in plan.tiles()]
    assert all(witness.box == boxes[-witness.minus_place] for witness in bright)


def test_condensed_and_stacked_sums_keep_their_totals() -> None:
    one, other = tallied(plan_of(200, 100)), tallied(plan_of(64, 64))
    stacked = stack([one.condensed().sums, other.condensed().sums])
    assert stacked.area.tolist() == [[20_000, 20_000], [4096, 4096]]
    assert stacked.structure[:, 0].tolist() == [5000, 1024]


@given(probability=st.floats(0, 1, width=32))
def test_no_probability_falls_out_of_the_histogram(probability: float) -> None:
    sums = tallied(plan_of(64, 64), scores=lambda tile: (probability, 1 - probability)).sums.total()
    assert sums.weight[0].sum(axis=1).tolist() == [4096, 4096]
    assert sums.weighted[0, 0].sum() == pytest.approx(4096 * probability, abs=1e-3)
