"""Pixel size as a safety input: every scale carries its origin and tolerance, and doubt refuses the read."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from ultraread.datasets.geometry import NmPerPx
from ultraread.errors import PixelNotSquare, RequestInvalid, ScaleMissing, ScaleOutOfRange, ScalesDisagree

DEFAULT_TOLERANCE = 0.05
"""Relative. Electron lenses reproduce to about 5 % unless calibrated (column reproducibility; with an
internal standard 1.6 %)."""

SQUARE_WITHIN = 0.001
"""Relative difference of x and y above which a pixel is not square: rounding of tags stays below it."""

PRINTING_NM_PER_PX = 10_000.0
"""A resolution tag this coarse (2,540 dpi) or coarser serves printing: 72, 96 or 300 dpi are no scale.
No microscope whose slides are read here has such pixels."""


SMALLEST_NM_PER_PX = 1e-4
"""A tenth of a picometre: a smaller pixel is a mistake in a tag, a label or a unit."""


class ScaleOrigin(StrEnum):
    """Where a scale came from; shown on every output that states nanometres."""

    INSTRUMENT_TAG = "instrument_tag"
    OME = "ome"
    TIFF_RESOLUTION = "tiff_resolution"
    BURNT_IN_BAR = "burnt_in_bar"
    CALIBRATION_RECORD = "calibration_record"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class StatedScale:
    """A pixel size as a file or a person states it, not yet trusted: x and y may differ."""

    x_nm_per_px: float
    y_nm_per_px: float
    origin: ScaleOrigin
    tolerance: float = DEFAULT_TOLERANCE
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """A trusted square pixel size with its origin and relative tolerance (0.05 = 5 %)."""

    nm_per_px: NmPerPx
    origin: ScaleOrigin
    tolerance: float
    reason: str = ""


def operator_scale(nm_per_px: float, reason: str, tolerance: float = DEFAULT_TOLERANCE) -> StatedScale:
    """A scale that a person states; it needs a reason, which every output then shows.

    Raises RequestInvalid without a reason or with an impossible value.
    """
    if not reason.strip():
        raise RequestInvalid(
            "a stated pixel size needs a reason", "Add --reason TEXT: where the value is from."
        )
    if not (0 < nm_per_px < float("inf") and 0 <= tolerance < 1):
        raise RequestInvalid(f"{nm_per_px} nm/px with tolerance {tolerance} is no pixel size")
    return StatedScale(nm_per_px, nm_per_px, ScaleOrigin.OPERATOR, tolerance, reason.strip())


def choose_scale(found: Sequence[StatedScale]) -> Scale:
    """Return the most exact of the scales found; the first of equals. Impossible ones count as absent.

    A calibration record was measured; tags and bars carry what the instrument assumes, with a tolerance by
    default: where both agree, the record counts, whatever its tolerance.
    Raises ScaleMissing where none was found, PixelNotSquare, and ScalesDisagree where two are further
    apart than the sum of their tolerances.
    """
    possible = [scale for scale in found if is_possible(scale)]
    if not possible:
        raise ScaleMissing("the file states no pixel size")
    for scale in possible:
        _refuse_unless_square(scale)
    for one, other in combinations(possible, 2):
        _refuse_unless_agreeing(one, other)
    best = min(_outranking(possible), key=lambda scale: scale.tolerance)
    return Scale(NmPerPx(best.x_nm_per_px), best.origin, best.tolerance, best.reason)


def check_scale_range(scale: Scale, low_nm_per_px: float, high_nm_per_px: float) -> None:
    """Raise ScaleOutOfRange unless the model was made for this scale."""
    if not low_nm_per_px <= scale.nm_per_px <= high_nm_per_px:
        raise ScaleOutOfRange(
            f"{scale.nm_per_px:.4g} nm/px ({scale.origin}); the model reads "
            f"{low_nm_per_px:g} to {high_nm_per_px:g} nm/px"
        )


def _refuse_unless_square(scale: StatedScale) -> None:
    x, y = scale.x_nm_per_px, scale.y_nm_per_px
    if abs(x - y) > SQUARE_WITHIN * max(x, y):
        raise PixelNotSquare(f"pixels are {x:.4g} x {y:.4g} nm ({scale.origin})")


def is_possible(scale: StatedScale) -> bool:
    """False for a pixel of no, negative or absurd size."""
    sides = (scale.x_nm_per_px, scale.y_nm_per_px)
    return all(SMALLEST_NM_PER_PX <= side < PRINTING_NM_PER_PX for side in sides)


def are_apart(one: StatedScale, other: StatedScale) -> bool:
    """True where they differ by more than the sum of their tolerances."""
    smaller, larger = sorted((one.x_nm_per_px, other.x_nm_per_px))
    return larger / smaller - 1 > one.tolerance + other.tolerance


def _refuse_unless_agreeing(one: StatedScale, other: StatedScale) -> None:
    smaller, larger = sorted((one.x_nm_per_px, other.x_nm_per_px))
    if are_apart(one, other):
        raise ScalesDisagree(
            f"{_in_words(one)} and {_in_words(other)} differ by {100 * (larger / smaller - 1):.0f} %"
        )


def _outranking(possible: Sequence[StatedScale]) -> Sequence[StatedScale]:
    """Where there is a calibration record, only it and what an operator states."""
    stated = {ScaleOrigin.CALIBRATION_RECORD, ScaleOrigin.OPERATOR}
    if all(scale.origin != ScaleOrigin.CALIBRATION_RECORD for scale in possible):
        return possible
    return [scale for scale in possible if scale.origin in stated]


def _in_words(scale: StatedScale) -> str:
    """With its reason, unless an operator wrote it."""
    why = f": {scale.reason}" if scale.reason and scale.origin != ScaleOrigin.OPERATOR else ""
    return f"{scale.x_nm_per_px:.4g} nm/px ({scale.origin}{why})"
