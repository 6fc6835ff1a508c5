"""Whoever is shown patient data, or is refused, is in the audit trail of the site."""

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from serving_api import FileSlide, asked, bearer, served
from simulated import simulated_tissue, write_tiff
from sqlalchemy import text, update

from ultraread.serving.access.principal import Principal, Role
from ultraread.serving.access.routes import TABLE
from ultraread.serving.api.app import create_api
from ultraread.serving.audit import views
from ultraread.serving.audit.export import open_export
from ultraread.serving.audit.refusals import Refusal, Refusals
from ultraread.serving.audit.verify import verify_trail
from ultraread.serving.audit.views import SHOW_NO_PATIENT, VIEWS, Viewings
from ultraread.serving.settings import Settings
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.clock import utc_in
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.tables import AuditRow


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """One service for all tests of this file."""
    return create_api(Settings(data_dir=tmp_path_factory.mktemp("data") / "ultraread"))


@pytest.fixture(scope="module")
def http(api: FastAPI) -> Iterator[httpx.Client]:
    with served(api) as address, asked(address) as client:
        yield client


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/ultraread.db")) as opened:
        yield opened


@pytest.fixture
def filed(file_slide: FileSlide, tmp_path: Path) -> dict[str, Any]:
    field = write_tiff(tmp_path / "field.tif", simulated_tissue(300, 200), nm_per_px=2.5)
    return file_slide(field)


def events(http: httpx.Client, subject: str) -> list[str]:
    shown = http.get("/v1/audit", params={"subject": subject, "limit": 100}).json()["items"]
    return [event["what"] for event in shown]


def test_every_get_is_a_view_or_shows_no_patient() -> None:
    gets = {operation.path for operation in TABLE if operation.method == "GET"}
    views = {operation.path for operation in VIEWS}
    assert views.isdisjoint(SHOW_NO_PATIENT)
    assert gets == views | SHOW_NO_PATIENT.keys()


def test_a_record_that_was_shown_is_in_the_trail_each_time(http: httpx.Client, filed: dict[str, Any]) -> None:
    record = filed["scan_record_id"]
    for _ in range(2):
        http.get(f"/v1/scan-records/{record}")
    assert events(http, record).count("scan_record_shown") == 2


def test_a_list_names_whom_it_showed(http: httpx.Client, filed: dict[str, Any]) -> None:
    shown = http.get("/v1/scan-records").json()["items"]
    listed = http.get("/v1/audit", params={"what": "scan_records_listed"}).json()["items"][-1]
    assert listed["detail"]["ids"] == [record["id"] for record in shown]
    assert filed["scan_record_id"] in listed["detail"]["ids"]


def test_a_viewing_is_one_event_however_many_tiles_it_shows(
    http: httpx.Client, filed: dict[str, Any]
) -> None:
    slide = filed["id"]
    for column in range(2):
        assert http.get(f"/v1/slides/{slide}/images/0_files/9/{column}_0.jpg").status_code == 200
    assert http.get(f"/iiif/3/{slide}-0/info.json").status_code == 200
    assert events(http, slide).count("slide_viewed") == 1


def test_what_was_not_shown_is_not_said_to_be(http: httpx.Client) -> None:
    assert http.get("/v1/scan-records/none").status_code == 404
    assert events(http, "none") == []


