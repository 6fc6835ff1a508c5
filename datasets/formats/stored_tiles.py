"""A box of pixels put together from the stored tiles that it touches."""

from collections.abc import Callable
from itertools import product

import numpy as np

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.slide import Pixels


def assemble(
    pixels: np.ndarray, box: BoxPx, step: tuple[int, int], tile_at: Callable[[int, int], Pixels | None]
) -> None:
    """Fill `pixels` of the box; `tile_at(column, row)` is a stored tile, None where nothing was stored.

    `step` is width and height of a stored tile. Tiles at the border may be cut at it, or be whole.
    """
    step_x, step_y = step
    rows = range(box.y // step_y, -(-box.bottom // step_y))
    columns = range(box.x // step_x, -(-box.right // step_x))
    for row, column in product(rows, columns):
        tile = tile_at(column, row)
        if tile is not None:
            _paste(pixels, tile, box, column * step_x, row * step_y)


def _paste(pixels: np.ndarray, tile: Pixels, box: BoxPx, left: int, top: int) -> None:
    x0, y0 = max(box.x, left), max(box.y, top)
    x1, y1 = min(box.right, left + tile.shape[1]), min(box.bottom, top + tile.shape[0])
    if x1 > x0 and y1 > y0:
        source = tile[y0 - top : y1 - top, x0 - left : x1 - left]
        pixels[y0 - box.y : y1 - box.y, x0 - box.x : x1 - box.x] = source
