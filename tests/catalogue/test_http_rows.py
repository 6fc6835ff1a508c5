"""The rows of the catalogue that come over HTTP: each has its code, tells nothing, and the service lives on.

Rows about who asks are in tests/serving/access; those about slides and models beside this file.
"""

import json
import logging
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from filed import file_a_slide, new_read
from hostile_names import HOSTILE_NAMES
from serving_api import asked, served

from ultraread.serving.api.app import create_api
from ultraread.serving.api.service import Service
from ultraread.serving.settings import Settings

Ask = Callable[[httpx.Client], httpx.Response]

CANARY = "Zimmermann-1938"
"""What looks like a patient's name; nothing may tell it back or log it where a row refuses it."""
LEAK = re.compile(rf"Traceback|File \"|/site-packages/|/tmp/|\.py\b|sqlite|psycopg|{CANARY}", re.IGNORECASE)
SCALE = {"nm_per_px": 4.6, "reason": "a test"}


def _posted(body: str | bytes, address: str = "/v1/cases") -> Ask:
    return lambda http: http.post(address, content=body, headers={"Content-Type": "application/json"})


JSON_ROWS: dict[str, str | bytes] = {
    "NaN": f'{{"id": "{CANARY}", "x": NaN}}',
    "an infinity": f'["{CANARY}", Infinity]',
    "1e400": f'{{"id": "{CANARY}", "x": 1e400}}',
    "depth 10^5": '{"id":' * 100_000,
    "depth 10^5, closed": "[" * 100_000 + "]" * 100_000,
    "duplicate keys": f'{{"id": "{CANARY}", "id": "C-2"}}',
    "a lone surrogate": f'{{"id": "{CANARY}\\ud800"}}',
    "NUL": f'{{"id": "{CANARY}\\u0000"}}',
    "a huge integer": f'{{"id": "{CANARY}", "x": {"9" * 5000}}}',
    "bytes that are no UTF-8": b'{"id": "' + CANARY.encode() + b'\xff"}',
    "UTF-16": f'{{"id": "{CANARY}"}}'.encode("utf-16"),
    "half a document": f'{{"id": "{CANARY}"',
    "an array": f'["{CANARY}"]',
    "a number": "1",
    "null": "null",
    "an unknown field": f'{{"name": "{CANARY}"}}',
}

