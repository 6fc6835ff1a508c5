"""Large artefacts: what a microscopist sees at low magnification, in grids of cells and in the picture."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.quality.artefacts import RULES, Artefact

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

SMALLEST_HOLE_CELLS = 2
SMOOTH_SHARE = 0.5
"""A hole has at most this share of the median roughness: it holds noise and no structure."""
OPAQUE_SHARE = 0.25
OPAQUE_SPREADS = 1.0
FOLD_LENGTH = 0.4
"""Of the image's shorter side."""
FOLD_ELONGATION = 3.5
FOLD_FILL = 0.45
"""Share of its own bounding ribbon that a fold fills: a network of dark walls fills little."""
SPECK_CONTRAST = 2.0
"""Interquartile ranges above the upper quartile by which a speck is darker than its own patch."""
ANGLE_CLIP_SD = 2.5
USUAL_STEP = 1.4
USUAL_TIMES = 3.0
"""By these factors a line must exceed the 90th percentile of steps, and the median agreement of signs."""
LINE_TOLERANCE_CELLS = 1


def quartiles(values: Floats) -> tuple[float, float, float]:
    """Lower quartile, upper quartile, and what lies between, never zero."""
    low, high = (float(each) for each in np.percentile(values, (25, 75)))
    return low, high, max(high - low, 1e-3)


def holes(mean: Floats, rough: Floats) -> Mask:
    """Cells far brighter than all others and smooth, at least SMALLEST_HOLE_CELLS together."""
    _, high, spread = quartiles(mean)
    limit = high + RULES[Artefact.HOLE].limit * spread
    smooth = rough <= max(SMOOTH_SHARE * float(np.median(rough)), 1e-3)
    bright = mean > limit
    seeds = bright & (smooth | _eroded(bright))
    return _with_rim(_large(seeds, SMALLEST_HOLE_CELLS), bright)


def grid_bars(mean: Floats, rough: Floats) -> Mask:
    """Dark regions without structure that reach the border and are larger than the limit."""
    flat = rough <= max(OPAQUE_SHARE * float(np.percentile(rough, 75)), 1e-3)
    dark = mean < float(np.median(mean)) - OPAQUE_SPREADS * quartiles(mean)[2]
    opaque = flat & dark
    found = np.zeros_like(opaque)
    for region in _regions(opaque):
        large = region.sum() >= RULES[Artefact.GRID_BAR].limit * region.size
        if large and (region[[0, -1]].any() or region[:, [0, -1]].any()):
            found |= region
    return found


def folds(mean: Floats, taken: Mask) -> Mask:
    """Long, straight-sided dark ribbons; `taken` is what another artefact explains already."""
    from scipy.ndimage import binary_opening, gaussian_filter

    smooth = gaussian_filter(mean, 0.7)
    spread = quartiles(smooth)[2] / 1.35
    dark = (smooth < float(np.median(smooth)) - RULES[Artefact.FOLD].limit * spread) & ~taken
    thick = binary_opening(dark, np.ones((2, 2), bool))
    found = np.zeros_like(thick)
    for region in _regions(thick):
        if _is_ribbon(region):
            found |= region
    return found


def specks(mean: Floats, darkest: Floats, taken: Mask) -> Mask:
    """Cells whose darkest part is far darker than that of others, and than the cell itself."""
    low, _, spread = quartiles(darkest)
    contrast = mean - darkest
    _, high, spread_of_contrast = quartiles(contrast)
    dark = darkest < low - RULES[Artefact.PRECIPITATE].limit * spread
    sharp = contrast > high + SPECK_CONTRAST * spread_of_contrast
    return dark & sharp & ~taken


def clipped(share: Floats) -> Mask:
    """Cells of which at least the limit lies at an end of the stored range."""
    return np.asarray(share >= RULES[Artefact.CLIPPING].limit)


def through_lines(signs: Floats, steps: Floats) -> tuple[Mask, Mask]:
    """Of (lines, tiles along): lines that step one way all along, and lines that differ all along.

    Both must stand out from the image's other lines: a picture of squares has steps everywhere, and no seam.
    """
    agreement = np.abs(signs.mean(axis=1))
    usual = USUAL_TIMES * float(np.median(agreement))
    middle = np.median(steps, axis=1)
    high = USUAL_STEP * float(np.percentile(middle, 90))
    one_way = agreement >= max(RULES[Artefact.CHARGING].limit, usual)
    return one_way, np.asarray(middle >= max(RULES[Artefact.SEAM].limit, high))


def row_excess(mean: Floats) -> tuple[float, float]:
    """How much more the means of rows scatter than those of columns, and the other way round (ratios)."""
    shaded = mean - _plane(mean)
    across, down = shaded.mean(axis=1), shaded.mean(axis=0)
    rows, columns = (
        max(float(np.var(each)), 1e-6) * len(other) for each, other in ((across, down), (down, across))
    )
    return rows / columns, columns / rows


