"""A calibration record counts for its instrument, on the days for which it was made, and never by guess."""

import datetime as dt
from dataclasses import replace

import pytest
from calibrations import CSV, RECORD, record
from hypothesis import given
from hypothesis import strategies as st
from strategies import square_scales

from ultraread.datasets.calibration import (
    Calibrations,
    StatedInstrument,
    checked_calibrations,
    date_of,
    matching,
    read_calibrations,
)
from ultraread.datasets.scale import ScaleOrigin, StatedScale, choose_scale
from ultraread.datasets.slide import Acquisition
from ultraread.errors import (
    CalibrationAmbiguous,
    CalibrationExpired,
    CalibrationInvalid,
    CalibrationMissing,
    ReadRefused,
    ScaleMissing,
    ScalesDisagree,
)

MADE = Acquisition(microscope="JEM-1400", camera="Veleta", magnification=6500)
IN_TIME = dt.date(2026, 6, 1)


def test_a_csv_file_is_read_row_by_row() -> None:
    first, second = read_calibrations(CSV)
    assert (first.microscope, first.magnification, first.nm_per_px) == ("JEM-1400", 6500, 5.962)
    assert (second.standard, second.expires) == ("catalase crystal", dt.date(2027, 1, 5))


@pytest.mark.parametrize(
    ("was", "becomes", "what"),
    [
        ("0.016", "1.6", "row 2: tolerance"),
        ("5.962", "0", "row 2: nm_per_px"),
        ("5.962", "nan", "row 2: nm_per_px"),
        ("2026-01-05,cat", "05.01.2026,cat", "row 2: date has to be YYYY-MM-DD"),
        ("2027-01-05", "2025-01-05", "row 2: expires before its date"),
        ("JEM-1400,Veleta,6500", ",Veleta,6500", "row 2: microscope"),
        ("A. Keller", "A. Keller,more", "row 2: more"),
        ("standard,", "", "columns are missing: standard"),
        ("Veleta,12000,3.23", "Veleta,6500,6.1", "rows 2 and 3 are of the same place and date, and differ"),
        ("A. Keller", '"A. Keller', "no CSV"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused_with_its_row(was: str, becomes: str, what: str) -> None:
    assert was in CSV
    with pytest.raises(CalibrationInvalid) as refused:
        read_calibrations(CSV.replace(was, becomes, 1))
    assert what in refused.value.what


@pytest.mark.parametrize("other", [";", "\t"])
def test_a_file_without_commas_is_told_as_that(other: str) -> None:
    with pytest.raises(CalibrationInvalid, match="columns have to be separated by commas"):
        read_calibrations(CSV.replace(",", other))


@pytest.mark.parametrize("text", ["", CSV.splitlines()[0]])
def test_a_file_without_records_is_refused(text: str) -> None:
    with pytest.raises(CalibrationInvalid):
        read_calibrations(text)


@given(st.text(max_size=200))
def test_any_text_is_records_or_is_refused(text: str) -> None:
    with pytest.raises(CalibrationInvalid):
        read_calibrations(text)


def test_the_record_of_microscope_camera_and_magnification_is_the_scale_with_its_own_tolerance() -> None:
    scale = matching(MADE, read_calibrations(CSV), IN_TIME)
    assert scale == StatedScale(
        5.962, 5.962, ScaleOrigin.CALIBRATION_RECORD, 0.016, scale.reason if scale else ""
    )
    assert scale
    assert scale.reason == (
        "measured with catalase crystal on 2026-01-05, valid on 2026-06-01, when the read was asked for"
    )
    assert RECORD["by"] not in scale.reason


@pytest.mark.parametrize(
    "made",
    [
        replace(MADE, microscope="jem-1400  "),
        replace(MADE, camera=""),
        replace(MADE, magnification=6510),
    ],
)
def test_names_are_compared_as_people_write_them_and_a_camera_only_where_it_is_told(
    made: Acquisition,
) -> None:
    assert matching(made, read_calibrations(CSV), IN_TIME)


@pytest.mark.parametrize(
    "made",
    [
        replace(MADE, microscope=""),
        replace(MADE, magnification=None),
        replace(MADE, microscope="CM120"),
        replace(MADE, camera="Morada"),
        replace(MADE, magnification=6600),
    ],
)
def test_another_or_an_unknown_instrument_has_no_record_and_one_that_was_stated_is_refused(
    made: Acquisition,
) -> None:
    records = read_calibrations(CSV)
    assert matching(made, records, IN_TIME) is None
    with pytest.raises(CalibrationMissing):
        matching(made, records, IN_TIME, is_demanded=True)


def test_of_several_records_the_newest_of_those_valid_that_day_counts() -> None:
    old, new = record(), record(nm_per_px=6.02, date="2026-05-01", expires="2026-12-01")
    scales = {
        day: matching(MADE, [old, new], dt.date.fromisoformat(day))
        for day in ("2026-04-30", "2026-05-01", "2026-12-02")
    }
    assert [scale and scale.x_nm_per_px for scale in scales.values()] == [5.962, 6.02, 5.962]


@pytest.mark.parametrize("day", ["2026-01-04", "2027-01-06"])
def test_a_day_outside_every_record_is_refused(day: str) -> None:
    with pytest.raises(CalibrationExpired) as refused:
        matching(MADE, [record()], dt.date.fromisoformat(day))
    assert "expires 2027-01-05" in refused.value.what
    assert "when the read was asked for" in refused.value.what


def test_the_day_of_the_image_counts_before_that_of_the_request() -> None:
    made = replace(MADE, acquired="2026-03-04T10:11:12")
    scale = matching(made, [record()], as_of=dt.date(2030, 1, 1))
    assert scale
    assert "valid on 2026-03-04, when the image was made" in scale.reason
    with pytest.raises(CalibrationExpired):
        matching(replace(made, acquired="20300101"), [record()], as_of=IN_TIME)


def test_two_cameras_of_which_the_image_tells_none_are_refused() -> None:
    both = [record(), record(camera="Morada", nm_per_px=4.1)]
    with pytest.raises(CalibrationAmbiguous, match="Morada, Veleta"):
        matching(replace(MADE, camera=""), both, IN_TIME)
    assert matching(MADE, both, IN_TIME)


def test_what_is_stated_calls_an_instrument_by_the_records_name() -> None:
    unknown = Acquisition(microscope="TEM 2", magnification=6500)
    stated = StatedInstrument("JEM-1400", "Veleta")
    assert Calibrations((record(),), IN_TIME, stated).scale_of(unknown)
    assert Calibrations((record(),), IN_TIME).scale_of(unknown) is None


def test_a_stated_magnification_may_not_contradict_the_file() -> None:
    stated = StatedInstrument("JEM-1400", "Veleta", 12000)
    with pytest.raises(ScalesDisagree, match="12000 is stated; the file says 6500"):
        Calibrations(read_calibrations(CSV), IN_TIME, stated).scale_of(MADE)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-11-24T10:11:12Z", "2026-11-24"),
        ("20261124101112.5+0100", "2026-11-24"),
        ("11/24/2026 3:04:05 PM", "2026-11-24"),
        ("24/11/2026", "2026-11-24"),
        ("Tue Nov 24 10:11:45 2026", "2026-11-24"),
        ("4/4/2026", "2026-04-04"),
        ("3/4/2026", None),
        ("99/99/2026", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_day_is_told_from_an_instrument_s_text_only_without_doubt(text: str, day: str | None) -> None:
    assert date_of(text) == (dt.date.fromisoformat(day) if day else None)


@given(st.text(max_size=40))
def test_no_text_is_too_strange_for_a_day(text: str) -> None:
    date_of(text)


@given(st.lists(square_scales(), min_size=1, max_size=5))
def test_a_record_that_agrees_with_all_others_counts_before_tags_and_bars(found: list[StatedScale]) -> None:
    try:
        chosen = choose_scale(found)
    except ReadRefused:
        return
    origins = {scale.origin for scale in found}
    if ScaleOrigin.CALIBRATION_RECORD in origins:
        assert chosen.origin in {ScaleOrigin.CALIBRATION_RECORD, ScaleOrigin.OPERATOR}
    assert chosen.tolerance == min(scale.tolerance for scale in found if scale.origin == chosen.origin)


def test_a_record_that_disagrees_with_the_instrument_s_tag_is_refused_with_both_named() -> None:
    tag = StatedScale(6.9, 6.9, ScaleOrigin.INSTRUMENT_TAG)
    measured = matching(MADE, [record()], IN_TIME)
    assert measured
    with pytest.raises(ScalesDisagree) as refused:
        choose_scale([tag, measured])
    assert "6.9 nm/px (instrument_tag)" in refused.value.what
    assert "5.962 nm/px (calibration_record: measured with catalase crystal" in refused.value.what


@pytest.mark.parametrize("nm", [0.0, -4.6, float("inf"), float("nan"), 1e-6, 5e5])
def test_a_pixel_of_no_negative_or_absurd_size_counts_as_absent(nm: float) -> None:
    absurd = StatedScale(nm, nm, ScaleOrigin.INSTRUMENT_TAG)
    with pytest.raises(ScaleMissing):
        choose_scale([absurd])
    assert choose_scale([absurd, StatedScale(4.6, 4.6, ScaleOrigin.OME)]).nm_per_px == 4.6


def test_json_rows_are_counted_from_one() -> None:
    with pytest.raises(CalibrationInvalid, match="row 2: by"):
        checked_calibrations([RECORD, {**RECORD, "date": "2026-02-01", "by": ""}])
