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
    return max(
        (layer for layer in layers if layer.scale <= finest), key=lambda each: each.scale, default=layers[0]
    )


def picture_of(layer: Layer, region: Region) -> Pixels:
    """(height, width[, 3]) of the region in stored intensities; a stored pixel as it is at its own scale.

    Block means bring the layer to at least twice the picture's resolution, a triangle filter of one
    picture pixel (Pillow BILINEAR, which does not alias when shrinking) does the rest. The filter sees
    beyond the region, and blocks lie on one lattice, so that neighbouring tiles meet without a seam.
    Raises ViewTooLarge where more than MAX_DECODED_PX would be decoded.
    """
    small = reduced(layer, *_blocks(layer, region))
    edges = _edges_in(small, region)
    margin_x, margin_y = (math.ceil(scale) + 1 for scale in _scales(edges, region.size))
    seen = _seen(edges, small.size, margin_x, margin_y)
    _refuse_too_much(layer, small, seen)
    pixels = small.read(seen)
    inside = (edges[0] - seen.x, edges[1] - seen.y, edges[2] - seen.x, edges[3] - seen.y)
    cropped = _exact_crop(pixels, inside, region.size)
    return _resized(pixels, inside, region.size) if cropped is None else cropped


def _blocks(layer: Layer, region: Region) -> tuple[int, int]:
    return (
        max(1, int(region.across / layer.across / 2)),
        max(1, int(region.down / layer.down / 2)),
    )


def _edges_in(layer: Layer, region: Region) -> Edges:
    x, y = layer.across, layer.down
    return region.left / x, region.top / y, region.right / x, region.bottom / y


def _scales(edges: Edges, size: SizePx) -> tuple[float, float]:
    return (edges[2] - edges[0]) / size.width, (edges[3] - edges[1]) / size.height


def _seen(edges: Edges, size: SizePx, margin_x: int, margin_y: int) -> BoxPx:
    """Region and margin, as far as there is an image."""
    left, top = max(0, math.floor(edges[0]) - margin_x), max(0, math.floor(edges[1]) - margin_y)
    right = min(size.width, math.ceil(edges[2]) + margin_x)
    bottom = min(size.height, math.ceil(edges[3]) + margin_y)
    return BoxPx(left, top, right - left, bottom - top)


def _refuse_too_much(layer: Layer, small: Layer, seen: BoxPx) -> None:
    decoded = seen.area_px * (small.across / layer.across) * (small.down / layer.down)
    if decoded > MAX_DECODED_PX:
        raise ViewTooLarge(f"the picture needs {decoded / 2**20:.0f} megapixels of the file")


def _exact_crop(pixels: Pixels, inside: Edges, size: SizePx) -> Pixels | None:
    """The picture itself where its pixels are those of the layer."""
    left, top = round(inside[0]), round(inside[1])
    wanted = (left, top, left + size.width, top + size.height)
    fits = wanted[2] <= pixels.shape[1] and wanted[3] <= pixels.shape[0]
    if not fits or not np.allclose(inside, wanted, rtol=0, atol=1e-3):
        return None
    return pixels[top : wanted[3], left : wanted[2]]


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
