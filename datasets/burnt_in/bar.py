"""Scale bars by pixels alone: long, flat, horizontal rectangles of ink that stand off what is around them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.burnt_in.ink import Ink
from ultraread.datasets.geometry import BoxPx

MIN_LENGTH_PX = 24
MIN_LENGTH_FRACTION = 0.025
MAX_LENGTH_FRACTION = 0.9
"""Of the image's width; a bar shorter than 24 px is no scale, a longer rectangle is an information bar."""
MIN_ASPECT = 5.0
MAX_HEIGHT_FRACTION = 0.04
MIN_STEP = 0.15
MIN_SIDE = 0.8
"""Grey step, of the range, between a bar and what is around it, and the share of each of its sides that has
it. These limits are chosen on generator `printed` of benchmarks/burnt_in.py, over stack1 and HeLa."""
PURE_WITHIN = 0.06
"""Of the range: ink as it was drawn. Bright resin and dark stain often reach what counts as ink after JPEG,
and join the ends of a bar."""
ENDS_WITHIN_PX = 2
EDGE_PX = 0.5
"""Uncertainty of one end on a sharp edge: half a pixel."""

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DrawnBar:
    """A bar in pixels of the strip: its core, what belongs to it (caps), its length and that one's error."""

    core: BoxPx
    box: BoxPx
    length_px: float
    uncertainty_px: float


def find_bars(ink: Ink, image_width_px: int, image_height_px: int) -> tuple[DrawnBar, ...]:
    """Return the bars of a strip, of either polarity; outlines and doubles are left out."""
    limits = _Limits.of(image_width_px, image_height_px)
    found = [
        _measured(ink.grey, mask, core)
        for mask in (ink.bright, ink.dark, ink.grey >= 1 - PURE_WITHIN, ink.grey <= PURE_WITHIN)
        for core in _rectangles(mask, limits)
        if _stands_off(ink.grey, core)
    ]
    return _without_outlines(found)


@dataclass(frozen=True, slots=True)
class _Limits:
    shortest_px: int
    longest_px: int
    tallest_px: int

    @classmethod
    def of(cls, width_px: int, height_px: int) -> "_Limits":
        shortest = max(MIN_LENGTH_PX, round(MIN_LENGTH_FRACTION * width_px))
        tallest = max(6, round(MAX_HEIGHT_FRACTION * height_px))
        return cls(shortest, round(MAX_LENGTH_FRACTION * width_px), tallest)


def _rectangles(mask: Mask, limits: _Limits) -> Iterator[BoxPx]:
    """Runs of the same ends in neighbouring rows, put together."""
    growing: list[BoxPx] = []
    for y in range(mask.shape[0]):
        runs = [run for run in _runs(mask[y]) if limits.shortest_px <= run[1] - run[0] <= limits.longest_px]
        still = [_grown(box, runs) for box in growing]
        yield from (
            box for box, more in zip(growing, still, strict=True) if not more and _is_bar(box, limits)
        )
        grown = [box for box in still if box]
        new = [run for run in runs if not any(_same_ends(box, run) for box in grown)]
        growing = grown + [BoxPx(first, y, after - first, 1) for first, after in new]
    yield from (box for box in growing if _is_bar(box, limits))


def _runs(row: Mask) -> list[tuple[int, int]]:
    steps = np.flatnonzero(np.diff(np.concatenate(([False], row, [False])).astype(np.int8)))
    return [(int(first), int(after)) for first, after in zip(steps[::2], steps[1::2], strict=True)]


def _grown(box: BoxPx, runs: list[tuple[int, int]]) -> BoxPx | None:
    same = any(_same_ends(box, run) for run in runs)
    return BoxPx(box.x, box.y, box.width, box.height + 1) if same else None


def _same_ends(box: BoxPx, run: tuple[int, int]) -> bool:
    return abs(box.x - run[0]) <= ENDS_WITHIN_PX and abs(box.right - run[1]) <= ENDS_WITHIN_PX


def _is_bar(box: BoxPx, limits: _Limits) -> bool:
    return 2 <= box.height <= limits.tallest_px and box.width >= MIN_ASPECT * box.height


