"""A plan covers its region exactly once, in bounds, in ranges, and from coarse to fine."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import plans

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.tile_plan import TilePlan, coarse_to_fine


@given(plans())
def test_each_model_pixel_lies_in_exactly_one_tile(plan: TilePlan) -> None:
    seen = np.zeros((plan.size.height, plan.size.width), int)
    for tile in plan.tiles():
        box = tile.model_box
        assert 0 < box.width <= plan.tile_px
        assert 0 < box.height <= plan.tile_px
        seen[box.y : box.bottom, box.x : box.right] += 1
    assert (seen == 1).all()


@given(plans())
def test_the_model_sees_each_tile_and_its_margin_as_far_as_the_region_goes(plan: TilePlan) -> None:
    for tile in plan.tiles():
        seen, core = plan.seen_box(tile), tile.model_box
        assert (seen.x, seen.y) == (max(0, core.x - plan.margin_px), max(0, core.y - plan.margin_px))
        assert core.right <= seen.right <= min(plan.size.width, seen.x + plan.seen_px)
        assert core.bottom <= seen.bottom <= min(plan.size.height, seen.y + plan.seen_px)


@given(plans())
def test_level0_boxes_lie_in_the_region_and_together_cover_it(plan: TilePlan) -> None:
    region = plan.region
    seen = np.zeros((region.bottom, region.right), bool)
    for tile in plan.tiles():
        assert region.x <= tile.box.x < tile.box.right <= region.right
        assert region.y <= tile.box.y < tile.box.bottom <= region.bottom
        seen[tile.box.y : tile.box.bottom, tile.box.x : tile.box.right] = True
    assert seen[region.y :, region.x :].all()
    assert not seen[: region.y].any()
    assert not seen[:, : region.x].any()


@given(plans())
def test_a_level0_box_holds_its_model_pixels_and_at_most_a_rim_more(plan: TilePlan) -> None:
    for tile in plan.tiles():
        exact = tile.model_box.width * plan.zoom
        assert tile.box.width < exact + 2
        if tile.model_box.right < plan.size.width:
            assert tile.box.width > exact - 1e-5


@given(plans())
def test_ranges_partition_the_plan(plan: TilePlan) -> None:
    bounds = [plan.range_bounds(number) for number in range(plan.ranges)]
    assert [place for first, after in bounds for place in range(first, after)] == list(range(len(plan)))
    assert all(after - first == plan.range_tiles for first, after in bounds[:-1])
    in_ranges = [tile for first, after in bounds for tile in plan.tiles(first, after)]
    assert in_ranges == list(plan.tiles())
    assert [tile.index for tile in in_ranges] == list(range(len(plan)))


@given(columns=st.integers(1, 60), rows=st.integers(1, 60))
def test_coarse_to_fine_visits_every_place_once(columns: int, rows: int) -> None:
    assert sorted(coarse_to_fine(columns, rows).tolist()) == list(range(columns * rows))


@settings(max_examples=40)
@given(columns=st.integers(2, 60), rows=st.integers(2, 60), share=st.floats(0.05, 1))
def test_every_beginning_of_a_plan_is_spread_over_the_whole_image(
    columns: int, rows: int, share: float
) -> None:
    """No place is further from a visited one than the step of the lattice that is being filled."""
    visited = coarse_to_fine(columns, rows)[: max(1, int(share * columns * rows))]
    row, column = np.divmod(visited.astype(int), columns)
    all_rows, all_columns = np.divmod(np.arange(columns * rows), columns)
    apart = np.maximum(np.abs(all_rows[:, None] - row), np.abs(all_columns[:, None] - column))
    step = 1
    while -(-columns // (2 * step)) * -(-rows // (2 * step)) > len(visited):
        step *= 2
    assert apart.min(axis=1).max() < 2 * step


def test_the_order_of_a_small_plan() -> None:
    order = coarse_to_fine(4, 3).reshape(-1).tolist()
    assert order == [0, 2, 8, 10, 1, 3, 4, 5, 6, 7, 9, 11]


def test_a_scale_that_equals_the_models_gives_whole_tiles() -> None:
    plan = TilePlan(0, BoxPx(0, 0, 1024, 1024), 4.6 / 4.6, 256, 128)
    assert [tile.box.width for tile in plan.tiles()] == [256] * 16


def test_the_last_tiles_of_a_row_are_smaller() -> None:
    plan = TilePlan(0, BoxPx(7, 3, 100, 70), 1.0, 64, 128)
    boxes = {(t.box.x, t.box.y, t.box.width, t.box.height) for t in plan.tiles()}
    assert boxes == {(7, 3, 64, 64), (71, 3, 36, 64), (7, 67, 64, 6), (71, 67, 36, 6)}
