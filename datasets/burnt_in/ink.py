"""Ink: pixels that no specimen makes, at the ends of the grey range and with a sharp edge."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.slide import Pixels

INK_WITHIN = 0.2
"""Of the range: how far from black or white ink may be after JPEG."""
MIN_GLYPH_PX = 6
MIN_GLYPH_FRACTION = 0.004
MAX_GLYPH_FRACTION = 0.06
"""Height of a letter; the fractions are of the image's height."""
MIN_DEPTH = 0.35
"""Mean grey step, of the range, across a letter's edge within 2 px."""
MAX_UNEVEN = 0.03
"""Median grey step, of the range, between a letter's pixels and their median: ink is flat, stain is not."""
MAX_STROKE = 0.45
"""Width of a letter's strokes, of its height."""
MIN_LETTERS = 2
"""A label as short as `5 nm` has three, and letters may touch; other text needs more: see `burnt_in`."""
PLATE_WITHIN = 0.06
MIN_PLATE_FILL = 0.6
"""Of the range, how even a plate is; and how much of its rectangle is plate, not letters."""
PLATE_INSETS = (0.0, 0.1, 0.2)
"""Where a plate is looked for: around a box of text, and that much of its height inside."""
MAX_RISE = 1.5
"""Height of a line, of its highest letter."""

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ink:
    """A strip in grey from 0 to 1, and where it is as bright or as dark as ink; all (height, width)."""

    grey: Grey
    bright: Mask
    dark: Mask


