"""Scan records over HTTP: who changes one says which revision; the trail keeps old and new."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from scan_records import COMPLETE, a_link
from serving_api import FileSlide, asked, served
from simulated import simulated_tissue, write_semithin, write_tiff

from ultraread.datasets.corpora import fetch
from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.scan_record.record import ScanRecord
from ultraread.serving.api.app import create_api
from ultraread.serving.api.service import Service
from ultraread.serving.settings import Settings
from ultraread.serving.store.idempotency import release_interrupted
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.records import pinned_specimens, specimens_of
from ultraread.serving.store.tables import MAIN_SITE, IdempotencyRow, ReadRow

STATED = {name: value for name, value in COMPLETE.items() if name != "quality_review"}
SIGNED = {"who": "Simulated Reviewer", "complete": True, "why": "compared with the requisition"}
ASKED = {"asked_by": "A. One", "asked_of": "B. Two", "question": "are these fibrils?"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """One service for all tests of this file."""
    return create_api(Settings(data_dir=tmp_path_factory.mktemp("data") / "ultraread"))


@pytest.fixture(scope="module")
def http(api: FastAPI) -> Iterator[httpx.Client]:
    with served(api) as address, asked(address) as client:
        yield client


@pytest.fixture
def field(tmp_path: Path) -> Path:
    return write_tiff(tmp_path / "field.tif", simulated_tissue(120, 90), nm_per_px=2.5)


@pytest.fixture
def key() -> dict[str, str]:
    return {"Idempotency-Key": new_id()}


@pytest.fixture
def case_id(http: httpx.Client) -> str:
    return str(http.post("/v1/cases", json={}).json()["id"])


@pytest.fixture
def record_id(file_slide: FileSlide, field: Path) -> str:
    return str(file_slide(field)["scan_record_id"])


def tag(revision: int) -> dict[str, str]:
    return {"If-Match": f'"{revision}"'}


def patch(http: httpx.Client, record_id: str, change: dict[str, Any], **headers: str) -> httpx.Response:
    return http.patch(f"/v1/scan-records/{record_id}", json=change, headers=headers)


def test_filing_keeps_what_is_stated_and_what_the_file_tells(
    http: httpx.Client, file_slide: FileSlide, field: Path
) -> None:
    filed = file_slide(field, **STATED)
    answer = http.get(f"/v1/scan-records/{filed['scan_record_id']}")
    told = answer.json()
    assert {name: _known(told[name]) for name in STATED} == STATED
    assert (answer.headers["etag"], told["revision"], told["slide_id"]) == ('"1"', 1, filed["id"])
    (image,) = told["from_file"]["images"]
    assert (image["width_px"], image["height_px"], image["bit_depth"]) == (120, 90, 8)
    assert image["scales"][0]["x_nm_per_px"] == pytest.approx(2.5)
    assert told["from_file"]["files"] == [{"sha256": sha256_of_file(field), "bytes": field.stat().st_size}]
    assert [(copy["place"], copy["state"], copy["sha256"]) for copy in told["storage"]] == [
        ("first", "good", filed["sha256"])
    ]
    assert ScanRecord.model_validate({name: told[name] for name in ScanRecord.model_fields})
    assert http.get("/v1/scan-records").json()["items"][0] == told


def test_what_an_instrument_wrote_is_filed_but_its_time(http: httpx.Client, file_slide: FileSlide) -> None:
    filed = file_slide(fetch("instrument_samples/Camera Ceta Imaging Micro.emd"))
    told = http.get(f"/v1/scan-records/{filed['scan_record_id']}").json()["from_file"]
    (image,) = told["images"]
    assert (told["format"], image["acquisition"]["accelerating_kv"]) == ("emd_velox", 300)
    assert image["acquisition"]["magnification"] == pytest.approx(26996.349)
    assert image["acquisition"]["acquired"] is None
    assert image["scales"][0]["origin"] == "instrument_tag"
    assert "2020-07-29" not in str(told)


def test_a_record_of_which_nothing_was_stated_guesses_nothing(http: httpx.Client, record_id: str) -> None:
    told = http.get(f"/v1/scan-records/{record_id}").json()
    stated = [_known(told[name]) for name in STATED]
    assert [one for one in stated if one is not None] == [{}, {}, {}]


def test_what_is_unknown_or_impossible_is_not_filed(
    http: httpx.Client, file_slide: FileSlide, field: Path
) -> None:
    before = http.get("/v1/scan-records").json()
    for wrong in ({"digitized": {"purpose": "money"}}, {"acession": "S26-1"}, {"links": []}):
        with pytest.raises(AssertionError, match="request_invalid"):
            file_slide(field, **wrong)
    assert http.get("/v1/scan-records").json() == before


def test_a_change_raises_the_revision_and_leaves_old_and_new_in_the_trail(
    http: httpx.Client, record_id: str
) -> None:
    first = patch(http, record_id, {"accession": "SIM-1", "digitized": {"purpose": "primary"}}, **tag(1))
    assert (first.status_code, first.headers["etag"], first.json()["revision"]) == (200, '"2"', 2)
    second = patch(http, record_id, {"accession": "SIM-2", "digitized": {"note": "again"}}, **tag(2)).json()
    assert (second["accession"], second["digitized"]["purpose"]) == ("SIM-2", "primary")
    event = http.get("/v1/audit", params={"subject": record_id}).json()["items"][-1]
    assert (event["what"], event["detail"]["revision"]) == ("scan_record_changed", 3)
    assert event["detail"]["changed"] == {
        "accession": {"old": "SIM-1", "new": "SIM-2"},
        "digitized.note": {"old": None, "new": "again"},
    }
    same = patch(http, record_id, {"accession": "SIM-2"}, **tag(3))
    assert (same.status_code, same.headers["etag"]) == (200, '"3"'), "nothing changed"


REFUSED_TAGS = [
    (None, 428, "precondition_required"),
    ("*", 428, "precondition_required"),
    ('"2"', 412, "precondition_failed"),
    ('W/"1"', 412, "precondition_failed"),
    ("1", 412, "precondition_failed"),
    ('"x"', 412, "precondition_failed"),
]


def test_a_change_of_no_revision_or_of_another_one_is_refused(http: httpx.Client, record_id: str) -> None:
    address = f"/v1/scan-records/{record_id}"
    for if_match, status, code in REFUSED_TAGS:
        headers = {} if if_match is None else {"If-Match": if_match}
        for answer in (
            http.patch(address, json={"block": "A"}, headers=headers),
            http.post(f"{address}/quality-review", json=SIGNED, headers=headers),
        ):
            assert (answer.status_code, answer.json()["code"]) == (status, code), if_match
            assert answer.headers["content-type"] == "application/problem+json"
    assert http.get(address).json()["revision"] == 1


def test_a_field_that_no_person_states_and_what_is_no_patch_are_refused(
    http: httpx.Client, record_id: str
) -> None:
    merge = {"Content-Type": "application/merge-patch+json", **tag(1)}
    for change in (
        b'{"id": "x"}', b'{"colour": "red"}', b'{"storage": null}', b'{"digitized": {"x": 1}}',
        b'{"digitized": {"a": ' + b'{"a":' * 5000 + b"1" + b"}" * 5002, b"[1]", b"{", b'"a"', b"\xff", b"",
    ):  # fmt: skip
        answer = http.patch(f"/v1/scan-records/{record_id}", content=change, headers=merge)
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid"), change[:40]
    assert http.get(f"/v1/scan-records/{record_id}").json()["revision"] == 1


def test_the_media_type_of_merge_patches_is_taken(http: httpx.Client, record_id: str) -> None:
    answer = http.patch(
        f"/v1/scan-records/{record_id}",
        content=b'{"block": "A"}',
        headers={"Content-Type": "application/merge-patch+json", **tag(1)},
    )
    assert (answer.status_code, answer.json()["block"]) == (200, "A")


def test_of_changes_to_one_revision_one_is_taken(http: httpx.Client, record_id: str) -> None:
    with ThreadPoolExecutor(4) as people:
        answers = list(people.map(lambda n: patch(http, record_id, {"block": f"B{n}"}, **tag(1)), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 7]
    kept = next(answer.json()["block"] for answer in answers if answer.status_code == 200)
    assert http.get(f"/v1/scan-records/{record_id}").json()["block"] == kept


def test_a_review_names_the_revision_it_saw_and_a_later_change_takes_it_away(
    http: httpx.Client, record_id: str
) -> None:
    address = f"/v1/scan-records/{record_id}"
    answer = http.post(f"{address}/quality-review", json=SIGNED, headers=tag(1))
    signed = answer.json()["quality_review"]
    assert (answer.status_code, answer.headers["location"]) == (201, address)
    assert {name: signed[name] for name in (*SIGNED, "revision")} == {**SIGNED, "revision": 1}
    http.post(f"{address}/consultations", json=ASKED)
    assert http.get(address).json()["quality_review"] == signed, "asking changes nothing that was reviewed"
    changed = patch(http, record_id, {"block": "A"}, **tag(3)).json()
    assert (changed["quality_review"], changed["earlier_reviews"]) == (None, [signed])


def test_a_repeated_review_or_question_is_made_once(
    http: httpx.Client, record_id: str, key: dict[str, str]
) -> None:
    address = f"/v1/scan-records/{record_id}"
    for route, body, headers in (
        ("quality-review", SIGNED, {**key, **tag(1)}),
        ("consultations", ASKED, {"Idempotency-Key": new_id()}),
    ):
        first, again = (http.post(f"{address}/{route}", json=body, headers=headers) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == first.json()
    assert http.get(address).json()["revision"] == 3
    other = http.post(f"{address}/quality-review", json=SIGNED, headers={**key, **tag(3)})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")


@pytest.mark.parametrize(("route", "body"), [("quality-review", SIGNED), ("consultations", ASKED)])
def test_what_was_made_by_a_request_whose_answer_was_lost_is_not_made_again(
    api: FastAPI, http: httpx.Client, record_id: str, key: dict[str, str], route: str, body: dict[str, Any]
) -> None:
    service: Service = api.state.service
    address = f"/v1/scan-records/{record_id}/{route}"
    made = http.post(address, json=body, headers={**key, **tag(1)}).json()
    with service.store.writing() as session:
        row = session.get_one(IdempotencyRow, (MAIN_SITE, key["Idempotency-Key"]))
        row.status = row.location = row.body = None
    release_interrupted(service.store)
    again = http.post(address, json=body, headers={**key, **tag(1)})
    assert (again.status_code, again.json()) == (201, made)


def test_a_consultation_is_asked_and_answered_once(http: httpx.Client, record_id: str) -> None:
    address = f"/v1/scan-records/{record_id}/consultations"
    (asked,) = http.post(address, json={**ASKED, "kind": "further_analysis"}).json()["consultations"]
    assert (asked["question"], asked["answer"], asked["kind"]) == (
        ASKED["question"],
        None,
        "further_analysis",
    )
    told = http.post(f"{address}/{asked['id']}/answer", json={"who": "B. Two", "text": "no"})
    assert told.status_code == 201
    assert told.json()["consultations"][0]["answer"]["text"] == "no"
    second = http.post(f"{address}/{asked['id']}/answer", json={"who": "B. Two", "text": "yes"})
    assert (second.status_code, second.json()["code"]) == (409, "answered_already")
    assert http.post(f"{address}/none/answer", json={"who": "B", "text": "y"}).json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("POST", "/quality-review"),
        ("POST", "/consultations"),
        ("GET", "/billing-support"),
    ],
)
def test_an_unknown_record_is_not_found(http: httpx.Client, method: str, route: str) -> None:
    body = {"": {}, "/quality-review": SIGNED, "/consultations": ASKED}.get(route)
    answer = http.request(method, f"/v1/scan-records/none{route}", json=body, headers=tag(1))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_billing_support_tells_every_rule_and_follows_the_record(
    http: httpx.Client, file_slide: FileSlide, field: Path, case_id: str
) -> None:
    filed = file_slide(field, case_id=case_id, **STATED)
    address = f"/v1/scan-records/{filed['scan_record_id']}"
    before = http.get(f"{address}/billing-support").json()
    assert (before["code"], before["answer"], before["revision"]) == ("0856T", "ask_coder", 1)
    assert [one["rule"] for one in before["reasons"] if one["answer"] != "supports"] == ["quality_review"]
    http.post(f"{address}/quality-review", json=SIGNED, headers=tag(1))
    assert http.get(f"{address}/billing-support").json()["answer"] == "supports"
    other = write_tiff(field.with_name("other.tif"), simulated_tissue(120, 90, seed=1))
    file_slide(other, case_id=case_id, **STATED)
    second = http.get(f"{address}/billing-support").json()
    assert second["answer"] == "does_not_support"
    refused = [one["rule"] for one in second["reasons"] if one["answer"] == "does_not_support"]
    assert refused == ["units_on_date", "units_of_primary"]


def test_the_glass_slide_of_a_case_leads_over_the_grid_to_the_field(
    http: httpx.Client, file_slide: FileSlide, field: Path, case_id: str
) -> None:
    other_case = http.post("/v1/cases", json={}).json()["id"]
    glass_file = write_semithin(field.with_name("glass.tif"), 600, 400)
    glass = file_slide(glass_file, case_id=case_id, digitized={"object": "semithin_glass"})
    em = file_slide(field, case_id=case_id, grid_or_slide_id="A1-G1", digitized={"object": "grid"})
    elsewhere = file_slide(field, case_id=other_case)
    links = [a_link(glass["id"], grid_id="A1-G1"), a_link(glass["id"], slide_id=em["id"], image=0)]
    linked = patch(http, glass["scan_record_id"], {"links": links}, **tag(1))
    assert (linked.status_code, len(linked.json()["links"])) == (200, 2), linked.text
    box = {"x": 10, "y": 10, "width": 20, "height": 20}
    shown = {
        "slide_id": glass["id"],
        "image": 0,
        "box_px": box,
        "fields": [{"slide_id": em["id"], "image": 0}],
    }
    assert http.get(f"/v1/cases/{case_id}/links").json() == [
        {**shown, "grid_id": "A1-G1"},
        {**shown, "grid_id": None},
    ]
    assert http.get(f"/v1/cases/{other_case}/links").json() == []
    for wrong in (
        a_link(glass["id"], slide_id=elsewhere["id"], image=0),
        a_link(glass["id"], slide_id=em["id"], image=1),
        a_link(em["id"], grid_id="A1-G1"),
    ):
        refused = patch(http, glass["scan_record_id"], {"links": [wrong]}, **tag(2))
        assert (refused.status_code, refused.json()["code"]) == (422, "link_invalid")
    back = a_link(em["id"], slide_id=glass["id"], image=0)
    circle = patch(http, em["scan_record_id"], {"links": [back]}, **tag(1))
    assert (circle.status_code, circle.json()["code"]) == (422, "link_invalid")
    assert http.get(f"/v1/scan-records/{em['scan_record_id']}").json()["revision"] == 1


def test_a_read_goes_on_with_the_specimen_that_was_stated_when_it_was_asked_for(
    api: FastAPI, http: httpx.Client, file_slide: FileSlide, em_field: Path
) -> None:
    service: Service = api.state.service
    filed = file_slide(em_field, specimen="drosophila ventral nerve cord")
    wanted = {"slide_ids": [filed["id"]], "scale": {"nm_per_px": 4.6, "reason": "data set's description"}}
    read = http.post("/v1/reads", json=wanted).json()
    assert patch(http, filed["scan_record_id"], {"specimen": "kidney"}, **tag(1)).status_code == 200
    with service.store.reading() as session:
        assert specimens_of(session, [filed["id"]]) == ["kidney"]
        row = session.get_one(ReadRow, read["id"])
        assert pinned_specimens(session, row) == ["drosophila ventral nerve cord"]


def _known(value: Any) -> Any:  # noqa: ANN401
    """Without what is unknown."""
    if isinstance(value, dict):
        return {name: each for name, each in value.items() if each is not None}
    return value
