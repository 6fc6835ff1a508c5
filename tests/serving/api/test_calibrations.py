"""Calibration records come in by CSV or JSON, stay as they are, and count in the reads that follow."""

from pathlib import Path

import httpx
import pytest
from calibrations import CSV, RECORD
from drawn_bar import DrawnBar, field_of_noise, save, with_bars
from serving_api import FileSlide

from ultraread.datasets.corpora import fetch

AS_CSV = {"content-type": "text/csv; charset=utf-8"}
VNC = {**RECORD, "microscope": "TEM 1", "camera": "CCD", "magnification": 8000, "nm_per_px": 4.6}
INSTRUMENT = {"microscope": "TEM 1", "camera": "CCD", "magnification": 8000}
IN_TIME = "2026-06-01"
OF_2018 = "nerve_myelin/raw/HPF4-483S1-4B-6500x-1.tif"


def _bring_in(http: httpx.Client, *records: dict[str, object]) -> httpx.Response:
    return http.post("/v1/calibrations", json={"records": list(records)})


def _ask(http: httpx.Client, slide_id: str, **wanted: object) -> httpx.Response:
    return http.post("/v1/reads", json={"slide_ids": [slide_id], "as_of": IN_TIME, **wanted})


def test_records_come_in_as_csv_or_json_and_are_listed_in_their_order(http: httpx.Client) -> None:
    answer = http.post("/v1/calibrations", content=CSV.encode(), headers=AS_CSV)
    assert answer.status_code == 201, answer.text
    assert _bring_in(http, VNC).status_code == 201
    first = http.get("/v1/calibrations", params={"limit": 2}).json()
    rest = http.get("/v1/calibrations", params={"cursor": first["next_cursor"]}).json()
    listed = [*first["items"], *rest["items"]]
    assert [one["record"]["magnification"] for one in listed] == [6500, 12000, 8000]
    assert rest["next_cursor"] is None


def test_what_is_there_already_stays_and_is_no_second_record(http: httpx.Client) -> None:
    one, again = _bring_in(http, VNC).json(), _bring_in(http, VNC, VNC).json()
    assert [each["sequence"] for each in again["items"]] == [one["items"][0]["sequence"]] * 2
    assert len(http.get("/v1/calibrations").json()["items"]) == 1
    events = http.get("/v1/audit", params={"subject": "calibrations"}).json()["items"]
    assert [event["detail"]["added"] for event in events] == [1]
    assert RECORD["by"] not in str(events)


@pytest.mark.parametrize(
    ("body", "headers", "what"),
    [
        (CSV.replace("0.016", "x"), AS_CSV, "row 2: tolerance"),
        (b"\xff\xfe", AS_CSV, "UTF-8"),
        ("[]", {}, "in JSON"),
        ('{"records": []}', {}, "0 records"),
        ('{"records": [{"microscope": "a"}]}', {}, "row 1: camera"),
    ],
)
def test_records_that_cannot_be_trusted_are_refused_and_none_is_kept(
    http: httpx.Client, body: str | bytes, headers: dict[str, str], what: str
) -> None:
    refused = http.post("/v1/calibrations", content=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "calibration_invalid")
    assert what in refused.json()["detail"]
    assert http.get("/v1/calibrations").json()["items"] == []


def test_a_record_that_contradicts_one_of_the_same_place_and_day_is_refused(http: httpx.Client) -> None:
    _bring_in(http, VNC)
    refused = _bring_in(http, {**VNC, "nm_per_px": 4.9})
    assert refused.json()["code"] == "calibration_invalid"
    assert len(http.get("/v1/calibrations").json()["items"]) == 1


def test_a_body_without_end_is_cut_off(http: httpx.Client) -> None:
    refused = http.post("/v1/calibrations", content=b"x" * (2**20 + 1), headers=AS_CSV)
    assert (refused.status_code, refused.json()["code"]) == (413, "upload_too_large")


def test_a_repeated_import_under_a_key_gives_the_same_answer(http: httpx.Client) -> None:
    key = {"Idempotency-Key": "import-1"}
    one = http.post("/v1/calibrations", json={"records": [VNC]}, headers=key)
    other = http.post("/v1/calibrations", json={"records": [VNC]}, headers=key)
    assert one.json() == other.json()
    changed = http.post("/v1/calibrations", json={"records": [RECORD]}, headers=key)
    assert changed.json()["code"] == "idempotency_conflict"


