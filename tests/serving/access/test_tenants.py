"""Two sites: of what the other one has, nothing is learned, its existence included."""

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from calibrations import RECORD
from serving_api import bearer, file_over_http
from simulated import simulated_tissue, write_tiff
from sqlalchemy import delete, update
from two_sites import UNKNOWN, TwoSites, filled, operations, two_sites

from ultraread.serving.access.routes import TABLE, Operation
from ultraread.serving.store.access_tables import UserRow
from ultraread.serving.store.engine import Store
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.jobs import ReadResult
from ultraread.serving.store.tables import CaseRow, ReadState, StoredRow

NORTON = {"name": "norton", "roles": ["auditor"], "issuer": "i", "subject": "s"}
TOKEN = {"name": "northern", "roles": ["auditor"]}
SCALE = {"nm_per_px": 4.6, "reason": "a reason of the north"}
BY_HOLE = {
    "upload_id": "upload",
    "slide_id": "slide",
    "case_id": "case",
    "record_id": "record",
    "read_id": "read",
    "token_id": "token",
    "user_id": "user",
    "webhook_id": "webhook",
    "identifier": "picture",
}
"""Which id belongs into which hole; `consultation_id` is asked for with the record's."""
BODIES: dict[str, Any] = {
    "PATCH /v1/scan-records/{record_id}": {"accession": "S26-9"},
    "POST /v1/scan-records/{record_id}/quality-review": {"who": "Q. Tester", "complete": True, "why": "all"},
    "POST /v1/scan-records/{record_id}/consultations": {
        "asked_by": "A", "asked_of": "B", "question": "What?", "kind": "consultation",
    },
    "POST /v1/scan-records/{record_id}/consultations/{consultation_id}/answer": {"who": "B", "text": "That."},
    "PUT /v1/users/{user_id}/roles": {"roles": ["auditor"]},
}  # fmt: skip
OF_ONE_REQUEST = {"date", "x-request-id", "server"}
ROUNDS = 40


@dataclass(frozen=True)
class North:
    """What the site filed, by kind, and a client of each site that may do everything there."""

    both: TwoSites
    ids: dict[str, str]
    north: httpx.Client
    main: httpx.Client

    def told_main(self, text: str) -> list[str]:
        """Ids of the north in what was answered to the main site."""
        return [kind for kind, each in self.ids.items() if each in text]


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory, database: dict[str, str]) -> Iterator[North]:
    folder = tmp_path_factory.mktemp("tenants")
    with two_sites(folder, **database) as both:
        clients = [
            httpx.Client(base_url=both.http.base_url, timeout=30, headers=bearer(both.tokens[site, "all"]))
            for site in ("north", "main")
        ]
        north, main = clients
        yield North(both, _file_everything(both, north, folder), north, main)
        for client in clients:
            client.close()


def _file_everything(both: TwoSites, http: httpx.Client, folder: Path) -> dict[str, str]:
    """One of each kind, with a finished read."""
    case = http.post("/v1/cases", json={"id": new_id()}).json()["id"]
    slide = file_over_http(http, write_tiff(folder / "north.tif", simulated_tissue(400, 320)), case_id=case)
    asked = http.post("/v1/reads", json={"slide_ids": [slide["id"]], "scale": SCALE})
    assert asked.status_code == 202, asked.text
    read = asked.json()["id"]
    service = both.app.state.service
    claim = service.jobs.claim("a test")
    result = service.settings.result_dir(read, claim.epoch) / slide["id"]
    result.mkdir(parents=True)
    for name in ("findings.json", "tiles.csv", "overlay.geojson", "heatmap.png", "thumbnail.png"):
        (result / name).write_text("{}")
    service.jobs.finish(claim, ReadState.SUCCEEDED, ReadResult())
    user = http.post("/v1/users", json=NORTON)
    token = http.post("/v1/tokens", json=TOKEN)
    upload = http.post("/v1/uploads", json={"file_name": "a.tif", "bytes": 9, "sha256": "a" * 64})
    found = {"case": case, "slide": slide["id"], "record": slide["scan_record_id"], "read": read}
    found |= {"user": user.json()["id"], "token": token.json()["id"], "upload": upload.json()["id"]}
    calibration = RECORD
    http.post("/v1/calibrations", json={"records": [calibration]})
    return found | {"picture": f"{slide['id']}-0"}


