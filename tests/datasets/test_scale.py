"""Doubt about a pixel size refuses the read: the table of what agrees, and what a person may state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SCALES_NM, square_scales

from ultraread.datasets.geometry import NmPerPx
from ultraread.datasets.scale import (
    Scale,
    ScaleOrigin,
    StatedScale,
    check_scale_range,
    choose_scale,
    operator_scale,
)
from ultraread.errors import PixelNotSquare, RequestInvalid, ScaleMissing, ScaleOutOfRange, ScalesDisagree


def _stated(nm: float, tolerance: float, origin: ScaleOrigin = ScaleOrigin.OPERATOR) -> StatedScale:
    return StatedScale(nm, nm, origin, tolerance)


AGREEMENT = [
    # nm/px, tolerance, nm/px, tolerance, do they agree
    (4.6, 0.05, 4.6, 0.05, True),
    (4.6, 0.05, 5.05, 0.05, True),
    (4.6, 0.05, 5.07, 0.05, False),
    (5.07, 0.05, 4.6, 0.05, False),
    (4.6, 0.0, 4.6, 0.0, True),
    (4.6, 0.0, 4.61, 0.0, False),
    (4.6, 0.01, 4.69, 0.01, True),
    (4.6, 0.01, 4.70, 0.01, False),
    (4.6, 0.05, 5.962, 0.05, False),
    (10.0, 0.1, 12.9, 0.2, True),
]


@pytest.mark.parametrize(("one", "one_tolerance", "other", "other_tolerance", "agree"), AGREEMENT)
def test_two_scales_agree_within_the_sum_of_their_tolerances(
    one: float, one_tolerance: float, other: float, other_tolerance: float, agree: bool
) -> None:
    found = [_stated(one, one_tolerance), _stated(other, other_tolerance)]
    if agree:
        assert choose_scale(found).nm_per_px in (one, other)
    else:
        with pytest.raises(ScalesDisagree, match=f"{one:.4g} nm/px"):
            choose_scale(found)


@given(square_scales(), square_scales())
def test_the_order_of_two_scales_does_not_decide_whether_they_agree(
    one: StatedScale, other: StatedScale
) -> None:
    assert _outcome([one, other]) == _outcome([other, one])


def _outcome(found: list[StatedScale]) -> bool:
    try:
        choose_scale(found)
    except ScalesDisagree:
        return False
    return True


def test_the_most_exact_scale_is_used_and_the_first_of_equals() -> None:
    rough = _stated(4.7, 0.05, ScaleOrigin.TIFF_RESOLUTION)
    exact = _stated(4.6, 0.016, ScaleOrigin.CALIBRATION_RECORD)
    as_rough = _stated(4.65, 0.05, ScaleOrigin.OME)
    assert choose_scale([rough, exact]).origin == ScaleOrigin.CALIBRATION_RECORD
    assert choose_scale([rough, as_rough]).origin == ScaleOrigin.TIFF_RESOLUTION


def test_no_scale_is_refused_with_what_to_do() -> None:
    with pytest.raises(ScaleMissing) as refused:
        choose_scale([])
    assert "--nm-per-px" in refused.value.remedy


@pytest.mark.parametrize(("x", "y", "square"), [(4.6, 4.604, True), (4.6, 4.61, False), (10.0, 9.0, False)])
def test_pixels_are_square_within_a_thousandth(x: float, y: float, square: bool) -> None:
    stated = StatedScale(x, y, ScaleOrigin.INSTRUMENT_TAG)
    if square:
        assert choose_scale([stated]).nm_per_px == x
    else:
        with pytest.raises(PixelNotSquare):
            choose_scale([stated])


@given(SCALES_NM)
def test_an_operators_scale_keeps_value_and_reason(nm: float) -> None:
    scale = choose_scale([operator_scale(nm, "  calibration of 2026-10-02 ")])
    assert scale == Scale(NmPerPx(nm), ScaleOrigin.OPERATOR, 0.05, "calibration of 2026-10-02")


@pytest.mark.parametrize("reason", ["", "   "])
def test_an_operator_needs_a_reason(reason: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        operator_scale(4.6, reason)
    assert "--reason" in refused.value.remedy


@pytest.mark.parametrize("nm", [0, -4.6, float("nan"), float("inf")])
def test_impossible_pixel_sizes_are_refused(nm: float) -> None:
    with pytest.raises(RequestInvalid):
        operator_scale(nm, "a reason")


@pytest.mark.parametrize("tolerance", [-0.01, 1.0, float("nan")])
def test_impossible_tolerances_are_refused(tolerance: float) -> None:
    with pytest.raises(RequestInvalid):
        operator_scale(4.6, "a reason", tolerance)


@given(SCALES_NM, st.floats(0.1, 1000), st.floats(0.1, 1000))
def test_a_scale_is_taken_in_the_models_range_and_nowhere_else(nm: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    scale = Scale(NmPerPx(nm), ScaleOrigin.OME, 0.05)
    if low <= nm <= high:
        check_scale_range(scale, low, high)
        check_scale_range(scale, nm, nm)
    else:
        with pytest.raises(ScaleOutOfRange, match="ome"):
            check_scale_range(scale, low, high)