def test_a_read_uses_the_records_and_names_the_day_and_the_last_of_them(
    http: httpx.Client, em_field: Path, file_slide: FileSlide
) -> None:
    slide = file_slide(em_field)
    assert _ask(http, slide["id"]).json()["code"] == "slide_no_pixel_size"
    kept = _bring_in(http, VNC).json()["items"][0]["sequence"]
    read = _ask(http, slide["id"], instrument=INSTRUMENT)
    assert read.status_code == 202, read.text
    assert (read.json()["as_of"], read.json()["calibrations_upto"]) == (IN_TIME, kept)
    assert read.json()["instrument"] == INSTRUMENT


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"instrument": {**INSTRUMENT, "microscope": "TEM 2"}}, "calibration_missing"),
        ({"instrument": INSTRUMENT, "as_of": "2031-01-01"}, "calibration_expired"),
        ({"instrument": {**INSTRUMENT, "camera": ""}}, "calibration_ambiguous"),
        ({"instrument": INSTRUMENT, "scale": {"nm_per_px": 6, "reason": "a guess"}}, "slide_scales_disagree"),
    ],
)
def test_doubt_about_a_record_refuses_the_read_and_keeps_the_slide(
    http: httpx.Client, em_field: Path, file_slide: FileSlide, wanted: dict[str, object], code: str
) -> None:
    _bring_in(http, VNC, {**VNC, "camera": "other", "nm_per_px": 3.1})
    slide = file_slide(em_field)
    refused = _ask(http, slide["id"], **wanted)
    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert refused.json()["remedy"]
    assert http.get(f"/v1/slides/{slide['id']}").status_code == 200


def test_a_record_that_disagrees_with_the_instrument_s_tag_is_refused_with_both_named(
    http: httpx.Client, file_slide: FileSlide
) -> None:
    """The field of 2018 tells its camera, magnification and day itself; the microscope is stated."""
    slide = file_slide(fetch(OF_2018))
    _bring_in(http, {**RECORD, "camera": "Quemesa IntX", "nm_per_px": 7.1, "date": "2018-01-02"})
    refused = _ask(http, slide["id"], instrument={"microscope": "JEM-1400"})
    assert refused.json()["code"] == "slide_scales_disagree"
    for named in ("5.962 nm/px (instrument_tag)", "7.1 nm/px (calibration_record"):
        assert named in refused.json()["detail"]
    assert "valid on 2018-04-25, when the image was made" in refused.json()["detail"]


def test_a_record_made_after_the_image_does_not_count_for_it(
    http: httpx.Client, file_slide: FileSlide
) -> None:
    slide = file_slide(fetch(OF_2018))
    _bring_in(http, {**RECORD, "camera": "Quemesa IntX"})
    refused = _ask(http, slide["id"], instrument={"microscope": "JEM-1400"})
    assert refused.json()["code"] == "calibration_expired"
    assert "not valid on 2018-04-25" in refused.json()["detail"]


def test_a_burnt_in_bar_is_among_a_filed_slide_s_scales(http: httpx.Client, file_slide: FileSlide) -> None:
    (image,) = file_slide(fetch("kidney_tem_glomerulus/A1--0024.jpg"))["images"]
    (scale,) = image["scales"]
    assert scale["origin"] == "burnt_in_bar"
    assert scale["x_nm_per_px"] == pytest.approx(3.26, rel=0.002)
    assert "2000 nm" in scale["reason"]


def test_a_burnt_in_bar_admits_a_read_and_one_that_contradicts_what_is_stated_refuses_it(
    http: httpx.Client, file_slide: FileSlide, tmp_path: Path
) -> None:
    bar = DrawnBar(217, "1 um", 60, 640)  # 4.6 nm/px
    slide = file_slide(save(tmp_path / "field.png", with_bars(field_of_noise(), bar)))
    assert _ask(http, slide["id"]).status_code == 202
    refused = _ask(http, slide["id"], scale={"nm_per_px": 5.962, "reason": "another microscope"})
    assert refused.json()["code"] == "slide_scales_disagree"
    assert "burnt_in_bar" in refused.json()["detail"]