def _with_ids(both: TwoSites) -> list[Operation]:
    """Routes with an id of somebody."""
    return [one for one in operations(both.app) if any(f"{{{hole}}}" in one.path for hole in BY_HOLE)]


def test_an_id_of_the_other_site_is_an_id_of_nothing(filed: North) -> None:
    asked = _with_ids(filed.both)
    assert len(asked) > 30
    for one in asked:
        theirs = _ask(filed.main, one, filed.ids)
        nobodys = _ask(filed.main, one, {})
        assert _plain(theirs, filed.ids) == _plain(nobodys, {}), one
        assert theirs.status_code == 404, (one, theirs.text)


def test_what_expired_at_the_other_site_is_nothing_either(filed: North) -> None:
    asked = [one for one in _with_ids(filed.both) if one.method == "GET"]
    with _expired(filed) as gone:
        for one in asked:
            theirs, nobodys = _ask(filed.main, one, filed.ids), _ask(filed.main, one, {})
            assert _plain(theirs, filed.ids) == _plain(nobodys, {}), one
        told = {_ask(filed.north, one, filed.ids).json().get("code") for one in asked if "image" in one.path}
    assert gone == 2, "a slide and a result"
    assert "storage_expired" in told, "and to the site itself they are what they are"


@contextmanager
def _expired(filed: North) -> Iterator[int]:
    """As the retention rule leaves what the site filed."""
    mine = StoredRow.id.in_([filed.ids["slide"], filed.ids["read"]])
    store: Store = filed.both.app.state.service.store
    tombstone = {"who": "a rule", "why": "its time was over", "at": "2026-01-01T00:00:00.000Z"}
    with store.writing() as session:
        gone = session.execute(update(StoredRow).where(mine).values(expired=tombstone)).rowcount
    yield gone
    with store.writing() as session:
        session.execute(update(StoredRow).where(mine).values(expired=None))


def test_to_the_site_itself_they_are_there(filed: North) -> None:
    """Else the test above would show nothing."""
    looks = [one for one in _with_ids(filed.both) if one.method == "GET"]
    seen = {one: _ask(filed.north, one, filed.ids).status_code for one in looks}
    missing = {one.path for one, status in seen.items() if status == 404}
    assert missing <= {"/v1/reads/{read_id}/patch-map", "/v1/reads/{read_id}/provenance"}, seen


def test_what_names_an_id_of_the_other_site_in_a_body_is_refused_as_if_it_named_nothing(
    filed: North,
) -> None:
    asked: list[tuple[str, Any]] = [
        ("/v1/slides", lambda ids: {"upload_ids": [ids.get("upload", UNKNOWN)]}),
        ("/v1/slides", lambda ids: {"upload_ids": [UNKNOWN], "case_id": ids.get("case", UNKNOWN)}),
        ("/v1/reads", lambda ids: {"slide_ids": [ids.get("slide", UNKNOWN)], "scale": SCALE}),
        ("/v1/reads", lambda ids: {"case_id": ids.get("case", UNKNOWN), "scale": SCALE}),
        (
            "/v1/tokens",
            lambda ids: {**TOKEN, "user": "norton" if ids else "nobody"},
        ),
    ]
    for address, body in asked:
        theirs = filed.main.post(address, json=body(filed.ids))
        nobodys = filed.main.post(address, json=body({}))
        names = filed.ids | {"name": "norton"}
        assert _plain(theirs, names) == _plain(nobodys, {"name": "nobody"}), address
        assert theirs.status_code in {404, 422}


