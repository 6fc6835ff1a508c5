"""thumbnail.png and heatmap.png: what the model looked at, and where each class scored, with a scale bar."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ultraread.datasets.geometry import BoxPx, NmPerPx
from ultraread.datasets.identity.masking import masked
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.datasets.tile_stream import block_means
from ultraread.models.card import ModelCard
from ultraread.serving.score_tiles import FAILED, PICTURE_PX, SCORED, RangeScores, picture_stride

NOTICE = "Research use only. Suggestions of a model, no diagnosis."
HEAT = (230, 75, 0)
"""Orange: told apart from grey tissue by readers of every kind of colour vision."""
BAR_SHARE = 0.25
CAPTION_PX = 44
FAST = 1
"""zlib level of PNG files; level 6 takes four times as long and made heat maps no smaller."""


class Mosaic:
    """A picture of bounded size, made of block means in any order; each pixel is the mean of its blocks."""

    def __init__(self, width: int, height: int) -> None:
        self.factor = 2 ** max(0, math.ceil(math.log2(max(width, height) / PICTURE_PX)))
        shape = (-(-height // self.factor), -(-width // self.factor))
        self._sums = np.zeros(shape)
        self._blocks = np.zeros(shape, np.uint32)

    def add(self, block: NDArray[np.generic], x: int, y: int) -> None:
        """Add a (h, w) block whose first value lies at (x, y); what reaches past the picture is dropped."""
        if self.factor == 1:
            block = block[: self._sums.shape[0] - y, : self._sums.shape[1] - x]
            self._sums[y : y + block.shape[0], x : x + block.shape[1]] += block.astype(np.float64)
            self._blocks[y : y + block.shape[0], x : x + block.shape[1]] += 1
            return
        rows = (y + np.arange(block.shape[0])) // self.factor
        columns = (x + np.arange(block.shape[1])) // self.factor
        inside = np.ix_(rows < self._sums.shape[0], columns < self._sums.shape[1])
        places = np.ix_(rows[rows < self._sums.shape[0]], columns[columns < self._sums.shape[1]])
        np.add.at(self._sums, places, block[inside].astype(np.float64))
        np.add.at(self._blocks, places, 1)

    def means(self) -> NDArray[np.float64]:
        return np.asarray(self._sums / np.maximum(self._blocks, 1))


class SlidePictures:
    """Thumbnail and heat maps of one image, filled while the ranges pass by.

    `masks` are level-0 boxes that are painted over: what they cover identifies somebody.
    """

    def __init__(
        self, plan: TilePlan, card: ModelCard, nm_per_px: NmPerPx, masks: Sequence[BoxPx] = ()
    ) -> None:
        self._masks = [replace(mask, x=mask.x - plan.region.x, y=mask.y - plan.region.y) for mask in masks]
        self._plan = plan
        self._card = card
        self._nm_per_px = nm_per_px
        self._stride = picture_stride(plan)
        columns, rows = -(-plan.size.width // self._stride), -(-plan.size.height // self._stride)
        self._tissue = Mosaic(columns, rows)
        self._heat = [Mosaic(columns, rows) for _ in card.classes]

    def add(self, scores: RangeScores, tiles: list[PlannedTile]) -> None:
        for row, tile in enumerate(tiles):
            x, y = tile.model_box.x // self._stride, tile.model_box.y // self._stride
            if scores.status[row] != FAILED:
                self._tissue.add(scores.thumbnails[row], x, y)
            if scores.status[row] == SCORED:
                for index, mosaic in enumerate(self._heat):
                    mosaic.add(self._heat_block(scores, row, index), x, y)

    def save(self, thumbnail: Path, heatmap: Path) -> None:
        """Write both; heat maps stand side by side in the card's order of classes."""
        grey = self._masked(self._tissue.means().astype(np.uint8))
        nm_per_picture_px = self._stride * self._plan.zoom * self._nm_per_px * self._tissue.factor
        _captioned(grey, "", nm_per_picture_px).save(thumbnail, compress_level=FAST)
        panels = [
            _captioned(_overlaid(grey, _as_bytes(mosaic.means())), one.label, nm_per_picture_px)
            for one, mosaic in zip(self._card.classes, self._heat, strict=True)
        ]
        _side_by_side(panels).save(heatmap, compress_level=FAST)

    def _masked(self, grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
        downsample = self._stride * self._plan.zoom * self._tissue.factor
        return masked(grey, BoxPx(0, 0, grey.shape[1], grey.shape[0]), self._masks, downsample)

    def _heat_block(self, scores: RangeScores, row: int, index: int) -> NDArray[np.generic]:
        """(t, t) probabilities on the thumbnail's lattice: the patch map's, or the tile's own."""
        side = self._plan.tile_px // self._stride
        if scores.patch_maps is None:
            return np.full((side, side), scores.probabilities[row, index])
        patches = scores.patch_maps[row, index].astype(np.float32)
        if patches.shape[0] % side == 0:
            return block_means(patches, patches.shape[0] // side)
        nearest = np.arange(side) * patches.shape[0] // side
        return np.asarray(patches[np.ix_(nearest, nearest)])


def bar_length_nm(width_nm: float) -> float:
    """The longest of 1, 2 or 5 times a power of ten that fits a quarter of the picture."""
    longest = width_nm * BAR_SHARE
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest)


def length_in_words(length_nm: float) -> str:
    return f"{length_nm / 1000:g} um" if length_nm >= 1000 else f"{length_nm:g} nm"


def _as_bytes(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)


def _overlaid(grey: NDArray[np.uint8], heat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(height, width, 3): the class's colour laid over the tissue by its probability, at most 75 %."""
    share = heat[..., None].astype(np.float32) / 255 * np.float32(0.75)
    mixed = grey[..., None] * (1 - share) + np.array(HEAT, np.float32) * share
    return np.asarray(mixed.astype(np.uint8))


def _captioned(picture: NDArray[np.uint8], title: str, nm_per_px: float) -> Image.Image:
    """The picture on a strip that holds scale bar, title and the notice."""
    height, width = picture.shape[:2]
    sheet = Image.new("RGB", (max(width, 320), height + CAPTION_PX), "white")
    sheet.paste(Image.fromarray(picture).convert("RGB"), (0, 0))
    draw = ImageDraw.Draw(sheet)
    length_nm = bar_length_nm(width * nm_per_px)
    draw.rectangle((8, height + 8, 8 + round(length_nm / nm_per_px), height + 12), fill="black")
    draw.text((8, height + 12), length_in_words(length_nm), fill="black", font=_font(12))
    draw.text((width // 2, height + 6), title, fill="black", font=_font(14))
    draw.text((8, height + 28), NOTICE, fill=(90, 90, 90), font=_font(11))
    return sheet


def _side_by_side(panels: list[Image.Image]) -> Image.Image:
    width = sum(panel.width for panel in panels) + 8 * (len(panels) - 1)
    sheet = Image.new("RGB", (width, panels[0].height), "white")
    left = 0
    for panel in panels:
        sheet.paste(panel, (left, 0))
        left += panel.width + 8
    return sheet


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
