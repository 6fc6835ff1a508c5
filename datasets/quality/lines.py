"""Straight lines through an image: seams, bands of charge, scratches of the knife."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultraread.datasets.quality import filters
from ultraread.datasets.quality.artefacts import RULES, Artefact

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Ends = tuple[float, float, float, float]

LINE_PICTURE_PX = 512
LINE_CLIP_SD = 2.5
LINE_UNIT = 24
"""512 pixels of 2.5 standard deviations are 30,720: they fit 16 bits."""
SPREAD_STEP = 7
SHORTEST = 0.6
"""Lines that cross less of the square, at its corners, are not judged."""
USUAL_STEP = 1.4
USUAL_TIMES = 3.0
"""By these factors a line must exceed the 90th percentile of steps, and the median agreement of signs."""
LINE_TOLERANCE_CELLS = 1
MOST_SEAMS = 2
"""Of one direction; more lines that differ all along are edges of bands."""


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


def row_excess(mean: Floats, taken: Mask, seams: tuple[Mask, Mask]) -> tuple[float, float]:
    """How much more the means of rows scatter than those of columns, and the other way round (ratios).

    `taken` cells, which another artefact explains, count as the median. `seams` are the rows and columns at
    which another picture may begin, with a brightness of its own: scatter is that between two of them.
    """
    even = np.where(taken, np.median(mean[~taken]) if not taken.all() else 0, mean)
    shaded = even - _plane(even)
    across, down = shaded.mean(axis=1), shaded.mean(axis=0)
    profiles = _by_part(across, seams[0]), _by_part(down, seams[1])
    rows, columns = (
        max(float(np.var(each)), 1e-6) * len(other) for each, other in (profiles, profiles[::-1])
    )
    return rows / columns, columns / rows


def _by_part(profile: Floats, seams: Mask) -> Floats:
    """Less the straight line through each part between seams; as it is where they are as many as of bands."""
    if not 0 < seams.sum() <= MOST_SEAMS:
        return profile
    parts, place = np.cumsum(seams), np.arange(len(profile), dtype=np.float64)
    found = profile.copy()
    for part in np.unique(parts):
        inside = parts == part
        degree = 1 if inside.sum() > 2 else 0
        found[inside] -= np.polyval(np.polyfit(place[inside], profile[inside], degree), place[inside])
    return found


def straight_lines(picture: NDArray[np.uint8]) -> Iterator[tuple[float, Ends]]:
    """Strongest line of each quadrant of directions: standard errors; ends (x0, y0, x1, y1), 0 to 1.

    Discrete Radon transform by sums of pairs of strips (M. L. Brady, SIAM J. Comput. 27, 1998), of the
    picture less its surroundings, clipped so that no single structure makes a line.
    """
    flat = _flattened(picture)
    usable, weights = _usable(len(flat))
    for quadrant, turned in enumerate(_quadrants(flat)):
        scores = line_sums(turned).ravel()[usable] * weights
        spread = float(np.median(np.abs(scores[::SPREAD_STEP]))) / 0.6745
        best = int(np.abs(scores).argmax())
        row, slope = divmod(int(usable[best]), len(flat))
        yield abs(float(scores[best])) / max(spread, 1e-6), _ends(quadrant, row - len(flat), slope, len(flat))


def line_sums(values: NDArray[np.int16]) -> NDArray[np.int16]:
    """(2 n, n) sums of (n, n) values along lines that fall by 0 to n - 1 rows over n columns.

    Row r, column s: the line that starts at row r - n of the first column and ends s rows below. n is a power
    of two, and n times the largest value fits 16 bits.
    """
    side = len(values)
    sums = np.zeros((1, side, 2 * side), np.int16)  # rows last: every addition is of long runs of memory
    sums[0, :, side:] = values.T
    while sums.shape[1] > 1:
        left, right = sums[:, ::2], sums[:, 1::2]
        joined = np.empty((2 * len(sums), left.shape[1], 2 * side), np.int16)
        for rise in range(len(joined)):
            half, shift = rise // 2, (rise + 1) // 2
            joined[rise] = left[half]
            joined[rise, :, : 2 * side - shift] += right[half, :, shift:]
        sums = joined
    return np.ascontiguousarray(sums[:, 0].T)


@lru_cache(maxsize=1)
def _usable(side: int) -> tuple[NDArray[np.intp], Floats]:
    """Flat places of lines that are long enough, and one over the root of their pixels."""
    counts = line_sums(np.ones((side, side), np.int16)).ravel()
    usable = np.flatnonzero(counts >= SHORTEST * side)
    return usable, (1 / np.sqrt(counts[usable])).astype(np.float32)


def _flattened(picture: NDArray[np.uint8]) -> NDArray[np.int16]:
    """A square of LINE_PICTURE_PX, less its surroundings, in clipped standard deviations times LINE_UNIT."""
    small = Image.fromarray(picture).resize((LINE_PICTURE_PX, LINE_PICTURE_PX), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32)
    rest = grey - filters.means(grey, (13, 13))
    deviation = rest / max(float(rest.std()), 1e-6)
    scaled = np.rint(LINE_UNIT * np.clip(deviation, -LINE_CLIP_SD, LINE_CLIP_SD))
    return np.asarray(scaled, np.int16)


def _quadrants(values: NDArray[np.int16]) -> Iterator[NDArray[np.int16]]:
    """Four ways to lay the square so that every direction falls by 0 to 45 degrees once."""
    yield values
    yield values[::-1]
    yield values.T
    yield values.T[::-1]


def _ends(quadrant: int, start: int, slope: int, side: int) -> Ends:
    """Undo `_quadrants`: the ends of the line in shares of width and height."""
    y0, y1 = (start + 0.5) / side, (start + slope + 0.5) / side
    if quadrant % 2:
        y0, y1 = 1 - y0, 1 - y1
    return (0.0, y0, 1.0, y1) if quadrant < 2 else (y0, 0.0, y1, 1.0)


def drawn_line(ends: Ends, rows: int, columns: int) -> Mask:
    """Cells within LINE_TOLERANCE_CELLS of a line whose ends are shares of width and height."""
    x0, y0, x1, y1 = ends[0] * columns, ends[1] * rows, ends[2] * columns, ends[3] * rows
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    length = max(float(np.hypot(x1 - x0, y1 - y0)), 1e-6)
    distance = np.abs((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) / length
    return np.asarray(distance <= LINE_TOLERANCE_CELLS)


def _plane(mean: Floats) -> Floats:
    """Least-squares plane: a wedge of thickness is no band."""
    y, x = np.mgrid[0 : mean.shape[0], 0 : mean.shape[1]]
    terms = np.stack([np.ones(mean.size), y.ravel(), x.ravel()], axis=1)
    fitted = np.linalg.lstsq(terms, mean.ravel().astype(np.float64), rcond=None)[0]
    return np.asarray((terms @ fitted).reshape(mean.shape), np.float32)