def test_no_list_no_trail_and_no_figure_names_what_the_other_site_has(filed: North) -> None:
    for one in operations(filed.both.app):
        if one.method == "GET" and "{" not in one.path and not TABLE[one].is_open:
            text = filed.main.get(one.path, params={"limit": 200, "sha256": "a" * 64}).text
            assert filed.told_main(text) == [], one
            assert "norton" not in text
            assert "northern" not in text


def test_what_each_site_calls_its_own_is_free_to_the_other(filed: North) -> None:
    case = filed.ids["case"]
    opened = filed.main.post("/v1/cases", json={"id": case})
    assert opened.status_code == 201, "the main site has no such case"
    assert filed.main.get(f"/v1/cases/{case}").json()["slide_ids"] == []
    assert filed.main.post("/v1/users", json=NORTON).status_code == 201
    with filed.both.store.writing() as session:
        session.execute(delete(CaseRow).where(CaseRow.id == case, CaseRow.site == "main"))
        session.execute(delete(UserRow).where(UserRow.name == "norton", UserRow.site == "main"))


def test_a_key_of_the_other_site_answers_nothing(filed: North) -> None:
    key = {"Idempotency-Key": "the same"}
    cases = [
        client.post("/v1/cases", json={"id": f"K-{number}"}, headers=key)
        for number, client in enumerate((filed.north, filed.main))
    ]
    assert [(one.status_code, one.json()["id"]) for one in cases] == [(201, "K-0"), (201, "K-1")]


def test_numbers_count_at_each_site_by_itself(filed: North) -> None:
    """A gap would tell how much the other site does."""
    record = {**RECORD, "magnification": 12000}
    kept = filed.main.post("/v1/calibrations", json={"records": [record]})
    assert [one["sequence"] for one in filed.main.get("/v1/calibrations").json()["items"]] in ([], [1]), (
        kept.text
    )
    events = filed.main.get("/v1/audit", params={"limit": 200}).json()["items"]
    assert [one["sequence"] for one in events] == list(range(1, len(events) + 1))


def test_how_long_it_takes_tells_nothing(filed: North) -> None:
    """Medians of both kinds of ids, asked in turns, within a factor of two: the machine is shared."""
    for path in ("/v1/reads/{read_id}", "/v1/slides/{slide_id}/images/{n}/thumbnail", "/v1/cases/{case_id}"):
        took: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(ROUNDS):
            for is_theirs, kept in took.items():
                began = time.perf_counter()
                _ask(filed.main, Operation("GET", path), filed.ids if is_theirs else {})
                kept.append(time.perf_counter() - began)
        theirs, nobodys = (statistics.median(took[is_theirs]) for is_theirs in (True, False))
        assert 0.5 < theirs / nobodys < 2, path


def _ask(http: httpx.Client, one: Operation, ids: dict[str, str]) -> httpx.Response:
    """With a body and headers that are well formed, so that the id is what it comes down to."""
    holes = {hole: ids[kind] for hole, kind in BY_HOLE.items() if kind in ids}
    headers = {"If-Match": '"1"'}
    address = filled(one.path, **holes)
    if one == Operation("PUT", "/v1/uploads/{upload_id}"):
        return http.put(address, content=b"x", headers=headers | {"Content-Range": "bytes 0-0/9"})
    body = BODIES.get(" ".join(one), {} if one.method == "POST" else None)
    return http.request(one.method, address, json=body, headers=headers)


def _plain(answer: httpx.Response, ids: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    """What is the same for all ids."""
    text = answer.text
    for each in (*ids.values(), UNKNOWN):
        text = text.replace(each.removesuffix("-0"), "ID")
    told = {key: value for key, value in json.loads(text).items() if key != "instance"}
    headers = {name: value for name, value in answer.headers.items() if name not in OF_ONE_REQUEST}
    headers.pop("content-length")
    return answer.status_code, json.dumps(told), headers
