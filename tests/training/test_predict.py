"""Whole fields are tiled, padded and put together without moving a patch."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ultraread.training.config import TrainingConfig
from ultraread.training.fields import Field, normalise
from ultraread.training.model_view import ModelView, view_of_recipe
from ultraread.training.network import Outputs
from ultraread.training.predict import cut_tiles, field_tiles, join_tiles, predict_field, predict_fields

MARGINS = (0, 32)


@pytest.fixture(scope="module", params=MARGINS, ids=lambda margin_px: f"margin {margin_px} px")
def view(tiny: TrainingConfig, request: pytest.FixtureRequest) -> ModelView:
    return replace(view_of_recipe(tiny), margin_px=request.param)


def patch_means(tiles: Tensor, margin_px: int) -> Outputs:
    """A model of three classes that gives each patch its mean, and each tile its number in the batch."""
    patches = avg_pool2d(tiles, 16).expand(-1, 3, -1, -1)
    inside = slice(margin_px // 16, patches.shape[-1] - margin_px // 16)
    means = patches[:, :, inside, inside]
    return Outputs(means.mean(dim=(2, 3)), means, torch.arange(len(tiles)).float())


def of_size(field: Field, height: int, width: int) -> Field:
    return replace(field, grey=field.grey[:, :height, :width], masks=field.masks[:, :height, :width])


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 4), columns=st.integers(1, 4), channels=st.integers(1, 3))
def test_tiles_put_together_are_the_image(rows: int, columns: int, channels: int) -> None:
    image = torch.arange(channels * rows * 32 * columns * 32).reshape(channels, rows * 32, columns * 32)
    tiles = cut_tiles(image, 32, step_px=32)
    assert tiles.shape == (rows * columns, channels, 32, 32)
    assert torch.equal(join_tiles(tiles, columns), image)


def test_tiles_come_row_by_row() -> None:
    image = torch.arange(96 * 64).reshape(1, 96, 64)
    assert torch.equal(cut_tiles(image, 32, step_px=32)[1], image[:, :32, 32:])


def test_tiles_with_a_margin_overlap_by_it_twice() -> None:
    image = torch.arange(96 * 64).reshape(1, 96, 64)
    tiles = cut_tiles(image, 64, step_px=32)
    assert tiles.shape == (2, 1, 64, 64)
    assert torch.equal(tiles[0][:, 32:], tiles[1][:, :32])


@pytest.mark.parametrize(("height", "width"), [(256, 256), (250, 256), (129, 200), (256, 100), (60, 50)])
def test_the_cores_of_tiles_cover_a_field_of_any_size_once(
    fields: list[Field], view: ModelView, height: int, width: int
) -> None:
    grey = of_size(fields[0], height, width).grey
    tiles, columns = field_tiles(grey, view)
    assert columns == -(-width // view.core_px)
    assert tiles.shape == (columns * -(-height // view.core_px), 1, 128, 128)
    inside = slice(view.margin_px, view.margin_px + view.core_px)
    whole = join_tiles(tiles[:, :, inside, inside], columns)
    assert torch.equal(whole[:, :height, :width], normalise(grey, view.clip))


def test_what_lies_beyond_the_border_is_its_reflection(fields: list[Field], view: ModelView) -> None:
    tiles, columns = field_tiles(of_size(fields[0], 256, 200).grey, view)
    whole = normalise(of_size(fields[0], 256, 200).grey, view.clip)
    last = tiles[columns - 1]
    beyond = (columns * view.core_px + view.margin_px) - 200
    assert beyond > 0
    own = whole[:, : 128 - view.margin_px, 200 - 1 - beyond : 199]
    assert torch.equal(last[:, view.margin_px :, -beyond:], own.flip(2))


def test_the_margin_of_a_tile_is_its_neighbour_s_core(fields: list[Field], tiny: TrainingConfig) -> None:
    tiles, _ = field_tiles(fields[0].grey, view_of_recipe(tiny))
    assert torch.equal(tiles[0][:, :, 96:], tiles[1][:, :, 32:64])


@pytest.mark.parametrize(("height", "width"), [(256, 256), (250, 199), (130, 70), (60, 50)])
def test_a_patch_map_has_every_whole_patch_of_the_field_and_no_other(
    fields: list[Field], view: ModelView, height: int, width: int
) -> None:
    field = of_size(fields[0], height, width)
    found = predict_field(partial(patch_means, margin_px=view.margin_px), field, view)
    rows, columns = height // 16, width // 16
    assert found.predicted.shape == found.true.shape == (3, rows, columns)
    whole = normalise(field.grey, view.clip)[:, : rows * 16, : columns * 16]
    torch.testing.assert_close(torch.from_numpy(found.predicted[:1]), avg_pool2d(whole[None], 16)[0])
    assert found.true[0, 1, 2] == pytest.approx(float(field.masks[0, 16:32, 32:48].float().mean()))


def test_tiles_are_scored_in_batches_of_the_served_size(fields: list[Field], tiny: TrainingConfig) -> None:
    sizes: list[int] = []
    whole = replace(view_of_recipe(tiny), margin_px=0)

    def score(tiles: Tensor) -> Outputs:
        sizes.append(len(tiles))
        return patch_means(tiles, margin_px=0)

    wide = replace(fields[0], grey=fields[0].grey.repeat(1, 2, 1)[:, :384], masks=fields[0].masks)
    found = predict_field(score, wide, whole)
    assert sizes == [4, 2]
    assert found.strangeness.tolist() == [0, 1, 2, 3, 0, 1]


def test_predictions_keep_the_order_of_the_fields(fields: list[Field], view: ModelView) -> None:
    found = predict_fields(partial(patch_means, margin_px=view.margin_px), fields[::-1], view)
    assert [one.field for one in found] == [field.labelled for field in fields[::-1]]
