"""The rows of the catalogue about how often, how much, how slowly: each has its code, and is survived."""

import json
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
from refusals import CANARY, LEAK, limited_service, lives, logged, refused

from ultraread.serving.api.service import Service
from ultraread.serving.limits.strict_json import refuse_odd_json


def test_a_burst_is_slowed_down_and_told_when_to_ask_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with limited_service(tmp_path, rate_per_s=0.5, rate_burst=20) as (_, http):
        answers = [http.get("/v1/reads") for _ in range(40)]
        slowed = [answer for answer in answers if answer.status_code == 429]
        assert 10 <= len(slowed) <= 20
        for answer in slowed:
            refused(answer, caplog, "rate_limited")
        assert http.get("/healthz").status_code == 200
        time.sleep(int(slowed[-1].headers["retry-after"]))
        assert http.get("/v1/reads").status_code == 200


def test_strangers_are_slowed_down_and_who_is_known_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with limited_service(tmp_path, stranger_rate_per_s=0.01, stranger_burst=5) as (_, http):
        lives(http)
        forged = {"Authorization": "Bearer forged"}
        codes = [httpx.get(f"{http.base_url}/v1/reads", headers=forged).json()["code"] for _ in range(8)]
        assert codes == ["auth_invalid"] * 5 + ["rate_limited"] * 3
        refused(httpx.get(f"{http.base_url}/v1/reads", headers=forged), caplog, "rate_limited")
        lives(http)


def test_one_may_follow_so_many_reads_and_all_together_so_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with limited_service(tmp_path, max_streams_each=2, max_streams=5) as (app, http), ExitStack() as stack:
        events = _events_of_a_queued_read(app)
        for _ in range(2):
            assert stack.enter_context(http.stream("GET", events)).status_code == 200
        refused(http.get(events), caplog, "stream_limit")
        lives(http)
        stack.close()
        _wait_for(lambda: _opens(http, events))


def test_event_streams_of_all_together_are_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with limited_service(tmp_path, max_streams_each=5, max_streams=1) as (app, http), ExitStack() as stack:
        events = _events_of_a_queued_read(app)
        stack.enter_context(http.stream("GET", events))
        answer = http.get(events)
        refused(answer, caplog, "service_busy")
        assert answer.headers["retry-after"]


def test_a_stream_ends_after_its_time_and_may_be_asked_for_again(tmp_path: Path) -> None:
    with limited_service(tmp_path, stream_limit_s=0.3) as (app, http):
        events = _events_of_a_queued_read(app)
        told = http.get(events).text
        assert told.startswith("event: progress\n")
        assert told.endswith(": ask again\n\n")


def test_who_reads_too_slowly_is_dropped(tmp_path: Path) -> None:
    with limited_service(tmp_path, slow_reader_s=0.5, rate_burst=5000) as (_, http):
        for _ in range(60):
            http.post("/v1/cases", json={})
        lines = b"GET /v1/audit?limit=500 HTTP/1.1\r\n" + _head_of(http)
        with _connected(http) as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(200):
                slow.sendall(lines)
            _wait_for(lambda: _is_closed(slow), within_s=20)
        lives(http)


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
    with httpx.Client(base_url=http.base_url, headers={"Content-Type": "application/json"}) as stranger:
        began = time.process_time()
        answers = [stranger.request(method, path, content=dear) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {status}
    spent_s, began = time.process_time() - began, time.process_time()
    refuse_odd_json(dear)
    assert spent_s < 5 * (time.process_time() - began), "none of the ten was looked at"


@pytest.mark.parametrize("row", LIES)
def test_a_length_that_no_body_has_is_refused_before_a_byte_of_it(row: str, http: httpx.Client) -> None:
    with _connected(http) as raw:
        raw.sendall(LIES[row] + _head_of(http))
        assert "upload_too_large" in _answered(raw)
    lives(http)


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
    lives(http)


SLOW = {"body_grace_s": 0.4, "body_bytes_per_s": 1000}


@pytest.mark.parametrize("method", ["PUT /v1/uploads/{}", "POST /v1/cases"])
def test_a_body_that_does_not_come_is_not_waited_for(method: str, tmp_path: Path) -> None:
    with limited_service(tmp_path, **SLOW) as (_, http), _connected(http) as raw:
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
        assert time.monotonic() - began < 20
        lives(http)


def test_a_body_that_trickles_is_cut_although_it_never_stops(tmp_path: Path) -> None:
    with limited_service(tmp_path, **SLOW) as (_, http), _connected(http) as raw:
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
    with limited_service(tmp_path, **limits) as (_, http), ExitStack() as stack:
        upload = http.post("/v1/uploads", json={"file_name": "a", "bytes": 10}).json()["id"]
        head = f"PUT /v1/uploads/{upload} HTTP/1.1\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/10\r\n"
        for _ in range(2):
            stack.enter_context(_connected(http)).sendall(head.encode() + _head_of(http))
        time.sleep(0.2)
        lives(http)
        with ThreadPoolExecutor(4) as pool:
            part = {"Content-Range": "bytes 0-9/10"}
            answers = list(pool.map(
                lambda _: http.put(f"/v1/uploads/{upload}", content=b"0123456789", headers=part), range(4)
            ))  # fmt: skip
        for answer in answers:
            refused(answer, caplog, "service_busy")
            assert answer.headers["retry-after"]
        lives(http)
        stack.close()
        _wait_for(lambda: http.put(f"/v1/uploads/{upload}", content=b"0123456789", headers=part).is_success)


def test_an_answer_that_takes_too_long_is_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The database is locked by somebody else for longer than anybody waits."""
    with limited_service(tmp_path, request_limit_s=0.3) as (app, http):
        database = app.state.service.settings.database_file
        with sqlite3.connect(database) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = http.post("/v1/cases", json={"id": CANARY})
            other.rollback()
        _refused_late(answer, caplog)
        _wait_for(lambda: http.post("/v1/cases", json={}).status_code == 201)


def _refused_late(answer: httpx.Response, log: pytest.LogCaptureFixture) -> None:
    assert (answer.status_code, answer.json()["code"]) == (504, "request_timeout")
    assert not LEAK.search(json.dumps(answer.json() | {"instance": ""}) + logged(log))


def test_headers_that_do_not_come_cost_nobody_anything(http: httpx.Client) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(_connected(http)).sendall(b"GET /v1/reads HTTP/1.1\r\nHost: 127")
        lives(http)
    lives(http)


def test_headers_without_end_are_refused(http: httpx.Client) -> None:
    with _connected(http) as raw:
        _wait_for(lambda: _is_closed(raw, b"X-Header: " + b"a" * 2**14 + b"\r\n"))
    lives(http)


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
    with socket.create_connection((http.base_url.host, http.base_url.port or 80), timeout=30) as raw:
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
