"""A region of an image at any size: the best layer, reduced and resampled without aliasing or seams."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image

from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.slide import Pixels
from ultraread.errors import ViewTooLarge
from ultraread.serving.viewing.layers import MAX_DECODED_PX, Layer, reduced
from ultraread.serving.viewing.planes import each_plane

Edges = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of a layer."""


@dataclass(frozen=True, slots=True)
class Region:
    """What a picture of `size` shows: edges in level-0 pixels, right and lower ones not included.

    They may be fractions, and reach past the image by less than one pixel of the picture.
    """

    left: float
    top: float
    right: float
    bottom: float
    size: SizePx

    @property
    def across(self) -> float:
        """Level-0 pixels that one pixel of the picture covers."""
        return (self.right - self.left) / self.size.width

    @property
    def down(self) -> float:
        return (self.bottom - self.top) / self.size.height


def region_of(box: BoxPx, size: SizePx) -> Region:
    """The picture of that size of a box of level-0 pixels."""
    return Region(box.x, box.y, box.right, box.bottom, size)


def best_layer(layers: Sequence[Layer], region: Region) -> Layer:
    """The smallest one that still has the picture's resolution; `layers` start with the full size."""
    finest = max(1.0, min(region.across, region.down) * 1.001)
    fine_enough = [layer for layer in layers if layer.scale <= finest]
    return max(fine_enough, key=lambda layer: layer.scale, default=layers[0])


def picture_of(layer: Layer, region: Region) -> Pixels:
    """(height, width[, 3]) of the region in stored intensities; a stored pixel as it is at its own scale.

    Block means bring the layer to at least twice the picture's resolution, a triangle filter of one
    picture pixel (Pillow BILINEAR, which does not alias when shrinking) does the rest. The filter sees
    beyond the region, and blocks lie on one lattice, so that neighbouring tiles meet without a seam.
    Raises ViewTooLarge where more than MAX_DECODED_PX would be decoded.
    """
    small = reduced(layer, *_blocks(layer, region))
    edges = _edges_in(small, region)
    as_it_is = _box_of(edges, region.size, small.size)
    seen = as_it_is or _seen(edges, small.size, region.size)
    _refuse_too_much(layer, small, seen)
    pixels = small.read(seen)
    if as_it_is:
        return pixels
    inside = (edges[0] - seen.x, edges[1] - seen.y, edges[2] - seen.x, edges[3] - seen.y)
    return _resized(pixels, inside, region.size)


def _blocks(layer: Layer, region: Region) -> tuple[int, int]:
    return (
        max(1, int(region.across / layer.across / 2)),
        max(1, int(region.down / layer.down / 2)),
    )


def _edges_in(layer: Layer, region: Region) -> Edges:
    x, y = layer.across, layer.down
    return region.left / x, region.top / y, region.right / x, region.bottom / y


def _box_of(edges: Edges, picture: SizePx, layer: SizePx) -> BoxPx | None:
    """The box of the layer whose pixels are those of the picture, where there is one."""
    box = BoxPx(round(edges[0]), round(edges[1]), picture.width, picture.height)
    fits = np.allclose(edges, (box.x, box.y, box.right, box.bottom), rtol=0, atol=1e-3)
    return box if fits and box.lies_in(layer) else None


def _seen(edges: Edges, layer: SizePx, picture: SizePx) -> BoxPx:
    """The region and what the filter sees beyond it, as far as there is an image."""
    margin_x = math.ceil((edges[2] - edges[0]) / picture.width) + 1
    margin_y = math.ceil((edges[3] - edges[1]) / picture.height) + 1
    left, top = max(0, math.floor(edges[0]) - margin_x), max(0, math.floor(edges[1]) - margin_y)
    right = min(layer.width, math.ceil(edges[2]) + margin_x)
    bottom = min(layer.height, math.ceil(edges[3]) + margin_y)
    return BoxPx(left, top, right - left, bottom - top)


def _refuse_too_much(layer: Layer, small: Layer, seen: BoxPx) -> None:
    decoded = seen.area_px * (small.across / layer.across) * (small.down / layer.down)
    if decoded > MAX_DECODED_PX:
        raise ViewTooLarge(f"the picture needs {decoded / 2**20:.0f} megapixels of the file")


def _resized(pixels: Pixels, inside: Edges, size: SizePx) -> Pixels:
    """Where the region reaches past the image, the last row and column go on."""
    left, top, right, bottom = inside
    beside = max(0, math.ceil(right - 1e-6) - pixels.shape[1])
    below = max(0, math.ceil(bottom - 1e-6) - pixels.shape[0])
    wide = np.pad(pixels, ((0, below), (0, beside), (0, 0))[: pixels.ndim], mode="edge")
    box = (max(0.0, left), max(0.0, top), min(right, wide.shape[1]), min(bottom, wide.shape[0]))
    return each_plane(
        cast(Pixels, wide),
        lambda plane: plane.resize((size.width, size.height), Image.Resampling.BILINEAR, box=box),
    )
