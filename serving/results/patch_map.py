"""patch_map.ome.tif: probability of each class for each patch, as a tiled TIFF that fills in plan order.

float16 values lie in an OME-TIFF whose XML says `float`: OME knows no half precision, and Bio-Formats, as
tifffile, takes the width from the TIFF tags. Patches that were not scored are NaN (0 where uint8).
"""

import math
import os
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from ultraread.datasets.geometry import NmPerPx, SizePx
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.models.card import ModelCard, PatchMap
from ultraread.serving.score_tiles import SCORED, RangeScores

MAX_FLOAT_SIDE_PX = 32768
"""Above this side of the read region in level-0 pixels, values are uint8 (probability x 255)."""


class PatchMapFile:
    """The file of one image, written tile by tile at its own place: memory holds one tile."""

    def __init__(self, path: Path, plan: TilePlan, card: ModelCard, patches: PatchMap, nm: NmPerPx) -> None:
        self._plan = plan
        self._side = card.core_px // patches.stride_px
        self._stored_side = math.lcm(16, self._side)
        small = max(plan.region.width, plan.region.height) <= MAX_FLOAT_SIDE_PX
        self._dtype = np.dtype("<f2" if small else "u1")
        self._size = patch_grid(plan, patches)
        shape = (len(card.classes), self._size.height, self._size.width)
        description = _ome_xml(shape, self._dtype, card, _origin_nm(plan, patches, nm))
        _write_empty(path, shape, self._dtype, self._stored_side, description)
        with tifffile.TiffFile(path) as written:
            self._offsets = [page.dataoffsets for page in written.pages]
        self._descriptor = os.open(path, os.O_WRONLY)

    def add(self, scores: RangeScores, tiles: list[PlannedTile]) -> None:
        if scores.patch_maps is None:
            return
        for row, tile in enumerate(tiles):
            values = scores.patch_maps[row] if scores.status[row] == SCORED else None
            for channel in range(scores.patch_maps.shape[1]):
                self._write(tile, channel, None if values is None else values[channel])

    def close(self) -> None:
        os.close(self._descriptor)

    def _write(self, tile: PlannedTile, channel: int, values: NDArray[np.float16] | None) -> None:
        """One model tile lies within one stored tile: write its rows there."""
        column, row = (
            side // self._plan.tile_px * self._side for side in (tile.model_box.x, tile.model_box.y)
        )
        across = -(-self._size.width // self._stored_side)
        stored = self._offsets[channel][row // self._stored_side * across + column // self._stored_side]
        encoded = self._encoded(values)
        for line in range(self._side):
            place = (row % self._stored_side + line) * self._stored_side + column % self._stored_side
            os.pwrite(self._descriptor, encoded[line].tobytes(), stored + place * self._dtype.itemsize)

    def _encoded(self, values: NDArray[np.float16] | None) -> NDArray[np.generic]:
        if values is None:
            unscored = np.nan if self._dtype.kind == "f" else 0
            return np.full((self._side, self._side), unscored, self._dtype)
        scaled = values if self._dtype.kind == "f" else np.rint(values.astype(np.float32) * 255)
        return scaled.astype(self._dtype)


def patch_grid(plan: TilePlan, patches: PatchMap) -> SizePx:
    """Columns and rows of patches that touch the image."""
    return SizePx(-(-plan.size.width // patches.stride_px), -(-plan.size.height // patches.stride_px))


def _write_empty(
    path: Path, shape: tuple[int, int, int], dtype: np.dtype[np.generic], side: int, description: str
) -> None:
    tifffile.imwrite(
        path,
        shape=shape,
        dtype=dtype,
        tile=(side, side),
        photometric="minisblack",
        metadata=None,
        description=description,
        software=False,
    )


def _ome_xml(
    shape: tuple[int, int, int],
    dtype: np.dtype[np.generic],
    card: ModelCard,
    origin_nm: tuple[float, float, float],
) -> str:
    x, y, pitch = origin_nm
    channels = shape[0]
    xml = tifffile.OmeXml(UUID="urn:uuid:00000000-0000-0000-0000-000000000000")
    xml.addimage(
        dtype="float32" if dtype.kind == "f" else "uint8",
        shape=shape,
        storedshape=(channels, 1, 1, *shape[1:], 1),
        axes="CYX",
        Name=f"probability of each patch, {card.ref}",
        PhysicalSizeX=pitch,
        PhysicalSizeXUnit="nm",
        PhysicalSizeY=pitch,
        PhysicalSizeYUnit="nm",
        Channel={"Name": [one.name for one in card.classes]},
        Plane={
            "PositionX": [x] * channels,
            "PositionXUnit": ["nm"] * channels,
            "PositionY": [y] * channels,
            "PositionYUnit": ["nm"] * channels,
        },
    )
    return xml.tostring()


def _origin_nm(plan: TilePlan, patches: PatchMap, nm: NmPerPx) -> tuple[float, float, float]:
    """Left and top edge of the first patch in nm from the image's corner, and the pitch of patches."""
    x, y = (corner * nm for corner in (plan.region.x, plan.region.y))
    return x, y, patches.stride_px * plan.zoom * nm
