"""Tables and overlay of a result: one row a tile, one polygon a tile, each in level-0 pixels."""

import csv
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranges import CARD, Read, made_by_hand, plan_of

from ultraread.serving.results.overlay import MAX_TILE_OBJECTS, Overlay, Squares
from ultraread.serving.score_tiles import BLANK, FAILED, SCORED, planned_tiles


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as table:
        return list(csv.DictReader(table))


def _tile_boxes(read: Read, *statuses: np.uint8) -> list[list[int]]:
    """Boxes of the tiles that have one of `statuses` in the checkpoints, in plan order."""
    (image,) = read.prepared.images
    boxes = []
    for number in range(image.plan.ranges):
        scores = read.store.load(0, number)
        for status, tile in zip(scores.status, planned_tiles(image.plan, number), strict=True):
            if status in statuses:
                boxes.append([tile.box.x, tile.box.y, tile.box.width, tile.box.height])
    return boxes


def test_tiles_csv_starts_with_the_columns_of_wsinfer(read: Read) -> None:
    header = (read.folder / "tiles.csv").read_text().splitlines()[0]
    assert header == "minx,miny,width,height,prob_bright,prob_dark,image"


def test_each_scored_tile_is_a_row_and_each_other_tile_has_its_reason(read: Read) -> None:
    scored, unscored = (_rows(read.folder / name) for name in ("tiles.csv", "tiles_unscored.csv"))
    columns = ("minx", "miny", "width", "height")
    assert [[int(row[name]) for name in columns] for row in scored] == _tile_boxes(read, SCORED)
    assert [[int(row[name]) for name in columns] for row in unscored] == _tile_boxes(read, BLANK, FAILED)
    assert len(scored) + len(unscored) == read.prepared.tiles == 45
    reasons = {row["status"]: row["reason"] for row in unscored}
    assert reasons["failed"].startswith("stored tile 0")
    assert reasons["blank"] == "no structure: block means hardly differ"


def test_probabilities_are_those_of_the_checkpoints(read: Read) -> None:
    (image,) = read.prepared.images
    stored = [read.store.load(0, number) for number in range(image.plan.ranges)]
    expected = np.concatenate([scores.probabilities[scores.status == SCORED] for scores in stored])
    rows = _rows(read.folder / "tiles.csv")
    found = [[float(row["prob_bright"]), float(row["prob_dark"])] for row in rows]
    np.testing.assert_allclose(found, expected, atol=5e-7)


def _features(path: Path) -> list[dict[str, Any]]:
    collection = json.loads(path.read_text())
    assert set(collection) == {"type", "features"}
    assert collection["type"] == "FeatureCollection"
    return list(collection["features"])


def _check_polygon(feature: dict[str, Any], width: int, height: int) -> None:
    assert feature["type"] == "Feature"
    assert feature["geometry"]["type"] == "Polygon"
    (ring,) = feature["geometry"]["coordinates"]
    assert len(ring) == 5
    assert ring[0] == ring[-1], "a ring of GeoJSON is closed"
    assert all(0 <= x <= width and 0 <= y <= height for x, y in ring)
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring)) / 2
    assert area > 0


def test_the_overlay_is_geojson_with_a_tile_for_each_row_and_the_evidence(read: Read) -> None:
    features = _features(read.folder / "overlay.geojson")
    for feature in features:
        _check_polygon(feature, 600, 360)
    kinds = [feature["properties"]["objectType"] for feature in features]
    findings = json.loads((read.folder / "findings.json").read_text())["findings"]
    assert kinds.count("tile") == len(_tile_boxes(read, SCORED))
    assert kinds.count("annotation") == sum(len(finding["evidence"]) for finding in findings) > 0
    labels = {feature["properties"].get("name") for feature in features} - {None}
    assert labels == {"Bright", "Dark"}


def test_tiles_of_the_overlay_carry_the_numbers_of_the_table(read: Read) -> None:
    table = {(int(row["minx"]), int(row["miny"])): row for row in _rows(read.folder / "tiles.csv")}
    for feature in _features(read.folder / "overlay.geojson"):
        if feature["properties"]["objectType"] == "tile":
            row = table[tuple(feature["geometry"]["coordinates"][0][0])]
            measured = feature["properties"]["measurements"]
            assert measured["prob_bright"] == pytest.approx(float(row["prob_bright"]), abs=2e-6)


@pytest.mark.parametrize(("columns", "rows"), [(20, 25), (20, 26), (40, 30), (900, 1), (3, 700), (1, 5000)])
def test_squares_are_coarse_enough_for_slides_of_any_shape(
    columns: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a limit of 500 in place of 50,000, to keep the test small."""
    assert MAX_TILE_OBJECTS == 50_000
    monkeypatch.setattr("ultraread.serving.results.overlay.MAX_TILE_OBJECTS", 500)
    plan = plan_of(64 * columns, 64 * rows)
    squares = Squares(plan, CARD)
    for ranges, tiles in made_by_hand(plan):
        squares.add(ranges, tiles)
    drawn = len(list(squares.features()))
    assert 100 < drawn <= 500
    assert (drawn == columns * rows) == (columns * rows <= 500)


def test_coarser_squares_hold_the_mean_of_their_tiles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ultraread.serving.results.overlay.MAX_TILE_OBJECTS", 6)
    plan = plan_of(64 * 5, 64 * 4)
    squares = Squares(plan, CARD)
    for ranges, tiles in made_by_hand(plan, scores=lambda tile: (tile.model_box.x / 1024, 0.5)):
        squares.add(ranges, tiles)
    overlay = Overlay(tmp_path / "overlay.geojson")
    overlay.add_tiles(squares)
    overlay.close()
    features = _features(tmp_path / "overlay.geojson")
    assert len(features) == 6
    means = {
        tuple(feature["geometry"]["coordinates"][0][0]): feature["properties"]["measurements"]["prob_bright"]
        for feature in features
    }
    assert means[0, 0] == pytest.approx((0 + 64) / 2 / 1024, abs=1e-6)
    assert means[256, 128] == pytest.approx(256 / 1024, abs=1e-6), "the last square is cut by the border"


def test_an_overlay_of_nothing_is_valid_too(tmp_path: Path) -> None:
    overlay = Overlay(tmp_path / "overlay.geojson")
    overlay.close()
    assert _features(tmp_path / "overlay.geojson") == []


def test_names_stay_out_of_all_that_is_published(read: Read) -> None:
    """The name of a file may name a patient: provenance keeps it only where that was asked, with a reason."""
    for name in ("findings.json", "scan_record.json", "tiles.csv", "overlay.geojson", "provenance.json"):
        assert "slide.tif" not in (read.folder / name).read_text()
    assert json.loads((read.folder / "provenance.json").read_text())["identity"]["policy"] == "strip"
