"""Large slides for tests: a montage of real EM fields, stored as tiled TIFF. The arrangement is simulated."""

from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from ultraread.datasets.corpora import fetch, files_under

TILE_PX = 256


def write_montage(path: Path, side_px: int) -> Path:
    """Write a `side_px` square montage of drosophila_vnc/stack2, zstd, in stored tiles of 256 px.

    Tiles are compressed once and stored again and again: a large slide in little time.
    """
    stored = [imagecodecs.zstd_encode(tile.tobytes(), level=1) for tile in _tiles()]
    across = side_px // TILE_PX
    tifffile.imwrite(
        path,
        _repeated(stored, across * across),
        shape=(side_px, side_px),
        dtype="uint8",
        tile=(TILE_PX, TILE_PX),
        compression="zstd",
        photometric="minisblack",
        metadata=None,
        bigtiff=True,
    )
    return path


def _tiles() -> Iterator[np.ndarray]:
    for name in files_under("drosophila_vnc/stack2/raw")[:4]:
        field = tifffile.imread(fetch(name))
        for y in range(0, field.shape[0], TILE_PX):
            for x in range(0, field.shape[1], TILE_PX):
                yield np.ascontiguousarray(field[y : y + TILE_PX, x : x + TILE_PX])


def _repeated(stored: list[bytes], count: int) -> Iterator[bytes]:
    """In an order without a period of the montage's width, so that rows differ."""
    for index in range(count):
        yield stored[(index * 7 + index // 16) % len(stored)]
