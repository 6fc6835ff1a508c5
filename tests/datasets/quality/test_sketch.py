"""Sketches stay bounded, and hold what the tiles hold, in whatever order they come."""

import numpy as np

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.quality.sketch import MAX_CELLS, ImageSketch, cells_of
from ultraread.datasets.quality.tile_look import TileLooks, empty_looks
from ultraread.datasets.tile_plan import TilePlan

SIDE = 14


def _plan(width: int, height: int) -> TilePlan:
    return TilePlan(0, BoxPx(0, 0, width, height), 1.0, 224, 128)


def _looks(tiles: int, chance: np.random.Generator) -> TileLooks:
    looks = empty_looks(tiles, SIDE, 0)
    looks.mean[:] = chance.normal(size=looks.mean.shape)
    looks.darkest[:] = looks.mean - 1
    return looks


def test_cells_are_patches_until_there_are_too_many() -> None:
    assert cells_of(_plan(1000, 500), SIDE).cell_px == 16
    assert (cells_of(_plan(1000, 500), SIDE).rows, cells_of(_plan(1000, 500), SIDE).columns) == (32, 63)
    large = cells_of(_plan(100_000, 30_000), SIDE)
    assert large.cell_px == 256
    assert max(large.rows, large.columns) <= MAX_CELLS


def test_a_slide_of_any_size_takes_bounded_memory() -> None:
    sketch = ImageSketch(_plan(400_000, 400_000), SIDE, 1)
    arrays = [sketch.darkest, sketch.picture, *sketch.steps, *sketch.signs, *sketch._sums.values()]
    assert sum(array.nbytes for array in arrays) < 12 * 2**20


def test_the_order_of_tiles_does_not_matter() -> None:
    plan = _plan(700, 500)
    tiles = list(plan.tiles())
    looks = _looks(len(tiles), np.random.default_rng(0))
    thumbnails = np.random.default_rng(1).integers(0, 255, (len(tiles), 224, 224)).astype(np.uint8)
    one, other = ImageSketch(plan, SIDE, 224), ImageSketch(plan, SIDE, 224)
    one.add(looks, thumbnails, tiles)
    for row in reversed(range(len(tiles))):
        alone = TileLooks(**{name: array[row : row + 1] for name, array in looks.arrays().items()})
        other.add(alone, thumbnails[row : row + 1], tiles[row : row + 1])
    np.testing.assert_array_equal(one.grid("mean"), other.grid("mean"))
    np.testing.assert_array_equal(one.darkest, other.darkest)
    np.testing.assert_array_equal(one.picture, other.picture)
    np.testing.assert_array_equal(one.steps[0], other.steps[0])


def test_a_cell_of_several_patches_holds_their_mean_and_their_darkest() -> None:
    plan = _plan(224 * 40, 224)
    tiles = list(plan.tiles())
    looks = _looks(len(tiles), np.random.default_rng(0))
    sketch = ImageSketch(plan, SIDE, 14)
    sketch.add(looks, np.zeros((len(tiles), 14, 14), np.uint8), tiles)
    assert sketch.cells.cell_px == 32
    first = next(row for row, tile in enumerate(tiles) if tile.model_box.x == 0)
    assert sketch.grid("mean")[0, 0] == np.float32(looks.mean[first, :2, :2].astype(np.float32).mean())
    assert sketch.darkest[0, 0] == looks.darkest[first, :2, :2].min()
