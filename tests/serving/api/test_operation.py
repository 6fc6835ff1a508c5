"""Request ids, access lines, readiness and metrics, asked over real HTTP."""

import json
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from ultraread.errors import Unavailable
from ultraread.serving import embedded, readiness
from ultraread.serving.api.service import Service
from ultraread.serving.audit.checkpoints import open_checkpointer
from ultraread.serving.audit.signing import make_key
from ultraread.serving.decoding.pool import DecodingPool
from ultraread.serving.draining import draining_of
from ultraread.serving.log_plan import LogPlan
from ultraread.serving.logs import logging_into
from ultraread.serving.presence import Presence
from ultraread.serving.readiness import Readiness
from ultraread.serving.settings import Settings
from ultraread.serving.store import counts

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
NAMES_IN_RULES = re.compile(r"ultraread_[a-z_]+")


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Any]:
    """What was logged so far."""
    plan = LogPlan(str(tmp_path / "logs"), level="debug")
    with logging_into(plan, "Ingress"):
        yield lambda: [json.loads(line) for line in plan.file.read_text().splitlines()]


def test_every_answer_has_an_id_and_problems_name_it(http: httpx.Client) -> None:
    for path in ("/healthz", "/v1/reads", "/v1/reads/unknown", "/nothing"):
        answer = http.get(path)
        assert re.fullmatch("[0-9a-z]{26}", answer.headers["X-Request-Id"])
        if not answer.is_success:
            assert answer.json()["instance"] == f"urn:ultraread:request:{answer.headers['X-Request-Id']}"


@pytest.mark.parametrize("path", ["/v1/reads", "/nothing"])
def test_a_caller_s_id_is_kept(http: httpx.Client, path: str) -> None:
    answer = http.get(path, headers={"X-Request-Id": "lis-4711.a_b"})
    assert answer.headers["X-Request-Id"] == "lis-4711.a_b"


@pytest.mark.parametrize("id_", ["", "x" * 65, 'a"b', "a b", "Doe^Jane", "é".encode()])
def test_an_id_that_could_do_harm_is_replaced(http: httpx.Client, id_: str | bytes) -> None:
    answer = http.get("/v1/reads", headers={b"X-Request-Id": id_ if isinstance(id_, bytes) else id_.encode()})
    assert re.fullmatch("[0-9a-z]{26}", answer.headers["X-Request-Id"])


def test_a_request_is_one_line_without_its_address(http: httpx.Client, lines: Any) -> None:  # noqa: ANN401
    http.get("/v1/reads/DOE-JANE-1961?cursor=DOE", headers={"X-Request-Id": "q-1"})
    line = _line_of_request(lines)
    assert line["ms"] >= 0
    told = {name: line[name] for name in ("request_id", "method", "route", "status", "site", "level")}
    assert told == {
        "request_id": "q-1",
        "method": "GET",
        "route": "/v1/reads/{read_id}",
        "status": 404,
        "site": "main",
        "level": "info",
    }
    assert line["who"]
    assert "JANE" not in json.dumps(lines())


def test_who_is_refused_has_a_line_too(http: httpx.Client, lines: Any) -> None:  # noqa: ANN401
    assert httpx.get(f"{http.base_url}/v1/reads").status_code == 401
    line = _line_of_request(lines)
    assert (line["status"], "who" in line) == (401, False)


def test_readiness_names_what_fails_and_what_to_do(http: httpx.Client) -> None:
    answer = httpx.get(f"{http.base_url}/readyz")
    checks = {one["name"]: one for one in answer.json()["checks"]}
    assert (answer.status_code, answer.json()["status"]) == (503, "failing")
    assert {name for name, one in checks.items() if one["state"] == "failing"} == {"runners", "models"}
    assert "queue" in checks["runners"]["told"]
    assert checks["runners"]["remedy"]


def test_a_runner_with_the_models_makes_it_ready(http: httpx.Client, api: FastAPI) -> None:
    service: Service = api.state.service
    live = [model.card.ref for model in service.served]
    runner = Presence(service.store, "Runner", lambda: live).begin()
    assert http.get("/readyz").json()["status"] == "ok"
    runner.leave()
    _look_again(api)
    assert http.get("/readyz").status_code == 503


def test_a_stopping_service_says_so_at_once(http: httpx.Client, settings: Settings) -> None:
    http.get("/readyz")
    draining_of(settings).begin()
    assert http.get("/readyz").json()["status"] == "draining"
    assert http.get("/healthz").status_code == 200