@dataclass(frozen=True, slots=True)
class Letters:
    """Boxes of what may be letters, in the strip's pixels, by the kind of ink: never both in one word."""

    bright: tuple[BoxPx, ...]
    dark: tuple[BoxPx, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A row of letters: the box around them, in the strip's pixels, and how many were told apart."""

    box: BoxPx
    letters: int


def ink_of(pixels: Pixels) -> Ink | None:
    """Return the strip's ink, None where all of it is of one grey.

    8 bit counts from 0 to 255. What deeper pixels use of their range is not known: there the strip's own
    smallest and largest value count. Of RGB the brightest channel is looked at for bright ink and the darkest
    for dark, so that coloured ink is ink.
    """
    low, high = (0.0, 255.0) if pixels.dtype == np.uint8 else _finite_range(pixels)
    if not high > low:
        return None
    planes = [pixels[..., n] for n in range(3)] if pixels.ndim == 3 else [pixels]
    grey = reduce(np.add, (plane.astype(np.float32) for plane in planes)) / len(planes)
    edge = INK_WITHIN * (high - low)
    bright, dark = reduce(np.maximum, planes) >= high - edge, reduce(np.minimum, planes) <= low + edge
    scaled = np.nan_to_num((grey - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0)
    return Ink(scaled.astype(np.float32, copy=False), bright, dark)


def find_letters(ink: Ink, image_height_px: int) -> Letters:
    """Return the patches of a strip that may be letters."""
    lowest = max(MIN_GLYPH_PX, round(MIN_GLYPH_FRACTION * image_height_px))
    highest = max(2 * MIN_GLYPH_PX, round(MAX_GLYPH_FRACTION * image_height_px))
    bright = _glyphs(ink.grey, ink.bright, (lowest, highest))
    return Letters(tuple(bright), tuple(_glyphs(-ink.grey, ink.dark, (lowest, highest))))


def find_lines(letters: Letters, max_gap: float) -> tuple[Line, ...]:
    """Return the rows of letters: what is worth an OCR. Those with most letters first.

    `max_gap` lies between neighbouring letters at most, in their heights.
    """
    lines = _lines(letters.bright, max_gap) + _lines(letters.dark, max_gap)
    return tuple(sorted(lines, key=lambda line: -line.letters))


def plate_around(ink: Ink, box: BoxPx) -> BoxPx | None:
    """The opaque rectangle that text or a bar stands on, a caption's band too; None where it has none.

    `box` lies in the strip, and may reach a little over the plate, as boxes of OCR do.
    """
    insets = (round(share * box.height) for share in PLATE_INSETS)
    plates = (_plate_at(ink, _frame(box, inset, ink.grey.shape)) for inset in insets)
    return next((plate for plate in plates if plate), None)


def _plate_at(ink: Ink, frame: Mask) -> BoxPx | None:
    """All that is joined to the frame by pixels of its own pure ink, where that fills a rectangle."""
    from scipy import ndimage

    level = float(np.median(ink.grey[frame])) if frame.any() else 0.5
    if PLATE_WITHIN < level < 1 - PLATE_WITHIN:
        return None
    labels = np.zeros(ink.grey.shape, np.int32)
    ndimage.label(np.abs(ink.grey - level) <= PLATE_WITHIN, output=labels)
    met = np.bincount(labels[frame])
    joined = labels == int(met[1:].argmax()) + 1
    rows, columns = ndimage.find_objects(joined.astype(np.uint8))[0]
    plate = BoxPx(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
    return plate if joined[rows, columns].mean() >= MIN_PLATE_FILL else None


def _frame(box: BoxPx, inset: int, shape: tuple[int, ...]) -> Mask:
    """Two pixels along the box, outside it or `inset` pixels inside."""
    rows = slice(max(0, box.y + inset - 2), box.bottom - inset + 2)
    columns = slice(max(0, box.x + inset - 2), box.right - inset + 2)
    frame = np.zeros(shape, bool)
    frame[rows, columns] = True
    frame[rows.start + 2 : rows.stop - 2, columns.start + 2 : columns.stop - 2] = False
    return frame


def _finite_range(pixels: Pixels) -> tuple[float, float]:
    finite = pixels[np.isfinite(pixels)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _glyphs(grey: Grey, mask: Mask, heights_px: tuple[int, int]) -> list[BoxPx]:
    """Patches of ink with the size, the strokes and the sharp edges of letters."""
    from scipy import ndimage

    labels = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, np.ones((3, 3)), output=labels)
    return [
        BoxPx(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        for n, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1)
        if _has_size(rows, columns, heights_px) and _is_drawn(grey, labels, n, rows, columns)
    ]


def _has_size(rows: slice, columns: slice, heights_px: tuple[int, int]) -> bool:
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return bool(heights_px[0] <= height <= heights_px[1] and 2 <= width <= 2.5 * height)


def _is_drawn(grey: Grey, labels: NDArray[np.int32], label: int, rows: slice, columns: slice) -> bool:
    """Strokes are thin, and within 2 px of the edge the grey has left that of ink."""
    from scipy import ndimage

    rows = slice(max(0, rows.start - 3), rows.stop + 3)
    columns = slice(max(0, columns.start - 3), columns.stop + 3)
    letter = labels[rows, columns] == label
    edge = letter & ~np.asarray(ndimage.binary_erosion(letter), bool)
    height = rows.stop - rows.start - 6
    if letter.sum() > MAX_STROKE * height * max(1, edge.sum() / 2):
        return False
    here = grey[rows, columns]
    depth = (here - ndimage.minimum_filter(here, 5))[edge]
    uneven = np.median(np.abs(here[letter] - np.median(here[letter])))
    return bool(depth.mean() >= MIN_DEPTH and uneven <= MAX_UNEVEN)


def _lines(glyphs: Sequence[BoxPx], max_gap: float) -> list[Line]:
    """Letters in a row: neighbours of like height that share most of their rows."""
    lines: list[list[BoxPx]] = []
    for glyph in sorted(glyphs, key=lambda box: box.x):
        line = next((line for line in lines if _goes_on(line[-1], glyph, max_gap)), None)
        if line is None:
            lines.append([glyph])
        else:
            line.append(glyph)
    return [
        Line(around(line), len(line)) for line in lines if len(line) >= MIN_LETTERS and _is_straight(line)
    ]


def _is_straight(line: list[BoxPx]) -> bool:
    return around(line).height <= MAX_RISE * max(glyph.height for glyph in line)


def _goes_on(last: BoxPx, glyph: BoxPx, max_gap: float) -> bool:
    shared = min(last.bottom, glyph.bottom) - max(last.y, glyph.y)
    smaller, larger = sorted((last.height, glyph.height))
    return shared >= 0.5 * smaller and larger <= 2.2 * smaller and glyph.x - last.right <= max_gap * larger


def around(boxes: list[BoxPx]) -> BoxPx:
    """The smallest box that holds them all."""
    left, top = min(box.x for box in boxes), min(box.y for box in boxes)
    right, bottom = max(box.right for box in boxes), max(box.bottom for box in boxes)
    return BoxPx(left, top, right - left, bottom - top)
