"""Large artefacts: what a microscopist sees at low magnification, in grids of cells."""

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.quality import filters
from ultraread.datasets.quality.artefacts import RULES, Artefact

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

SMALLEST_HOLE_CELLS = 2
SMOOTH_SHARE = 0.5
"""A hole has at most this share of the median roughness: it holds noise and no structure."""
OPAQUE_SHARE = 0.08
DARK_SHARE = 0.15
"""An opaque cell lies in this share of the range of cells, at its dark end."""
RIBBON_ANGLES, RIBBON_CELLS = 24, (3, 5)
RIBBON_LENGTH, LONGEST_RIBBON_CELLS = 0.6, 48
"""Of the image's shorter side; in cells."""
RIBBON_CLIP_SD = 2.5
RIBBON_INSIDE = 0.95
SPECK_CONTRAST = 1.0
"""Interquartile ranges above the upper quartile by which a speck is darker than its own patch."""
MANY_SPECKS = 1.4
"""Times the limit, of the span from 10th to 40th percentile: for fields where specks fill the darkest 5 %."""
DARK_END = 0.05
"""Percentile of the darkest parts: a single cell below is no end."""
PILE_WIDTHS = (0.05, 0.1, 0.2)
"""Of what lies between the dark end and the median: how alike opaque things are, the more noise the less."""
PILE_REACH = 1.5
"""Widths from the dark end on that are masked: specks that fill no block are a little less dark."""
PILE_TIMES, BY_CHANCE = 2.5, 2
"""How many cells make a pile: so many times those next to it and BY_CHANCE, so that four against none do not.
Chosen on generator A, as the limits of the table."""
LEAST_SPECKS = 0.001
"""Of the cells, four of a 1,024 px field: one dark spot is a granule as well as dirt."""


def quartiles(values: Floats) -> tuple[float, float, float]:
    """Lower quartile, upper quartile, and what lies between, never zero."""
    low, high = (float(each) for each in np.percentile(values, (25, 75)))
    return low, high, max(high - low, 1e-3)


def holes(mean: Floats, rough: Floats) -> Mask:
    """Cells far brighter than all others and smooth, at least SMALLEST_HOLE_CELLS together; and their rim."""
    _, high, spread = quartiles(mean)
    smooth = rough <= max(SMOOTH_SHARE * float(np.median(rough)), 1e-3)
    bright = mean > high + RULES[Artefact.HOLE].limit * spread
    numbers, sizes = filters.regions(bright & (smooth | filters.cores(bright)))
    inside = filters.grown((sizes >= SMALLEST_HOLE_CELLS)[numbers], bright)
    return filters.widened(inside, 1)


def grid_bars(mean: Floats, rough: Floats) -> Mask:
    """Dark regions without structure that reach the border and exceed the limit; and their soft edge."""
    flat = rough <= max(OPAQUE_SHARE * float(np.percentile(rough, 90)), 1e-3)
    darkest, bright = np.percentile(mean, (0.5, 95))
    opaque = flat & (mean <= darkest + DARK_SHARE * (bright - darkest))
    numbers, sizes = filters.regions(opaque)
    border = np.concatenate([numbers[[0, -1]].ravel(), numbers[:, [0, -1]].ravel()])
    at_border = np.isin(np.arange(len(sizes)), border)
    large = at_border & (sizes >= RULES[Artefact.GRID_BAR].limit * mean.size)
    return filters.widened(large[numbers], 1)


def folds(mean: Floats, taken: Mask) -> Mask:
    """Straight dark ribbons, as long as most of the image: darker than what lies on both their sides.

    `taken` is what another artefact explains already. Ribbons of 3 and 5 cells are tried in RIBBON_ANGLES
    directions.
    """
    spread = quartiles(mean)[2] / 1.35
    level = np.clip((mean - np.median(mean)) / spread, -RIBBON_CLIP_SD, RIBBON_CLIP_SD)
    level = np.where(taken, 0, level).astype(np.float32)
    found = np.zeros_like(taken)
    for angle in np.arange(RIBBON_ANGLES) * 180.0 / RIBBON_ANGLES:
        turned = filters.turned(level, float(angle))
        for width in RIBBON_CELLS:
            ribbon = _ribbons(turned, width, min(level.shape))
            if ribbon.any():
                found |= _turned_back(ribbon, float(angle), level.shape)
    return np.asarray(found & ~taken)


def _ribbons(turned: Floats, width: int, shorter: int) -> Mask:
    """Upright ribbons of a turned grid, NaN outside the image: their middle against the darker flank."""
    length = int(np.clip(RIBBON_LENGTH * shorter, 9, LONGEST_RIBBON_CELLS)) | 1
    inside = np.isfinite(turned)
    values = np.where(inside, turned, 0).astype(np.float32)
    known = filters.means(inside.astype(np.float32), (length, width + 8)) > RIBBON_INSIDE
    centre, flank = filters.means(values, (length, width)), filters.means(values, (length, 3))
    beside = width // 2 + 3
    flanks = np.minimum(np.roll(flank, beside, 1), np.roll(flank, -beside, 1))
    middle = known & (flanks - centre >= RULES[Artefact.FOLD].limit)
    return filters.spread_over(middle, (length, width)) & inside if middle.any() else middle


def _turned_back(ribbon: Mask, degrees: float, shape: tuple[int, ...]) -> Mask:
    back = filters.turned_mask(ribbon, -degrees)
    top, left = ((have - want) // 2 for have, want in zip(back.shape, shape, strict=True))
    return back[top : top + shape[0], left : left + shape[1]]


def specks(mean: Floats, darkest: Floats, taken: Mask) -> Mask:
    """Cells whose darkest part is far darker than that of others and than the cell itself, or opaque ones."""
    few, some, many, most = (float(each) for each in np.percentile(darkest, (5, 10, 25, 40)))
    limit = RULES[Artefact.PRECIPITATE].limit
    dark = darkest < max(few - limit * (many - few), some - MANY_SPECKS * limit * (most - some)) - 1e-3
    contrast = mean - darkest
    _, high, spread = quartiles(contrast)
    sharp = contrast > high + SPECK_CONTRAST * spread
    return np.asarray(((dark & sharp) | _pile(darkest, (contrast > high) & ~taken)) & ~taken)


def _pile(darkest: Floats, sharp: Mask) -> Mask:
    """Cells of those with a sharp edge that are as dark as the darkest, where few are nearly so.

    What lets no electrons through is all equally dark, so that its cells pile up at the dark end. Of tissue,
    even of one that is as dark, there are more cells the less dark they are. So many specks are told that
    move every percentile which others could be held against.
    """
    end, middle = (float(each) for each in np.percentile(darkest, (DARK_END, 50)))
    above = (darkest - end) / max(middle - end, 1e-3)
    for width in PILE_WIDTHS:
        at_end, next_to = (int((sharp & (above <= times * width)).sum()) for times in (1, 2))
        is_pile = at_end >= PILE_TIMES * (next_to - at_end + BY_CHANCE)
        if is_pile and at_end >= LEAST_SPECKS * darkest.size:
            return np.asarray(sharp & (above <= PILE_REACH * width))
    return np.zeros_like(sharp)


def clipped(share: Floats) -> Mask:
    """Cells of which at least the limit lies at an end of the stored range."""
    return np.asarray(share >= RULES[Artefact.CLIPPING].limit)
