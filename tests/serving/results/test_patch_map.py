"""patch_map.ome.tif holds, at each patch's place, the value that its range's checkpoint holds."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from ranges import CARD, Read, made_by_hand, plan_of
from tiny_model import STRIDE_PX, tiny_card

from ultraread.datasets.geometry import NmPerPx
from ultraread.datasets.tile_plan import PlannedTile
from ultraread.models.card import ModelCard
from ultraread.serving.results.patch_map import PatchMapFile
from ultraread.serving.score_tiles import BLANK, SCORED, planned_tiles


def _expected(read: Read) -> NDArray[np.float16]:
    """The map as the checkpoints give it: NaN where nothing was scored, cut at the image's border."""
    (image,) = read.prepared.images
    plan, side = image.plan, 64 // STRIDE_PX
    full = np.full((2, plan.rows * side, plan.columns * side), np.nan, np.float16)
    for number in range(plan.ranges):
        scores = read.store.load(0, number)
        assert scores.patch_maps is not None
        for row, tile in enumerate(planned_tiles(plan, number)):
            if scores.status[row] == SCORED:
                x, y = tile.model_box.x // STRIDE_PX, tile.model_box.y // STRIDE_PX
                full[:, y : y + side, x : x + side] = scores.patch_maps[row]
    return full[:, : -(-plan.size.height // STRIDE_PX), : -(-plan.size.width // STRIDE_PX)]


def test_values_are_those_of_the_checkpoints_at_the_border_too(read: Read) -> None:
    found = tifffile.imread(read.folder / "patch_map.ome.tif")
    expected = _expected(read)
    assert found.dtype == np.float16
    assert found.shape == expected.shape == (2, 20, 33)
    np.testing.assert_array_equal(found, expected)
    assert np.isnan(found[:, :4, :4]).all(), "the damaged tile"
    assert np.isfinite(found[:, -1]).all()
    assert np.isfinite(found[:, 12:, -1]).all()


def test_it_is_an_ome_tiff_that_names_channels_and_states_its_pixel_size(read: Read) -> None:
    with tifffile.TiffFile(read.folder / "patch_map.ome.tif") as file:
        assert file.is_ome
        assert file.series[0].axes == "CYX"
        assert file.pages.first.is_tiled
        described = ElementTree.fromstring(file.ome_metadata or "")  # noqa: S314  # our own file
    pixels = described.find("{*}Image/{*}Pixels")
    assert pixels is not None
    assert [channel.get("Name") for channel in pixels.findall("{*}Channel")] == ["bright", "dark"]
    for axis in "XY":
        assert pixels.get(f"PhysicalSize{axis}Unit") == "nm"
        assert float(pixels.get(f"PhysicalSize{axis}", "0")) == pytest.approx(16 * 4.6)


def _write(path: Path, width: int, height: int, card: ModelCard = CARD) -> NDArray[np.float64]:
    """A map of known values, left to right 0 to 1 for `bright`, top to bottom for `dark`; return them."""
    plan, patch_map = plan_of(width, height, range_tiles=3), card.outputs.patch_map
    assert patch_map is not None
    rows, columns = plan.rows * 4, plan.columns * 4
    values = np.stack(np.broadcast_arrays(np.linspace(0, 1, columns), np.linspace(0, 1, rows)[:, None]))

    def patches(tile: PlannedTile) -> NDArray[np.float16]:
        x, y = tile.model_box.x // STRIDE_PX, tile.model_box.y // STRIDE_PX
        return values[:, y : y + 4, x : x + 4].astype(np.float16)

    file = PatchMapFile(path, plan, card, patch_map, NmPerPx(4.6))
    for ranges, tiles in made_by_hand(
        plan, patches=patches, status=lambda tile: BLANK if tile.index == 1 else SCORED
    ):
        file.add(ranges, tiles)
    file.close()
    return values[:, : -(-height // STRIDE_PX), : -(-width // STRIDE_PX)]


@pytest.mark.parametrize(("width", "height"), [(64, 64), (65, 130), (1100, 300), (1024, 1024)])
def test_maps_of_any_size_hold_what_was_written(width: int, height: int, tmp_path: Path) -> None:
    values = _write(tmp_path / "map.ome.tif", width, height)
    found = tifffile.imread(tmp_path / "map.ome.tif")
    scored = np.isfinite(found)
    np.testing.assert_array_equal(found[scored], values.astype(np.float16)[scored])
    unscored = 0 if (width, height) == (64, 64) else 1
    assert (~scored[0]).sum() <= 16 * unscored
    assert (~scored).any() == bool(unscored)


def test_large_slides_get_one_byte_a_patch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ultraread.serving.results.patch_map.MAX_FLOAT_SIDE_PX", 299)
    values = _write(tmp_path / "large.ome.tif", 300, 200)
    found = tifffile.imread(tmp_path / "large.ome.tif")
    assert found.dtype == np.uint8
    scored = found > 0
    assert np.abs(found[scored] / 255 - values[scored]).max() <= 0.5 / 255 + 1e-3
    assert (~scored).sum() < 60
    _write(tmp_path / "small.ome.tif", 299, 200)
    assert tifffile.imread(tmp_path / "small.ome.tif").dtype == np.float16


def test_the_first_patch_lies_at_the_corner_of_the_image_whatever_the_margin(tmp_path: Path) -> None:
    stated = tiny_card(96)
    stated["outputs"]["patch_map"]["offset_px"] = 16
    _write(tmp_path / "map.ome.tif", 128, 128, ModelCard.model_validate(stated))
    with tifffile.TiffFile(tmp_path / "map.ome.tif") as file:
        described = ElementTree.fromstring(file.ome_metadata or "")  # noqa: S314  # our own file
    plane = described.find("{*}Image/{*}Pixels/{*}Plane")
    assert plane is not None
    assert float(plane.get("PositionX", "1")) == 0
    assert plane.get("PositionXUnit") == "nm"