ADDRESS_ROWS: dict[str, Ask] = {
    "NUL in an address": lambda http: http.get("/v1/reads/r%00"),
    "a line break in an address": lambda http: http.get("/v1/reads/r%0d%0aX-Other:%201"),
    "no UTF-8 in an address": lambda http: http.get("/v1/reads/%ff%fe"),
    "half a character in an address": lambda http: http.get("/v1/cases/%ed%a0%80"),
    "NUL in a query": lambda http: http.get("/v1/audit?subject=a%00b"),
    "half a character in a query": lambda http: http.get("/v1/audit?subject=%ed%a0%80"),
    "no UTF-8 in a query": lambda http: http.get("/v1/audit?subject=%ff"),
    "a huge cursor": lambda http: http.get(f"/v1/audit?cursor={'9' * 4000}"),
    "a negative limit": lambda http: http.get("/v1/reads?limit=-1"),
    "a cursor of another kind": lambda http: http.get("/v1/reads?cursor=%27%20OR%201=1--"),
    "a path as an id": lambda http: http.get("/v1/reads/..%2f..%2fetc%2fpasswd"),
    "a long id": lambda http: http.get(f"/v1/reads/{'a' * 20_000}"),
    "a slide by its address": lambda http: http.post(
        "/v1/slides", json={"upload_ids": ["http://169.254.169.254/latest/meta-data"]}
    ),
    "a slide by a chain": lambda http: http.post(
        "/v1/slides", json={"upload_ids": ["simplecache::file:///etc/passwd"]}
    ),
    "a model by its address": lambda http: http.post(
        "/v1/reads", json={"slide_ids": ["s"], "model": "s3://bucket/model"}
    ),
    "a line break in an Idempotency-Key": lambda http: http.post(
        "/v1/cases", json={}, headers=[(b"Idempotency-Key", b"k\x85")]
    ),
    "an endless Idempotency-Key": lambda http: http.post(
        "/v1/cases", json={}, headers={"Idempotency-Key": "k" * 8000}
    ),
    "an If-Match of another kind": lambda http: http.patch(
        "/v1/scan-records/s", content=b"{}",
        headers={"If-Match": "'; DROP TABLE reads; --", "Content-Type": "application/merge-patch+json"},
    ),
    "a Content-Range that lies": lambda http: http.put(
        "/v1/uploads/u", content=b"x", headers={"Content-Range": "bytes 0-99999999999999/5"}
    ),
    "a Repr-Digest of another kind": lambda http: http.put(
        "/v1/uploads/u", content=b"x",
        headers={"Content-Range": "bytes 0-0/1", "Repr-Digest": "sha-256=:AAAA:, md5=:x:"},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One service for all rows that it refuses."""
    with _service(tmp_path_factory.mktemp("service"), rate_per_s=10_000, rate_burst=10_000) as (_, client):
        yield client


@contextmanager
def _service(folder: Path, **limits: object) -> Iterator[tuple[FastAPI, httpx.Client]]:
    app = create_api(Settings.model_validate({"data_dir": folder / "data", "poll_s": 0.02} | limits))
    with served(app) as address, asked(address) as client:
        yield app, client


def _refused(answer: httpx.Response, log: pytest.LogCaptureFixture, *codes: str) -> None:
    """It is a problem with one of the codes; neither it nor the log tells what must not be told."""
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] in codes, problem
    assert answer.status_code == problem["status"] < 500 or problem["code"] in {"service_busy"}
    assert problem["remedy"]
    told = json.dumps(problem | {"instance": ""}) + str(dict(answer.headers))
    assert not LEAK.search(told), told
    assert not LEAK.search(_logged(log)), _logged(log)


def _logged(log: pytest.LogCaptureFixture) -> str:
    """What the service wrote, with the fields beside its words, and without where in the code it did."""
    own = [record for record in log.records if record.name.startswith("ultraread")]
    fields = [{k: v for k, v in vars(record).items() if k not in _OF_EVERY_RECORD} for record in own]
    return "\n".join(f"{record.getMessage()} {more}" for record, more in zip(own, fields, strict=True))


_OF_EVERY_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime"}


def _lives(http: httpx.Client) -> None:
    assert http.get("/healthz").status_code == 200
    assert http.get("/v1/reads").status_code == 200


@pytest.mark.parametrize("row", JSON_ROWS)
def test_json_that_is_none_is_refused(row: str, http: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for address in ("/v1/cases", "/v1/uploads", "/v1/reads", "/v1/slides", "/v1/calibrations"):
        _refused(_posted(JSON_ROWS[row], address)(http), caplog, "request_invalid", "calibration_invalid")
    _lives(http)


@pytest.mark.parametrize("row", ADDRESS_ROWS)
def test_odd_addresses_and_headers_are_refused(
    row: str, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    allowed = ("request_invalid", "not_found", "precondition_required", "precondition_failed")
    answer = ADDRESS_ROWS[row](http)
    if answer.is_success:  # taken as text, and nothing more
        assert not LEAK.search(answer.text + _logged(caplog))
    else:
        _refused(answer, caplog, *allowed)
    _lives(http)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_is_kept_as_it_is_or_refused(
    name: str, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """SQL, log lines, headers, markup, formulas: text is text. What is kept comes back as JSON alone."""
    caplog.set_level(logging.INFO)
    answer = http.post("/v1/uploads", content=json.dumps({"file_name": name, "bytes": 1}), headers=_JSON)
    if answer.status_code == 201:
        assert answer.json()["file_name"] == name
        shown = http.get(answer.headers["Location"])
        assert (shown.json()["file_name"], shown.headers["content-type"]) == (name, "application/json")
    else:
        _refused(answer, caplog, "request_invalid")
    assert len(name) < 4 or name not in _logged(caplog)
    _lives(http)


_JSON = {"Content-Type": "application/json"}


def test_every_answer_carries_what_keeps_browsers_safe(http: httpx.Client) -> None:
    answers = [http.get(path) for path in ("/healthz", "/v1/reads", "/v1/nothing", "/v1/openapi.json")]
    answers.append(httpx.get(f"{http.base_url}/v1/reads"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-site"
        assert answer.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in answer.headers
        assert "server" not in {name for name in answer.headers if "uvicorn" not in answer.headers[name]}


def test_behind_tls_browsers_are_told_to_stay_there(http: httpx.Client) -> None:
    answer = http.get("/healthz", headers={"X-Forwarded-Proto": "https"})
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_no_page_of_the_api_runs_scripts(http: httpx.Client) -> None:
    for path in ("/docs", "/redoc", "/v1/docs"):
        assert http.get(path).status_code == 404


def test_a_burst_is_slowed_down_and_told_when_to_ask_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with _service(tmp_path, rate_per_s=5, rate_burst=20) as (_, http):
        answers = [http.get("/v1/reads") for _ in range(40)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 10 <= len(refused) <= 20
        for answer in refused:
            _refused(answer, caplog, "rate_limited")
        assert http.get("/healthz").status_code == 200
        time.sleep(int(refused[-1].headers["retry-after"]))
        assert http.get("/v1/reads").status_code == 200


def test_strangers_are_slowed_down_and_who_is_known_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with _service(tmp_path, stranger_rate_per_s=0.5, stranger_burst=5) as (_, http):
        _lives(http)
        forged = {"Authorization": "Bearer forged"}
        codes = [httpx.get(f"{http.base_url}/v1/reads", headers=forged).json()["code"] for _ in range(8)]
        assert codes == ["auth_invalid"] * 5 + ["rate_limited"] * 3
        _refused(httpx.get(f"{http.base_url}/v1/reads", headers=forged), caplog, "rate_limited")
        _lives(http)


def test_one_may_follow_so_many_reads_and_all_together_so_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with _service(tmp_path, max_streams_each=2, max_streams=5) as (app, http), ExitStack() as stack:
        events = _events_of_a_queued_read(app)
        for _ in range(2):
            assert stack.enter_context(http.stream("GET", events)).status_code == 200
        _refused(http.get(events), caplog, "stream_limit")
        _lives(http)
        stack.close()
        _wait_for(lambda: _opens(http, events))


def test_event_streams_of_all_together_are_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with _service(tmp_path, max_streams_each=5, max_streams=1) as (app, http), ExitStack() as stack:
        events = _events_of_a_queued_read(app)
        stack.enter_context(http.stream("GET", events))
        answer = http.get(events)
        _refused(answer, caplog, "service_busy")
        assert answer.headers["retry-after"]


def test_a_stream_ends_after_its_time_and_may_be_asked_for_again(tmp_path: Path) -> None:
    with _service(tmp_path, stream_limit_s=0.3) as (app, http):
        events = _events_of_a_queued_read(app)
        told = http.get(events).text
        assert told.startswith("event: progress\n")
        assert told.endswith(": ask again\n\n")


def test_who_reads_too_slowly_is_dropped(tmp_path: Path) -> None:
    with _service(tmp_path, slow_reader_s=0.5, rate_burst=5000) as (_, http):
        for _ in range(60):
            http.post("/v1/cases", json={})
        lines = b"GET /v1/audit?limit=500 HTTP/1.1\r\n" + _head_of(http)
        with _connected(http) as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(200):
                slow.sendall(lines)
            _wait_for(lambda: _is_closed(slow), within_s=20)
        _lives(http)


LIES: dict[str, bytes] = {
    "of a part": b"PUT /v1/uploads/u HTTP/1.1\r\nContent-Length: 99999999999999\r\n",
    "of a document": b"POST /v1/cases HTTP/1.1\r\nContent-Length: 9999999\r\n",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/nothing", 404),
        ("POST", "/healthz", 405),
        ("GET", "/healthz", 413),
        ("POST", "/v1/session", 413),
    ],
)
def test_json_of_strangers_costs_next_to_nothing(
    method: str, path: str, status: int, http: httpx.Client
) -> None:
    dear = b"[" + b"1," * 100_000 + b"1]"
    began = time.monotonic()
    answers = [
        httpx.request(
            method, f"{http.base_url}{path}", content=dear, headers={"Content-Type": "application/json"}
        )
        for _ in range(10)
    ]
    assert {answer.status_code for answer in answers} == {status}
    assert time.monotonic() - began < 2  # a MiB that is looked at takes half a second


@pytest.mark.parametrize("row", LIES)
def test_a_length_that_no_body_has_is_refused_before_a_byte_of_it(row: str, http: httpx.Client) -> None:
    with _connected(http) as raw:
        raw.sendall(LIES[row] + _head_of(http))
        assert "upload_too_large" in _answered(raw)
    _lives(http)


def test_an_endless_body_is_cut(http: httpx.Client) -> None:
    with _connected(http) as raw:
        raw.sendall(b"POST /v1/cases HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + _head_of(http))
        told = b""
        raw.setblocking(False)
        piece = b"10000\r\n" + b" " * 2**16 + b"\r\n"
        until = time.monotonic() + 20
        while not told and time.monotonic() < until:
            try:
                raw.send(piece)
            except (BlockingIOError, ConnectionError):
                time.sleep(0.01)
            try:
                told += raw.recv(2**16)
            except (BlockingIOError, ConnectionError):
                continue
        assert b"upload_too_large" in told
    _lives(http)


SLOW = {"body_grace_s": 0.4, "body_bytes_per_s": 1000}


@pytest.mark.parametrize("method", ["PUT /v1/uploads/{}", "POST /v1/cases"])
def test_a_body_that_does_not_come_is_not_waited_for(method: str, tmp_path: Path) -> None:
    with _service(tmp_path, **SLOW) as (_, http), _connected(http) as raw:
        upload = http.post("/v1/uploads", json={"file_name": "a", "bytes": 10}).json()["id"]
        kind = (
            b"Content-Type: application/json\r\n" if "POST" in method else b"Content-Range: bytes 0-9/10\r\n"
        )
        raw.sendall(
            f"{method.format(upload)} HTTP/1.1\r\nContent-Length: 10\r\n".encode() + kind + _head_of(http)
        )
        began = time.monotonic()
        told = _answered(raw)
        assert "408" in told.splitlines()[0]
        assert "upload_timeout" in told
        assert time.monotonic() - began < 5
        _lives(http)


def test_a_body_that_trickles_is_cut_although_it_never_stops(tmp_path: Path) -> None:
    with _service(tmp_path, **SLOW) as (_, http), _connected(http) as raw:
        raw.sendall(b"POST /v1/cases HTTP/1.1\r\nContent-Length: 5000\r\n" + _head_of(http))
        raw.settimeout(0.05)
        told, until = b"", time.monotonic() + 10
        while not told and time.monotonic() < until:
            raw.send(b" ")
            try:
                told = raw.recv(2**16)
            except TimeoutError:
                continue
        assert b"upload_timeout" in told


def test_more_than_is_answered_at_once_waits_and_more_than_may_wait_is_turned_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Bodies of parts that do not come hold their places; the places of everything else stay free."""
    limits = {"max_parts": 2, "max_waiting": 1, "max_wait_s": 0.3, "body_grace_s": 30}
    with _service(tmp_path, **limits) as (_, http), ExitStack() as stack:
        upload = http.post("/v1/uploads", json={"file_name": "a", "bytes": 10}).json()["id"]
        head = f"PUT /v1/uploads/{upload} HTTP/1.1\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/10\r\n"
        for _ in range(2):
            stack.enter_context(_connected(http)).sendall(head.encode() + _head_of(http))
        time.sleep(0.2)
        _lives(http)
        with ThreadPoolExecutor(4) as pool:
            part = {"Content-Range": "bytes 0-9/10"}
            answers = list(pool.map(
                lambda _: http.put(f"/v1/uploads/{upload}", content=b"0123456789", headers=part), range(4)
            ))  # fmt: skip
        for answer in answers:
            _refused(answer, caplog, "service_busy")
            assert answer.headers["retry-after"]
        _lives(http)
        stack.close()
        _wait_for(lambda: http.put(f"/v1/uploads/{upload}", content=b"0123456789", headers=part).is_success)


def test_an_answer_that_takes_too_long_is_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The database is locked by somebody else for longer than anybody waits."""
    with _service(tmp_path, request_limit_s=0.3) as (app, http):
        database = app.state.service.settings.database_file
        with sqlite3.connect(database) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = http.post("/v1/cases", json={"id": CANARY})
            other.rollback()
        _refused_late(answer, caplog)
        _wait_for(lambda: http.post("/v1/cases", json={}).status_code == 201)


def _refused_late(answer: httpx.Response, log: pytest.LogCaptureFixture) -> None:
    assert (answer.status_code, answer.json()["code"]) == (504, "request_timeout")
    assert not LEAK.search(json.dumps(answer.json() | {"instance": ""}) + _logged(log))


def test_headers_that_do_not_come_cost_nobody_anything(http: httpx.Client) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(_connected(http)).sendall(b"GET /v1/reads HTTP/1.1\r\nHost: 127")
        _lives(http)
    _lives(http)


def test_headers_without_end_are_refused(http: httpx.Client) -> None:
    with _connected(http) as raw:
        _wait_for(lambda: _is_closed(raw, b"X-Header: " + b"a" * 2**14 + b"\r\n"))
    _lives(http)


def _events_of_a_queued_read(app: FastAPI) -> str:
    service: Service = app.state.service
    read = new_read(file_a_slide(service.store))
    service.jobs.enqueue(read, "a test")
    return f"/v1/reads/{read.id}/events"


def _opens(http: httpx.Client, events: str) -> bool:
    with http.stream("GET", events) as answer:
        return answer.status_code == 200


@contextmanager
def _connected(http: httpx.Client) -> Iterator[socket.socket]:
    with socket.create_connection((http.base_url.host, http.base_url.port or 80), timeout=10) as raw:
        yield raw


def _head_of(http: httpx.Client) -> bytes:
    return f"Host: 127.0.0.1\r\nAuthorization: {http.headers['authorization']}\r\n\r\n".encode()


def _answered(raw: socket.socket) -> str:
    """The answer as far as it comes within a moment after it began."""
    told = raw.recv(2**16)
    raw.settimeout(0.2)
    try:
        while piece := raw.recv(2**16):
            told += piece
    except (TimeoutError, ConnectionError):
        pass
    return told.decode(errors="replace")


def _is_closed(raw: socket.socket, more: bytes = b"G") -> bool:
    """Whether the other side gave it up, although there is more; nothing is read meanwhile."""
    try:
        raw.sendall(more)
        time.sleep(0.05)
    except ConnectionError:
        return True
    return False


def _wait_for(holds: Callable[[], bool], within_s: float = 10) -> None:
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)