def _stands_off(grey: Grey, core: BoxPx) -> bool:
    """Ends and both long sides differ from the bar; nothing is a bar that is cut by the strip's border."""
    rows, columns = slice(core.y, core.bottom), slice(core.x, core.right)
    if core.x < 3 or core.right > grey.shape[1] - 3 or core.y < 3 or core.bottom > grey.shape[0] - 3:
        return False
    level = float(np.median(grey[rows, columns]))
    inside = slice(core.x + core.width // 20, core.right - core.width // 20)
    around = (
        grey[core.y - 3 : core.y - 1, inside],
        grey[core.bottom + 1 : core.bottom + 3, inside],
        grey[rows, core.x - 3 : core.x - 1],
        grey[rows, core.right + 1 : core.right + 3],
    )
    stand_off = all((np.abs(side - level) >= MIN_STEP).mean() >= MIN_SIDE for side in around)
    return stand_off and not _is_of_an_outline(around[0], around[1])


def _is_of_an_outline(above: Grey, below: Grey) -> bool:
    """True where ink lies along one long side only: then the bar is there, and this is its outline or box."""
    shares = [max((side <= PURE_WITHIN).mean(), (side >= 1 - PURE_WITHIN).mean()) for side in (above, below)]
    return bool(max(shares) >= MIN_SIDE and min(shares) < MIN_SIDE / 2)


def _measured(grey: Grey, mask: Mask, core: BoxPx) -> DrawnBar:
    profile = grey[core.y : core.bottom].mean(axis=0)
    level = float(np.median(profile[core.x : core.right]))
    left = _edge(profile, level, core.x, -1)
    right = _edge(profile, level, core.right - 1, +1)
    box, cap_px = _with_caps(mask, core)
    return DrawnBar(core, box, right - left, 2 * EDGE_PX + 2 * cap_px)


def _edge(profile: Grey, level: float, last: int, step: int) -> float:
    """Where the profile crosses half way from the bar to what is 3 px beyond its last pixel.

    In pixel coordinates whose integers lie between pixels: a bar from pixel 3 to 7 reaches from 3.0 to 8.0.
    """
    half = (level + float(profile[last + 3 * step])) / 2
    steps = range(-1, 3)
    for n in steps:
        here, there = (float(profile[last + k * step]) for k in (n, n + 1))
        if (here - half) * (there - half) <= 0 and here != there:
            return last + 0.5 + step * (n + (here - half) / (here - there))
    return last + 0.5 + step * 0.5


def _with_caps(mask: Mask, core: BoxPx) -> tuple[BoxPx, int]:
    """The bar with the strokes across its ends, and the width of one stroke (0 without)."""
    reach = 4 * core.height + 4
    top, bottom = (_cap_rows(mask, core, step, reach) for step in (-1, +1))
    if not top or not bottom:
        return core, 0
    box = BoxPx(core.x, core.y - top, core.width, core.height + top + bottom)
    stroke = mask[core.y - 1, core.x : core.x + core.width // 3]
    return box, int(np.argmin(stroke)) if not stroke.all() else 0


def _cap_rows(mask: Mask, core: BoxPx, step: int, reach: int) -> int:
    """Rows beyond the core in which both ends, and only they, are ink."""
    first = core.y - 1 if step < 0 else core.bottom
    for n in range(reach):
        y = first + n * step
        if not 0 <= y < mask.shape[0]:
            return n
        ends = mask[y, core.x + 1] and mask[y, core.right - 2]
        middle = mask[y, core.x + core.width // 4 : core.right - core.width // 4].any()
        if not ends or middle:
            return n
    return 0


def _without_outlines(found: list[DrawnBar]) -> tuple[DrawnBar, ...]:
    """Of bars that touch and are about as long, the shortest: the others are its outline, or its box."""
    kept: list[DrawnBar] = []
    for bar in sorted(found, key=lambda one: one.core.width):
        if not any(_is_outline(bar, other) for other in kept):
            kept.append(bar)
    return tuple(sorted(kept, key=lambda one: (one.core.y, one.core.x)))


def _is_outline(bar: DrawnBar, core: DrawnBar) -> bool:
    """It reaches at least as far on both sides, by less than half its length, and nothing lies between."""
    holds = bar.core.x <= core.core.x + 1 and bar.core.right >= core.core.right - 1
    near_px = max(bar.core.height, core.core.height) + 8
    touches = bar.core.y <= core.core.bottom + near_px and bar.core.bottom >= core.core.y - near_px
    return holds and touches and bar.core.width <= 2 * core.core.width
