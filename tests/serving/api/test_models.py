"""Models over HTTP: what is registered, gates before an alias moves, withdrawals; nothing needs a restart."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from serving_api import FileSlide
from simulated import simulated_tissue, write_tiff
from versions import POLICY, evaluation_of, with_evaluation, write_version, write_version_with_twin

from ultraread.models.registry import ModelFolder
from ultraread.serving.api.app import create_api
from ultraread.serving.api.service import Service
from ultraread.serving.settings import Settings


@pytest.fixture
def first(tmp_path: Path) -> ModelFolder:
    return write_version(tmp_path / "first", "1.0.0")


@pytest.fixture
def settings(tmp_path: Path, first: ModelFolder) -> Settings:
    """One tiny model served, in place of the shipped one."""
    return Settings(
        data_dir=tmp_path / "data", poll_s=0.02, models=(str(first.path),), promotion_sets=POLICY.sets
    )


@pytest.fixture
def api(settings: Settings) -> FastAPI:
    return create_api(settings)


@pytest.fixture
def second(tmp_path: Path, api: FastAPI, first: ModelFolder) -> ModelFolder:
    """Registered while the service runs, with an evaluation that lets it pass."""
    model = write_version(tmp_path / "second", "2.0.0", bias=0.0)
    return _register(api, with_evaluation(model, evaluation_of(model, first)))


@pytest.fixture
def slide(file_slide: FileSlide, tmp_path: Path) -> str:
    return str(file_slide(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256), 4.6))["id"])


def _register(api: FastAPI, model: ModelFolder) -> ModelFolder:
    service: Service = api.state.service
    service.registry.register(model, None, "a test")
    return model


def _champion(api: FastAPI) -> ModelFolder:
    service: Service = api.state.service
    return service.registry.find("tiny")


def _promote(http: httpx.Client, version: str, alias: str = "champion") -> httpx.Response:
    return http.put(f"/v1/models/tiny/aliases/{alias}", json={"version": version, "reason": "a test"})


def _read(http: httpx.Client, slide: str, model: str | None = None) -> dict[str, Any]:
    scale = {"nm_per_px": 4.6, "reason": "simulated"}
    answer = http.post("/v1/reads", json={"slide_ids": [slide], "model": model, "scale": scale})
    told: dict[str, Any] = answer.json()
    return told


def test_registered_versions_are_shown_with_their_aliases(http: httpx.Client, second: ModelFolder) -> None:
    shown = http.get("/v1/models").json()["items"]
    assert [(one["version"], one["aliases"], one["is_default"]) for one in shown] == [
        ("1.0.0", ["champion"], True),
        ("2.0.0", ["candidate"], False),
    ]
    assert http.get("/v1/models/tiny").json()["items"] == shown
    assert http.get("/v1/models/tiny/2.0.0").json()["onnx_sha256"] == second.card.sha256


def test_a_promotion_moves_the_default_of_the_next_read_and_no_earlier_one(
    http: httpx.Client, second: ModelFolder, slide: str
) -> None:
    before = _read(http, slide)
    promoted = _promote(http, "2.0.0")
    assert (promoted.status_code, promoted.json()["alias"]) == (200, "champion")
    assert all(gate["passed"] for gate in promoted.json()["gates"])
    after = _read(http, slide)
    assert (before["model"]["version"], after["model"]["version"]) == ("1.0.0", "2.0.0")
    assert after["model"]["onnx_sha256"] == second.card.sha256
    assert http.get(f"/v1/reads/{before['id']}").json()["model"] == before["model"]
    asked = [_read(http, slide, ref)["model"]["version"] for ref in ("tiny", "tiny@champion", "tiny/1.0.0")]
    assert asked == ["2.0.0", "2.0.0", "1.0.0"]


def test_a_model_made_worse_on_purpose_cannot_be_promoted(
    http: httpx.Client, api: FastAPI, first: ModelFolder, tmp_path: Path
) -> None:
    worse = write_version(tmp_path / "worse", "3.0.0", bias=-3.0)
    _register(api, with_evaluation(worse, evaluation_of(worse, first, difference=-0.3)))
    refused = _promote(http, "3.0.0")
    assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")
    assert refused.json()["code"] == "promotion_refused"
    assert "T-BRIGHT on bright_fields: -0.300" in refused.json()["detail"]
    assert http.get("/v1/models/tiny/1.0.0").json()["aliases"] == ["champion"]


def test_a_version_that_never_passed_the_gates_reads_nothing(
    http: httpx.Client, second: ModelFolder, slide: str
) -> None:
    assert _promote(http, "2.0.0", "shadow").status_code == 200
    for ref in ("tiny/2.0.0", "tiny@shadow", "tiny@candidate"):
        assert _read(http, slide, ref)["code"] == "promotion_refused"
    assert http.get("/v1/reads").json()["items"] == []


@pytest.mark.parametrize(
    ("alias", "version", "code", "status"),
    [
        ("champion", "9.9.9", "model_unknown", 404),
        ("champion", "../../etc", "request_invalid", 422),
        ("boss", "1.0.0", "request_invalid", 422),
    ],
)
def test_what_cannot_be_promoted_is_refused_with_its_code(
    http: httpx.Client, alias: str, version: str, code: str, status: int
) -> None:
    promoted = {"params": {"what": "model_promoted"}}
    before = http.get("/v1/audit", **promoted).json()["items"]
    answer = _promote(http, version, alias)
    assert (answer.json()["code"], answer.status_code) == (code, status)
    assert http.get("/v1/audit", **promoted).json()["items"] == before


def test_a_withdrawn_champion_reads_nothing_more_and_its_reads_are_named(
    http: httpx.Client, second: ModelFolder, slide: str
) -> None:
    read = _read(http, slide)
    _promote(http, "2.0.0")
    other = _read(http, slide)
    withdrawn = [
        http.post("/v1/models/tiny/1.0.0/withdraw", json={"reason": "wrong labels"}).json() for _ in range(2)
    ]
    assert withdrawn[0] == withdrawn[1]
    assert withdrawn[0]["reads"] == [{"id": read["id"], "state": "queued", "case_id": None}]
    assert withdrawn[0]["model"]["withdrawn_reason"] == "wrong labels"
    assert _read(http, slide, "tiny/1.0.0")["code"] == "model_withdrawn"
    http.post("/v1/models/tiny/2.0.0/withdraw", json={"reason": "wrong as well"})
    refused = _read(http, slide)
    assert (refused["code"], refused["status"]) == ("model_withdrawn", 409)
    assert "wrong as well" in refused["detail"]
    assert http.get(f"/v1/reads/{other['id']}").json()["state"] == "queued", "the runner ends it"
    assert _promote(http, "1.0.0").json()["code"] == "model_withdrawn"


def test_a_read_is_bound_to_the_weights_that_run_here(
    http: httpx.Client, api: FastAPI, slide: str, tmp_path: Path
) -> None:
    int8 = write_version_with_twin(tmp_path / "int8", "4.0.0")
    twin = int8.card.fp32_twin
    _register(api, with_evaluation(int8, evaluation_of(int8, _champion(api))))
    assert _promote(http, "4.0.0").status_code == 200
    read = _read(http, slide)
    assert twin is not None
    assert read["model"]["onnx_sha256"] == twin.sha256 != int8.card.sha256
    withdrawn = http.post("/v1/models/tiny/4.0.0/withdraw", json={"reason": "wrong labels"}).json()
    assert [one["id"] for one in withdrawn["reads"]] == [read["id"]]


def test_every_change_is_in_the_audit_trail_with_its_reason(http: httpx.Client, second: ModelFolder) -> None:
    _promote(http, "2.0.0")
    http.post("/v1/models/tiny/2.0.0/withdraw", json={"reason": "wrong labels"})
    events = http.get("/v1/audit", params={"subject": second.card.ref}).json()["items"]
    assert [event["what"] for event in events] == [
        "model_registered",
        "model_promoted",
        "model_evaluated",
        "model_promoted",
        "model_withdrawn",
    ]
    assert (events[3]["detail"]["before"], events[3]["detail"]["reason"]) == ("1.0.0", "a test")
    assert events[4]["detail"]["aliases"] == ["candidate", "champion"]


def test_a_damaged_version_is_shown_as_such_beside_the_others(
    http: httpx.Client, second: ModelFolder, settings: Settings
) -> None:
    shutil.rmtree(settings.models_dir / "tiny/2.0.0")
    withdrawn = http.post("/v1/models/tiny/2.0.0/withdraw", json={"reason": "its files are gone"})
    assert (withdrawn.status_code, withdrawn.json()["model"]["damaged"]) == (200, "integrity_failed")
    shown = http.get("/v1/models").json()["items"]
    assert [(one["version"], one["damaged"], one["card"] is None) for one in shown] == [
        ("1.0.0", None, False),
        ("2.0.0", "integrity_failed", True),
    ]
    assert http.get("/v1/models/tiny/1.0.0").json() == shown[0]
