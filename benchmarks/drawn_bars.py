"""Simulated scale bars over real fields, by two generators that share nothing but the lengths.

`printed` draws as image programs do, `instrument` as microscopes' software does: an opaque band below or
a box, end caps, outlines, smoothing, JPEG. The search for bars was chosen on `printed`; figures come from
`instrument`, over other fields.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

LENGTHS = (
    (50, "nm"),
    (100, "nm"),
    (200, "nm"),
    (500, "nm"),
    (0.5, "um"),
    (1, "um"),
    (2, "um"),
    (5, "um"),
    (10, "um"),
)
NM = {"nm": 1.0, "um": 1e3}
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
PRINTED_FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf")
INSTRUMENT_FONTS = ("DejaVuSerif.ttf", "STIXGeneralBol.ttf", "cmss10.ttf")
Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A field with a bar: (height, width) grey, the bar's length in px and what it stands for."""

    pixels: Grey
    length_px: float
    length_nm: float
    label: str


Generator = Callable[[Grey, np.random.Generator], Drawn]


def printed(field: Grey, chance: np.random.Generator) -> Drawn:
    """A plain rectangle in a corner, its label above, below or beside it; black or white."""
    height, width = field.shape
    picture = Image.fromarray(field.copy())
    pen = ImageDraw.Draw(picture)
    ink = int(chance.choice((0, 255)))
    length, thick = (
        int(chance.integers(width // 16, width // 3)),
        int(chance.integers(3, max(4, height // 80))),
    )
    number, unit = LENGTHS[chance.integers(len(LENGTHS))]
    label = f"{number:g}{chance.choice(('', ' '))}{chance.choice(('µm', 'um')) if unit == 'um' else unit}"
    font = ImageFont.truetype(
        FONTS / str(chance.choice(PRINTED_FONTS)), int(chance.integers(14, max(16, height // 28)))
    )
    left, top, right, bottom = pen.textbbox((0, 0), label, font=font)
    margin = max(8, height // 50)
    x = margin if chance.random() < 0.5 else width - margin - length - (right - left) - 2 * margin
    y = (
        height - margin - (bottom - top) - thick - margin
        if chance.random() < 0.7
        else margin + bottom - top + margin
    )
    back = 255 - ink
    if chance.random() < 0.5:
        box = (
            x - margin // 2,
            y - (bottom - top) - margin,
            x + length + margin + right,
            y + thick + margin + bottom,
        )
        pen.rectangle(box, fill=back)
    pen.rectangle((x, y, x + length - 1, y + thick - 1), fill=ink)
    places = ((x, y - bottom - 4), (x, y + thick + 4), (x + length + 10, y - (bottom - top) // 2 - top))
    pen.text(places[chance.integers(3)], label, fill=ink, font=font, stroke_width=1, stroke_fill=back)
    return Drawn(np.asarray(picture), length, number * NM[unit], label)


def instrument(field: Grey, chance: np.random.Generator) -> Drawn:
    """Drawn at three times the size and reduced, on a band, a box or the field itself; then JPEG."""
    ink = int(chance.choice((0, 255)))
    number, unit = LENGTHS[chance.integers(len(LENGTHS))]
    label = f"{number:g} {'um' if unit == 'um' and chance.random() < 0.5 else unit.replace('u', 'μ')}"
    length, thick = (
        float(chance.uniform(0.08, 0.3) * field.shape[1]),
        float(chance.uniform(3, 0.016 * field.shape[0] + 3)),
    )
    band = round(max(0.07 * field.shape[0], 44))
    ground = str(chance.choice(("band", "box", "field")))
    canvas = (
        np.vstack((field, np.full((band, field.shape[1]), 255 - ink, np.uint8)))
        if ground == "band"
        else field.copy()
    )
    y = (
        canvas.shape[0] - band * 0.5
        if ground == "band"
        else canvas.shape[0] * float(chance.uniform(0.9, 0.95))
    )
    x = float(chance.uniform(0.03, 0.5)) * field.shape[1]
    if ground == "box":
        canvas[
            round(y - band * 0.55) : round(y + band * 0.55),
            round(x - 12) : round(x + length + 7 * band * 0.5),
        ] = 255 - ink
    large = cv2.resize(canvas, None, fx=3, fy=3, interpolation=cv2.INTER_LINEAR)
    large = _bar(large, (x, y, length, thick), ink, chance, outlined=ground == "field")
    large = _label(large, label, (x + length + band * 0.25, y), band, ink, chance)
    small = cv2.resize(large, (canvas.shape[1], canvas.shape[0]), interpolation=cv2.INTER_AREA)
    return Drawn(_jpeg(small, int(chance.integers(75, 96))), length, number * NM[unit], label)


def _bar(
    large: Grey,
    bar: tuple[float, float, float, float],
    ink: int,
    chance: np.random.Generator,
    *,
    outlined: bool,
) -> Grey:
    x, y, length, thick = (3 * each for each in bar)
    boxes = [(x, y - thick / 2, x + length, y + thick / 2)]
    if chance.random() < 0.4:
        cap = max(3.0, thick / 2)
        boxes += [
            (x, y - 2 * thick, x + cap, y + 2 * thick),
            (x + length - cap, y - 2 * thick, x + length, y + 2 * thick),
        ]
    if outlined:
        for left, top, right, bottom in boxes:
            cv2.rectangle(
                large, (round(left) - 6, round(top) - 6), (round(right) + 5, round(bottom) + 5), 255 - ink, -1
            )
    for left, top, right, bottom in boxes:
        cv2.rectangle(large, (round(left), round(top)), (round(right) - 1, round(bottom) - 1), ink, -1)
    return large


def _label(
    large: Grey, label: str, place: tuple[float, float], band: int, ink: int, chance: np.random.Generator
) -> Grey:
    x, y = 3 * place[0], 3 * place[1]
    if label.isascii() and chance.random() < 0.5:
        size = band * 0.055
        at = (round(x), round(y + 0.45 * band))
        cv2.putText(large, label, at, cv2.FONT_HERSHEY_SIMPLEX, size, 255 - ink, round(size * 6), cv2.LINE_AA)
        cv2.putText(large, label, at, cv2.FONT_HERSHEY_SIMPLEX, size, ink, round(size * 3), cv2.LINE_AA)
        return large
    name = "DejaVuSerif.ttf" if "μ" in label else str(chance.choice(INSTRUMENT_FONTS))
    font = ImageFont.truetype(FONTS / name, round(3 * band * 0.55))
    picture = Image.fromarray(large)
    ImageDraw.Draw(picture).text(
        (x, y), label, fill=ink, font=font, anchor="lm", stroke_width=4, stroke_fill=255 - ink
    )
    return np.asarray(picture)


def _jpeg(grey: Grey, quality: int) -> Grey:
    stored = io.BytesIO()
    Image.fromarray(grey).save(stored, "JPEG", quality=quality)
    return np.asarray(Image.open(stored))
