"""Simulated scale bars, drawn over real fields or over noise."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont


class DrawnBar(NamedTuple):
    """Length in pixels and what the label says; the bar begins at x, y, its label 8 px beside it."""

    length_px: int
    label: str
    x: int
    y: int
    ink: int = 255
    plate: int | None = 0
    caps: bool = False


def field_of_noise(width: int = 900, height: int = 700, seed: int = 5) -> NDArray[np.uint8]:
    """Grey like resin: no structure, no ink."""
    return np.random.default_rng(seed).normal(120, 12, (height, width)).clip(40, 200).astype(np.uint8)


def with_bars(field: NDArray[np.uint8], *bars: DrawnBar) -> NDArray[np.uint8]:
    picture = Image.fromarray(field.copy())
    for bar in bars:
        _draw(ImageDraw.Draw(picture), bar)
    return np.asarray(picture)


def save(path: Path, pixels: NDArray[np.uint8]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def _draw(pen: ImageDraw.ImageDraw, bar: DrawnBar) -> None:
    if bar.plate is not None:
        pen.rectangle((bar.x - 14, bar.y - 22, bar.x + bar.length_px + 150, bar.y + 28), fill=bar.plate)
    pen.rectangle((bar.x, bar.y, bar.x + bar.length_px - 1, bar.y + 5), fill=bar.ink)
    if bar.caps:
        for left in (bar.x, bar.x + bar.length_px - 4):
            pen.rectangle((left, bar.y - 8, left + 3, bar.y + 13), fill=bar.ink)
    place, font = (bar.x + bar.length_px + 10, bar.y + 3), ImageFont.load_default(30)
    pen.text(place, bar.label, fill=bar.ink, font=font, anchor="lm")
