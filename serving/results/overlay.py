"""overlay.geojson: QuPath objects with measurements; tiles (coarser squares above 50,000), then evidence."""

import json
import math
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.models.card import ModelCard
from ultraread.serving.findings import Finding
from ultraread.serving.score_tiles import SCORED, RangeScores

MAX_TILE_OBJECTS = 50_000


class Overlay:
    """The feature collection while it grows, one feature a line, level-0 pixel coordinates."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("w")
        self._separator = '{"type": "FeatureCollection", "features": [\n'

    def add_tiles(self, squares: "Squares") -> None:
        for feature in squares.features():
            self._write(feature)

    def add_evidence(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            for evidence in finding.evidence:
                box = BoxPx(evidence.x_px, evidence.y_px, evidence.width_px, evidence.height_px)
                measured = {"score": evidence.score, "image": float(evidence.image)}
                self._write(_feature("annotation", box, measured, finding.label))

    def close(self) -> None:
        self._stream.write("\n]}\n" if self._separator == ",\n" else self._separator + "]}\n")
        self._stream.close()

    def _write(self, feature: dict[str, Any]) -> None:
        self._stream.write(self._separator + json.dumps(feature))
        self._separator = ",\n"


class Squares:
    """Mean probabilities over squares of k x k tiles, with k so that at most MAX_TILE_OBJECTS are drawn."""

    def __init__(self, plan: TilePlan, card: ModelCard) -> None:
        self._plan = plan
        self._names = [one.name for one in card.classes]
        self._side = next(side for side in count(1) if math.prod(_squares(plan, side)) <= MAX_TILE_OBJECTS)
        shape = _squares(plan, self._side)
        self._sums = np.zeros((*shape, len(self._names)), np.float32)
        self._tiles = np.zeros(shape, np.uint32)

    def add(self, scores: RangeScores, tiles: list[PlannedTile]) -> None:
        for row, tile in enumerate(tiles):
            if scores.status[row] == SCORED:
                step = self._side * self._plan.tile_px
                place = tile.model_box.y // step, tile.model_box.x // step
                self._sums[place] += scores.probabilities[row]
                self._tiles[place] += 1

    def features(self) -> Iterable[dict[str, Any]]:
        for row, column in zip(*np.nonzero(self._tiles), strict=True):
            means = self._sums[row, column] / self._tiles[row, column]
            shown = {
                f"prob_{name}": round(float(mean), 6) for name, mean in zip(self._names, means, strict=True)
            }
            shown["image"] = float(self._plan.image)
            yield _feature("tile", self._box(int(column), int(row)), shown)

    def _box(self, column: int, row: int) -> BoxPx:
        side, size = self._side * self._plan.tile_px, self._plan.size
        x, y = column * side, row * side
        return self._plan.level0_box(BoxPx(x, y, min(side, size.width - x), min(side, size.height - y)))


def _squares(plan: TilePlan, side: int) -> tuple[int, int]:
    """Rows and columns of squares of `side` tiles."""
    return -(-plan.rows // side), -(-plan.columns // side)


def _feature(kind: str, box: BoxPx, measurements: dict[str, float], label: str = "") -> dict[str, Any]:
    corners = [
        (box.x, box.y),
        (box.right, box.y),
        (box.right, box.bottom),
        (box.x, box.bottom),
        (box.x, box.y),
    ]
    properties: dict[str, Any] = {"objectType": kind, "measurements": measurements}
    if label:
        properties |= {"name": label, "classification": {"name": label}}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[list(corner) for corner in corners]]},
        "properties": properties,
    }