def straight_lines(picture: NDArray[np.uint8]) -> Iterator[tuple[float, tuple[float, float, float, float]]]:
    """Strongest line of each quadrant of directions: standard errors; ends (x0, y0, x1, y1), 0 to 1.

    Discrete Radon transform by sums of pairs of strips (M. L. Brady, SIAM J. Comput. 27, 1998), of the
    picture less its surroundings, clipped so that no single structure makes a line.
    """
    flat = _flattened(picture)
    inside = np.ones_like(flat)
    for quadrant, (turned, known) in enumerate(zip(_quadrants(flat), _quadrants(inside), strict=True)):
        sums, counts = line_sums(turned), line_sums(known)
        usable = counts >= 0.6 * turned.shape[0]
        scores = np.where(usable, sums / np.sqrt(np.maximum(counts, 1)), 0.0)
        spread = float(np.median(np.abs(scores[usable]))) / 0.6745 if usable.any() else 0.0
        best = np.unravel_index(int(np.abs(scores).argmax()), scores.shape)
        height, slope = int(best[0]) - (sums.shape[0] - turned.shape[0]), int(best[1])
        yield abs(float(scores[best])) / max(spread, 1e-6), _ends(quadrant, height, slope, turned.shape)


def line_sums(values: Floats) -> Floats:
    """(height + width, width) sums along lines that rise by 0 to width - 1 pixels over the width.

    Row r, column s: the line that starts at row r - width of the first column and ends s rows below.
    The width is a power of two.
    """
    height, width = values.shape
    padded = np.zeros((height + width, width, 1), np.float32)
    padded[width:, :, 0] = values
    while padded.shape[1] > 1:
        left, right = padded[:, ::2], padded[:, 1::2]
        strips, slopes = left.shape[1], left.shape[2]
        joined = np.zeros((len(padded), strips, 2 * slopes), np.float32)
        for slope in range(slopes):
            for extra in (0, 1):
                shift = slope + extra
                joined[: len(padded) - shift, :, 2 * slope + extra] = (
                    left[: len(padded) - shift, :, slope] + right[shift:, :, slope]
                )
        padded = joined
    return padded[:, 0]


def _flattened(picture: NDArray[np.uint8]) -> Floats:
    """A square of 256 px, less its surroundings, in clipped standard deviations."""
    from PIL import Image
    from scipy.ndimage import uniform_filter

    small = Image.fromarray(picture).resize((256, 256), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32)
    rest = grey - uniform_filter(grey, 13, mode="reflect")
    deviation = rest / max(float(rest.std()), 1e-6)
    clipped_: Floats = np.clip(deviation, -ANGLE_CLIP_SD, ANGLE_CLIP_SD) - np.float32(deviation.mean())
    return clipped_


def _quadrants(values: Floats) -> Iterator[Floats]:
    """Four ways to lay the square so that every direction falls by 0 to 45 degrees once."""
    yield values
    yield values[::-1]
    yield np.ascontiguousarray(values.T)
    yield np.ascontiguousarray(values.T[::-1])


def _ends(quadrant: int, start: int, slope: int, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """Undo `_quadrants`: the ends of the line in shares of width and height."""
    height = shape[0]
    y0, y1 = (start + 0.5) / height, (start + slope + 0.5) / height
    if quadrant % 2:
        y0, y1 = 1 - y0, 1 - y1
    return (0.0, y0, 1.0, y1) if quadrant < 2 else (y0, 0.0, y1, 1.0)


def drawn_line(ends: tuple[float, float, float, float], rows: int, columns: int) -> Mask:
    """Cells within LINE_TOLERANCE_CELLS of a line whose ends are shares of width and height."""
    x0, y0, x1, y1 = ends[0] * columns, ends[1] * rows, ends[2] * columns, ends[3] * rows
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    length = max(float(np.hypot(x1 - x0, y1 - y0)), 1e-6)
    distance = np.abs((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) / length
    return np.asarray(distance <= LINE_TOLERANCE_CELLS)


def _is_ribbon(region: Mask) -> bool:
    places = np.argwhere(region).astype(np.float64)
    if len(places) < 8:
        return False
    values, vectors = np.linalg.eigh(np.cov(places.T) + np.eye(2) / 12)
    along = (places - places.mean(axis=0)) @ vectors[:, 1]
    length, width = float(np.ptp(along)) + 1, 3.46 * float(np.sqrt(values[0]))
    fill = len(places) / (length * max(width, 1.0))
    return (
        length >= FOLD_LENGTH * min(region.shape) and length >= FOLD_ELONGATION * width and fill >= FOLD_FILL
    )


def _regions(mask: Mask) -> Iterator[Mask]:
    from scipy.ndimage import label

    labels, count = label(mask, np.ones((3, 3)))
    for number in np.flatnonzero(np.bincount(labels.ravel(), minlength=count + 1)[1:] >= 4) + 1:
        yield labels == number


def _large(mask: Mask, cells: int) -> Mask:
    from scipy.ndimage import label

    labels, count = label(mask, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return np.asarray((sizes >= cells)[labels])


def _eroded(mask: Mask) -> Mask:
    from scipy.ndimage import binary_erosion

    return np.asarray(binary_erosion(mask, np.ones((3, 3)), border_value=1))


def _with_rim(seeds: Mask, bright: Mask) -> Mask:
    """The seeds, all that is bright and touches them, and the cells around it, which hold the rim."""
    from scipy.ndimage import binary_dilation

    if not seeds.any():
        return seeds
    grown = binary_dilation(seeds, np.ones((3, 3)), iterations=0, mask=bright)
    return np.asarray(grown)


def _plane(mean: Floats) -> Floats:
    """Least-squares plane: a wedge of thickness is no band."""
    y, x = np.mgrid[0 : mean.shape[0], 0 : mean.shape[1]]
    terms = np.stack([np.ones(mean.size), y.ravel(), x.ravel()], axis=1)
    fitted = np.linalg.lstsq(terms, mean.ravel().astype(np.float64), rcond=None)[0]
    return np.asarray((terms @ fitted).reshape(mean.shape), np.float32)