def test_a_stop_that_is_cut_short_leaves_no_service_that_says_it_is_ready(
    http: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hurried(_settings: Settings) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(embedded, "wait_until_handed_back", hurried)
    with pytest.raises(KeyboardInterrupt):
        embedded.drain(settings)
    assert http.get("/readyz").json()["status"] == "draining"


def test_readiness_tells_nobody_where_things_are(
    http: httpx.Client, api: FastAPI, settings: Settings, tmp_path: Path
) -> None:
    settings.slides_dir.rename(tmp_path / "away")
    settings.slides_dir.write_text("not a folder")
    shutil.rmtree(settings.models_dir)
    _look_again(api)
    told = httpx.get(f"{http.base_url}/readyz").text
    assert '"storage_unreachable"' in told
    assert str(tmp_path) not in told


def test_readiness_says_where_nothing_can_be_decoded(
    http: httpx.Client, api: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # a Python that does not start
    service: Service = api.state.service
    service.decoding.close()
    _look_again(api)
    checks = {one["name"]: one for one in httpx.get(f"{http.base_url}/readyz").json()["checks"]}
    told = checks["decoding"]
    assert (told["state"], told["told"]) == ("failing", "service_unavailable")
    assert "ultraread doctor" in told["remedy"]


def test_readiness_says_where_checkpoints_of_the_audit_trail_cannot_be_kept(
    http: httpx.Client, api: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "APPENDED_WITHIN_S", 0)
    service: Service = api.state.service
    key, file = tmp_path / "audit.key", tmp_path / "worm" / "kept.jsonl"
    make_key(key)
    keyed = service.settings.model_copy(update={"audit_key_file": key, "audit_checkpoint_file": file})
    checkpointer = open_checkpointer(keyed, service.store)

    def told() -> str:
        api.state.readiness = Readiness(keyed, service.store, service.decoding)
        checks = {one["name"]: one["told"] for one in httpx.get(f"{http.base_url}/readyz").json()["checks"]}
        return str(checks["audit"])

    http.get("/v1/slides")  # an event, so that there is something to sign
    with pytest.raises(Unavailable):
        checkpointer.sign_all()
    assert told() == "audit_checkpoint_file cannot be written"
    file.parent.mkdir()
    assert told() == "audit_checkpoint_file lacks what was signed last"
    checkpointer.sign_all()
    assert told() == ""


def test_asking_for_readiness_again_and_again_starts_one_process(api: FastAPI) -> None:
    service: Service = api.state.service
    starts: list[int] = []

    class Counting(DecodingPool):
        def check(self) -> None:
            starts.append(1)
            super().check()

    with closing(Counting(service.settings.decode_limits)) as counted:
        asked = Readiness(service.settings, service.store, counted)
        for _ in range(3):
            asked._last = (-2 * readiness.BELIEVED_S, [])
            assert {look.name: look.ok for look in asked.looks()}["decoding"]
    assert len(starts) == 1


def test_a_store_that_hangs_holds_up_nobody_but_who_asked_first(
    api: FastAPI, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        service: Service = api.state.service
        elsewhere = settings.model_copy(update={"slides_url": "s3://slides"})
        asked = Readiness(elsewhere, service.store, service.decoding)
        first = threading.Thread(target=asked.looks, daemon=True)
        first.start()
        connection, _ = silent.accept()
        (look,) = asked.looks()
        assert (look.name, look.ok, look.told) == ("storage", False, "no answer in 0.2 s")
    connection.close()


def test_metrics_are_what_prometheus_reads(http: httpx.Client, api: FastAPI) -> None:
    http.get("/v1/reads")
    service: Service = api.state.service
    service.presence.leave()
    families = {one.name: one for one in text_string_to_metric_families(http.get("/metrics").text)}
    assert all(name.startswith("ultraread_") for name in families)
    assert all(one.documentation for one in families.values())
    counted = {
        tuple(sorted(one.labels.items())): one.value
        for one in families["ultraread_request_seconds"].samples
        if one.name.endswith("_count")
    }
    assert counted[("method", "GET"), ("route", "/v1/reads"), ("status", "200")] >= 1
    buckets = [one.value for one in families["ultraread_request_seconds"].samples if one.labels.get("le")]
    assert buckets
    assert families["ultraread_store_up"].samples[0].value == 1


def test_metrics_outlive_the_labels_that_an_older_version_counted_by(
    http: httpx.Client, api: FastAPI
) -> None:
    service: Service = api.state.service
    counts.add(service.store, {("ultraread_reads_ended_total", (("state", "failed"),)): 2.0})
    answer = http.get("/metrics")
    assert 'ultraread_reads_ended_total{code="",state="failed"} 2.0' in answer.text


def test_metrics_need_a_token(http: httpx.Client) -> None:
    assert httpx.get(f"{http.base_url}/metrics").status_code == 401


def test_rules_and_scrapes_name_only_metrics_that_there_are(http: httpx.Client) -> None:
    families = list(text_string_to_metric_families(http.get("/metrics").text))
    declared = {one.name for one in families} | {
        f"{one.name}{end}" for one in families for end in ("_total", "_bucket", "_count", "_sum")
    }
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    used = {
        name
        for group in rules["groups"]
        for rule in group["rules"]
        for name in NAMES_IN_RULES.findall(rule["expr"])
    }
    assert used - declared == set()
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert scraped["rule_files"] == ["alerts.yml"]


def _line_of_request(lines: Any) -> dict[str, Any]:  # noqa: ANN401
    """Written when the answer is on its way already."""
    until = time.monotonic() + 5
    while not (found := [one for one in lines() if one["event"] == "request"]):
        assert time.monotonic() < until
        time.sleep(0.01)
    (line,) = found
    return dict(line)


def _look_again(api: FastAPI) -> None:
    service: Service = api.state.service
    api.state.readiness = Readiness(service.settings, service.store, service.decoding)
