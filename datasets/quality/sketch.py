"""One image as quality control sees it: grids of bounded size that fill while its tiles pass by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.quality.tile_look import TileLooks
from ultraread.datasets.tile_plan import PlannedTile, TilePlan

MAX_CELLS = 512
"""A side. A cell is one patch, or a square of 2, 4, ... patches a side on larger images. With twice as
many, a read of a large slide held over 200 MB more than one of a small slide (`test_memory.py` tells)."""
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cells:
    """Where cells lie: `rows` x `columns` squares of `cell_px` model pixels from the region's corner."""

    rows: int
    columns: int
    cell_px: int

    def box(self, row: int, column: int) -> BoxPx:
        """A cell in model pixels; the last ones may reach past the image."""
        return BoxPx(column * self.cell_px, row * self.cell_px, self.cell_px, self.cell_px)


def cells_of(plan: TilePlan, side: int) -> Cells:
    """The cells of an image whose tiles have `side` patches a side."""
    patch_px = plan.tile_px // side
    most = max(plan.size.width, plan.size.height) / patch_px
    cell_px = patch_px * 2 ** max(0, math.ceil(math.log2(most / MAX_CELLS)))
    return Cells(-(-plan.size.height // cell_px), -(-plan.size.width // cell_px), cell_px)


class ImageSketch:
    """Means, darkest parts, roughness and clipping by cell; steps by line and tile; spectra; a picture."""

    def __init__(self, plan: TilePlan, side: int, shown_px: int) -> None:
        """`shown_px` is the side of a tile in the picture."""
        self.plan, self.side = plan, side
        self.cells = cells_of(plan, side)
        shape = (self.cells.rows, self.cells.columns)
        self._patches = np.zeros(shape, np.uint32)
        self._sums = {name: np.zeros(shape, np.float32) for name in ("mean", "rough", "clipped")}
        self.darkest = np.full(shape, np.inf, np.float32)
        lines = (min(plan.columns, MAX_CELLS), min(plan.rows, MAX_CELLS))
        of_lines = ((shape[0], lines[0]), (shape[1], lines[1]))
        self.steps = tuple(np.zeros(each, np.float32) for each in of_lines)
        self.signs = tuple(np.zeros(each, np.float32) for each in of_lines)
        self._shown_px = shown_px
        stride = plan.tile_px // shown_px
        self.picture = np.zeros((-(-plan.size.height // stride), -(-plan.size.width // stride)), np.uint8)
        self.spectra: list[NDArray[np.float16]] = []
        self.grids: list[Floats] = []
        self.close_tiles: list[PlannedTile] = []

    def add(self, looks: TileLooks, thumbnails: NDArray[np.uint8], tiles: Sequence[PlannedTile]) -> None:
        """Add one range; row n of the arrays belongs to tile n."""
        for row, tile in enumerate(tiles):
            self._add_patches(looks, row, tile)
            self._add_lines(looks, row, tile)
            self._show(thumbnails[row], tile)
        for row, tile in enumerate(tiles[: len(looks.spectra)]):
            if np.isfinite(looks.spectra[row]).any() or looks.grids[row].any():
                self.spectra.append(looks.spectra[row])
                self.grids.append(looks.grids[row])
                self.close_tiles.append(tile)

    def grid(self, name: str) -> Floats:
        """(rows, columns) means over the patches of each cell: `mean`, `rough` or `clipped` (0 to 1)."""
        means = np.asarray(self._sums[name] / np.maximum(self._patches, 1), np.float32)
        return means / np.float32(255) if name == "clipped" else means

    def _add_patches(self, looks: TileLooks, row: int, tile: PlannedTile) -> None:
        rows, columns = self._places(tile)
        places = np.ix_(rows, columns)
        inside = (slice(0, len(rows)), slice(0, len(columns)))
        for name, sums in self._sums.items():
            np.add.at(sums, places, getattr(looks, name)[row][inside].astype(np.float32))
        np.add.at(self._patches, places, 1)
        np.minimum.at(self.darkest, places, looks.darkest[row][inside].astype(np.float32))

    def _places(self, tile: PlannedTile) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and column of the cell of each patch that touches the image."""
        patch_px = self.plan.tile_px // self.side
        box = tile.model_box
        rows = (box.y + patch_px * np.arange(-(-box.height // patch_px))) // self.cells.cell_px
        columns = (box.x + patch_px * np.arange(-(-box.width // patch_px))) // self.cells.cell_px
        return rows, columns

    def _add_lines(self, looks: TileLooks, row: int, tile: PlannedTile) -> None:
        """The strongest line of each cell's height, by tile; signs keep the one of most agreement."""
        across = (tile.model_box.x, tile.model_box.y)
        for axis, places in enumerate(self._places(tile)):
            count, tiles_along = len(places), (self.plan.columns, self.plan.rows)[axis]
            column = across[axis] // self.plan.tile_px * self.steps[axis].shape[1] // tiles_along
            steps = looks.steps[row, axis, :count].astype(np.float32)
            signs = looks.signs[row, axis, :count].astype(np.float32)
            np.maximum.at(self.steps[axis][:, column], places, steps)
            for place, sign in zip(places, signs, strict=True):
                if abs(sign) > abs(self.signs[axis][place, column]):
                    self.signs[axis][place, column] = sign

    def _show(self, thumbnail: NDArray[np.uint8], tile: PlannedTile) -> None:
        stride = self.plan.tile_px // self._shown_px
        y, x = tile.model_box.y // stride, tile.model_box.x // stride
        part = self.picture[y : y + self._shown_px, x : x + self._shown_px]
        part[:] = thumbnail[: part.shape[0], : part.shape[1]]
