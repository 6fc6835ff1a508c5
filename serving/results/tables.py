"""tiles.csv and tiles_unscored.csv: the WSInfer columns first, one row a tile, in plan order."""

import csv
from pathlib import Path
from typing import Any, TextIO

from ultraread.datasets.table_cells import as_cell
from ultraread.datasets.tile_plan import PlannedTile
from ultraread.models.card import ModelCard
from ultraread.serving.score_tiles import FAILED, SCORED, RangeScores

BOX_COLUMNS = ["minx", "miny", "width", "height"]


class TileTables:
    """Both tables while they grow; boxes are level-0 pixels, probabilities have six decimals; a model's
    out-of-domain score comes last."""

    def __init__(self, folder: Path, card: ModelCard) -> None:
        self._scored_file = (folder / "tiles.csv").open("w", newline="")
        self._unscored_file = (folder / "tiles_unscored.csv").open("w", newline="")
        probabilities = [f"prob_{one.name}" for one in card.classes]
        strange = ["out_of_domain"] if card.outputs.out_of_domain else []
        self._scored = _table(self._scored_file, [*BOX_COLUMNS, *probabilities, "image", *strange])
        self._unscored = _table(self._unscored_file, [*BOX_COLUMNS, "image", "status", "reason"])

    def add(self, scores: RangeScores, tiles: list[PlannedTile]) -> None:
        for row, tile in enumerate(tiles):
            box = [tile.box.x, tile.box.y, tile.box.width, tile.box.height]
            if scores.status[row] == SCORED:
                shown = [f"{probability:.6f}" for probability in scores.probabilities[row]]
                strange = [] if scores.strangeness is None else [f"{scores.strangeness[row]:.6g}"]
                self._scored.writerow([*box, *shown, scores.image, *strange])
            else:
                status = "failed" if scores.status[row] == FAILED else "blank"
                reason = scores.failures.get(tile.index, "no structure: block means hardly differ")
                self._unscored.writerow([*box, scores.image, status, as_cell(reason)])

    def close(self) -> None:
        self._scored_file.close()
        self._unscored_file.close()


def _table(stream: TextIO, columns: list[str]) -> Any:  # noqa: ANN401  # csv names no public type for its writers
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(columns)
    return table
