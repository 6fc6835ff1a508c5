"""`ultraread records` against a real server: fill, link, review, ask, and what that supports."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import ultraread
from scan_records import COMPLETE
from serving_api import served
from simulated import simulated_colours, simulated_tissue, write_tiff

from ultraread.errors import RequestInvalid
from ultraread.serving.api.app import create_api
from ultraread.serving.client import Client
from ultraread.serving.record_words import patch_of, with_options
from ultraread.serving.settings import Settings

STATED = {name: value for name, value in COMPLETE.items() if name != "quality_review"}
SCALE = ("--nm-per-px", 4.6, "--reason", "simulated")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data") / "ultraread")
    with served(create_api(settings)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


@pytest.fixture
def field(tmp_path: Path) -> Path:
    return write_tiff(tmp_path / "field.tif", simulated_tissue(384, 384))


@pytest.fixture
def record_id(client: Client, field: Path) -> str:
    return str(client.file_slide([client.upload(field)])["scan_record_id"])


def test_a_record_is_filled_and_shown_without_what_is_unknown(url: str, record_id: str) -> None:
    words = ("accession=SIM-1", "digitized.purpose=primary", "primary_units=1")
    told = ultraread("records", "set", record_id, *words, "--url", url, "--json").printed
    assert (told["accession"], told["digitized"]["purpose"], told["primary_units"]) == ("SIM-1", "primary", 1)
    changed = ultraread("records", "set", record_id, "accession=", "--url", url)
    assert changed.out == f"{record_id}: revision 3, no quality review stands\n"
    shown = ultraread("records", "show", record_id, "--url", url)
    lines = shown.out.splitlines()
    assert {"digitized.purpose: primary", "primary_units: 1", "revision: 3"} <= set(lines)
    assert "accession" not in shown.out
    assert ultraread("records", "show", record_id, "--url", url, "--json").printed["accession"] is None


def test_a_word_that_states_nothing_known_is_refused(url: str, record_id: str) -> None:
    for word, says in (
        ("accession", "accession is not FIELD=VALUE"),
        ("=x", "is not FIELD=VALUE"),
        ("acession=x", "acession: no field"),
        ("primary_units=two", "a number, true or false is asked for"),
        ("digitized.purpose=money", "digitized.purpose: Input should be"),
    ):
        ended = ultraread("records", "set", record_id, word, "--url", url)
        assert (ended.status, says in ended.err) == (2, True), ended.err


def test_submit_states_the_record_by_a_file_and_options_over_it(
    url: str, client: Client, field: Path, tmp_path: Path
) -> None:
    stated = tmp_path / "record.json"
    stated.write_text(json.dumps(STATED))
    options = ("--accession", "SIM-9", "--purpose", "research", "--block", "B7", "--digitized", "grid")
    sent = ultraread("submit", field, "--record", stated, *options, *SCALE, "--url", url, "--json")
    assert sent.status == 0, sent.err
    record_id = sent.err.partition("ultraread records show ")[2].split()[0]
    told = client.scan_record(record_id)
    assert (told["accession"], told["block"], told["digitized"]["object"]) == ("SIM-9", "B7", "grid")
    assert (told["digitized"]["purpose"], told["digitized"]["operator"]) == ("research", "Simulated Operator")
    assert told["interpretation"]["place"] == "Simulated Laboratory"
    listed = ultraread("records", "ls", "--url", url).out.splitlines()
    assert listed[0].split() == ["record", "case", "slide", "accession", "digitized"]
    assert listed[1].split() == [record_id, "-", told["slide_id"], "SIM-9", "grid"]


def test_where_there_are_no_records_a_list_says_so(url: str) -> None:
    assert ultraread("records", "ls", "--case", "nobody's", "--url", url).out == "no scan records\n"
    assert ultraread("calibrations", "ls", "--url", url).out == "no calibration records\n"


@pytest.mark.parametrize("text", ["no json", "[1]"])
def test_a_record_file_that_is_none_is_refused_before_anything_is_sent(
    url: str, field: Path, tmp_path: Path, text: str
) -> None:
    stated = tmp_path / "record.json"
    stated.write_text(text)
    ended = ultraread("submit", field, "--record", stated, "--url", url)
    assert (ended.status, ended.err.startswith("error[request_invalid]: record.json")) == (2, True)


def test_a_complete_record_is_reviewed_and_then_supports(url: str, client: Client, field: Path) -> None:
    record_id = str(client.file_slide([client.upload(field)], **STATED)["scan_record_id"])
    before = ultraread("records", "billing", record_id, "--url", url)
    assert before.out.splitlines()[0] == "0856T: ask_coder"
    assert "ask_coder         quality_review: No quality review" in before.out
    signed = ("--who", "Simulated Reviewer", "--why", "compared")
    old = ultraread("records", "review", record_id, *signed, "--complete", "--revision", 9, "--url", url)
    assert (old.status, old.err.startswith("error[precondition_failed]")) == (2, True)
    told = ultraread("records", "review", record_id, *signed, "--complete", "--url", url, "--json").printed
    assert (told["quality_review"]["complete"], told["quality_review"]["revision"]) == (True, 1)
    assert ultraread("records", "billing", record_id, "--url", url, "--json").printed["answer"] == "supports"
    ultraread("records", "review", record_id, *signed, "--not-complete", "--url", url)
    assert ultraread("records", "billing", record_id, "--url", url).out.startswith("0856T: does_not_support")


def test_a_question_is_asked_and_answered(url: str, record_id: str) -> None:
    words = ("--who", "A. One", "--of", "B. Two", "--question", "fibrils?", "--further-analysis")
    asked = ultraread("records", "consult", record_id, *words, "--url", url, "--json").printed
    (question,) = asked["consultations"]
    answer = ("answer", record_id, question["id"], "--who", "B. Two", "--text", "none in these fields")
    told = ultraread("records", *answer, "--url", url, "--json").printed
    assert told["consultations"][0]["answer"]["text"] == "none in these fields"
    assert told["consultations"][0]["kind"] == "further_analysis"


def test_a_region_of_the_glass_slide_is_linked_to_grid_and_field(
    url: str, client: Client, field: Path, tmp_path: Path
) -> None:
    client.ensure_case("C-1")
    glass_file = write_tiff(tmp_path / "glass.tif", simulated_colours(100, 80), nm_per_px=250)
    glass = client.file_slide([client.upload(glass_file)], case_id="C-1")
    em = client.file_slide([client.upload(field)], case_id="C-1")
    link = ("records", "link", glass["scan_record_id"], "--who", "A. One", "--url", url, "--json")
    ultraread(*link, "--region", "1,2,30,40", "--grid", "A1-G1")
    linked = ultraread(*link, "--region", "5,6,7,8", "--slide", em["id"]).printed["links"]
    assert [each["relation"] for each in linked] == ["region_on_grid", "field_of_region"]
    assert linked[0]["from"]["box_px"] == {"x": 1, "y": 2, "width": 30, "height": 40}
    assert linked[1]["to"] == {"grid_id": None, "slide_id": em["id"], "image": 0}
    outside = ultraread(*link, "--region", "90,2,30,40", "--grid", "A1-G1")
    assert (outside.status, outside.problem["code"]) == (2, "link_invalid")
    assert ultraread(*link, "--region", "1,2,3,4").problem["code"] == "request_invalid"


def test_words_become_a_merge_patch() -> None:
    words = ["block=", "digitized.note=a=b", "interpretation.report_says_digital=true"]
    wanted = {"block": None, "digitized": {"note": "a=b"}, "interpretation": {"report_says_digital": True}}
    assert patch_of(words) == wanted
    with pytest.raises(RequestInvalid, match="lies in a field that is set itself"):
        patch_of(["digitized=x", "digitized.note=y"])


def test_options_stand_over_the_file_and_leave_it_as_it_is() -> None:
    stated = {"digitized": {"object": "grid", "note": "n"}}
    over = with_options(stated, {"digitized.object": "film", "block": None})
    assert over == {"digitized": {"object": "film", "note": "n"}}
    assert stated["digitized"]["object"] == "grid"