def test_an_auditor_exports_the_trail_and_verifies_it_at_home(http: httpx.Client, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(http.get("/v1/audit/export").content)
    report = verify_trail(open_export(file))
    assert report.fault is None
    assert '"what": "audit_exported"' in file.read_text().splitlines()[report.events]


def test_a_refused_access_is_in_the_trail_and_a_flood_of_them_is_not(http: httpx.Client) -> None:
    for _ in range(3):
        assert http.get("/v1/slides/secret", headers={"Authorization": "Bearer no"}).status_code == 401
    refused = http.get("/v1/audit", params={"what": "access_refused"}).json()["items"]
    (event,) = [one for one in refused if one["detail"]["method"] == "GET"]
    assert (event["who"], event["subject"], event["detail"]["code"]) == (
        "nobody",
        "/v1/slides/{slide_id}",
        "auth_invalid",
    )


@pytest.mark.parametrize(
    ("method", "path", "headers", "code"),
    [
        ("POST", "/v1/session", bearer("ur_forged"), "auth_invalid"),
        ("POST", "/v1/session/unlock", bearer("ur_forged"), "auth_invalid"),
        ("POST", "/logout", {"Cookie": "ultraread=x"}, "auth_csrf"),
        ("GET", "/login/callback", {}, "auth_invalid"),
    ],
)
def test_who_is_refused_by_a_route_itself_is_in_the_trail_once(
    http: httpx.Client, method: str, path: str, headers: dict[str, str], code: str
) -> None:
    assert httpx.request(method, f"{http.base_url}{path}", headers=headers).json()["code"] == code
    refused = http.get("/v1/audit", params={"what": "access_refused", "subject": path}).json()["items"]
    assert [(one["who"], one["detail"]) for one in refused] == [
        ("nobody", {"method": method, "code": code, "others_before": 0})
    ]


def test_a_change_without_the_token_of_the_session_is_in_the_trail(http: httpx.Client) -> None:
    with httpx.Client(base_url=http.base_url) as browser:
        browser.post("/v1/session", headers={"Authorization": http.headers["Authorization"]})
        assert browser.post("/v1/cases").json()["code"] == "auth_csrf"
    refused = http.get("/v1/audit", params={"what": "access_refused", "subject": "/v1/cases"}).json()["items"]
    assert [one["detail"]["code"] for one in refused] == ["auth_csrf"]


def test_those_of_a_flood_are_counted_by_whatever_is_refused_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals, flood = Refusals(store), Refusal("/v1/flood", "GET", "auth_invalid")
    for _ in range(5):
        refusals.note(flood)
    monkeypatch.setattr(refusals, "_until", OrderedDict())
    refusals.note(Refusal("/v1/other", "GET", "auth_invalid"))
    with store.reading() as session:
        told = AuditLog(session, "main").list(limit=1000, subject="/v1/flood")
    assert [one.detail["others_before"] for one in told] == [0, 3]


def test_those_of_a_flood_are_in_the_trail_when_the_service_has_stopped(tmp_path: Path) -> None:
    api = create_api(Settings(data_dir=tmp_path / "ultraread"))
    with served(api) as address, asked(address) as http:
        for _ in range(5):
            assert http.get("/v1/slides", headers=bearer("no")).status_code == 401
    with (
        closing(open_store(f"sqlite:///{api.state.service.settings.database_file}")) as store,
        store.reading() as session,
    ):
        told = AuditLog(session, "main").list(what="access_refused")
        assert [one.detail["others_before"] for one in told] == [0, 3]


def test_a_viewing_that_another_replica_noted_is_believed_until_its_hour_is_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = next(one for one in VIEWS.values() if one.is_hourly)
    who = Principal("v.iewer", "main", frozenset(Role))
    first, second = Viewings(store), Viewings(store)
    first.note(who, view, "s-1", {})
    with store.writing() as session:
        session.execute(text("DROP TRIGGER audit_events_refuse_update"))
        session.execute(update(AuditRow).where(AuditRow.subject == "s-1").values(at=utc_in(-1800)))
    second.note(who, view, "s-1", {})
    assert second.is_noted(who, view, "s-1")
    monkeypatch.setattr(views, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 1801))
    assert not second.is_noted(who, view, "s-1")
    with store.reading() as session:
        assert len(AuditLog(session, "main").list(subject="s-1")) == 1


def test_what_the_trail_cannot_take_is_not_shown(
    http: httpx.Client, api: FastAPI, filed: dict[str, Any]
) -> None:
    """The database lets nobody add an event: a real trigger, as a full disk would act."""
    forbid = (
        "CREATE TRIGGER full BEFORE INSERT ON audit_events BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END"
    )
    _run(api, forbid)
    try:
        answer = http.get(f"/v1/scan-records/{filed['scan_record_id']}")
        listed = http.get("/v1/scan-records")
    finally:
        _run(api, "DROP TRIGGER full")
    assert (answer.status_code, listed.status_code) == (500, 500)
    assert filed["scan_record_id"] not in answer.text + listed.text
    assert answer.headers["content-type"] == "application/problem+json"


def _run(api: FastAPI, statement: str) -> None:
    with api.state.service.store.writing() as session:
        session.execute(text(statement))
