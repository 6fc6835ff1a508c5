"""The service behind a real nginx with the example configuration: TLS, uploads, streams, logins, slowness."""

import hashlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from nginx_server import HOST, Nginx, nginx_before
from real_parts import LOOPBACK
from serving_api import bearer, owner_token, served

from ultraread.serving.api.app import create_api
from ultraread.serving.log_plan import LogPlan
from ultraread.serving.logs import logging_into
from ultraread.serving.settings import Settings
from ultraread.serving.store.tables import ReadRow, ReadState

SHORT = {
    "client_header_timeout 10s": "client_header_timeout 1s",
    "client_body_timeout 30s": "client_body_timeout 1s",
}


@pytest.fixture
def api(tmp_path: Path) -> FastAPI:
    return create_api(Settings(data_dir=tmp_path / "data", poll_s=0.02, proxied_hosts=(HOST,)))


@pytest.fixture
def nginx(api: FastAPI, tmp_path: Path) -> Iterator[Nginx]:
    with served(api) as address, nginx_before(address, tmp_path / "nginx", **SHORT) as started:
        yield started


@pytest.fixture
def https(nginx: Nginx, api: FastAPI) -> Iterator[httpx.Client]:
    headers = {"Host": HOST, **bearer(owner_token(api))}
    trusted = ssl.create_default_context(cafile=str(nginx.certificate))
    with httpx.Client(base_url=nginx.url, headers=headers, verify=trusted, timeout=20) as client:
        yield client


def test_an_upload_goes_through_in_parts(https: httpx.Client, nginx: Nginx) -> None:
    data = os.urandom(3 * 2**20)
    upload = https.post("/v1/uploads", json={"file_name": "a.tif", "bytes": len(data)}).json()["id"]
    for start in (0, 2 * 2**20):
        part = data[start : start + 2 * 2**20]
        where = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}"}
        assert https.put(f"/v1/uploads/{upload}", content=part, headers=where).status_code == 200
    assert https.get(f"/v1/uploads/{upload}").json()["received"] == len(data)
    assert hashlib.sha256(data).hexdigest() not in {path.name for path in nginx.folder.rglob("*")}
    assert list((nginx.folder / "body").rglob("*.*")) == [], "nothing of a slide stays with nginx"


def test_a_body_that_is_too_large_is_cut_by_nginx(https: httpx.Client) -> None:
    assert https.put("/v1/uploads/x", content=bytes(34 * 2**20)).status_code == 413


def test_events_come_one_by_one(https: httpx.Client, api: FastAPI) -> None:
    _add_read(api, ReadState.RUNNING)
    arrived: list[tuple[float, str]] = []
    with https.stream("GET", "/v1/reads/r-1/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("event:"):
                arrived.append((time.monotonic(), line))
                if line == "event: progress":
                    _end_read(api)
    assert [line for _, line in arrived] == ["event: progress", "event: end"]


def test_a_login_s_cookie_is_for_tls_alone(https: httpx.Client) -> None:
    answer = https.post("/v1/session")
    cookie = answer.headers["set-cookie"].lower()
    assert answer.is_success, answer.text
    assert cookie.startswith("__host-")
    assert "secure" in cookie
    assert "httponly" in cookie


def test_answers_carry_hsts_and_an_id_that_nginx_gave(https: httpx.Client) -> None:
    answer = https.get("/v1/reads")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert len(answer.headers["X-Request-Id"]) == 32
    assert https.get("/v1/reads", headers={"X-Request-Id": "lis-1"}).headers["X-Request-Id"] == "lis-1"
    assert answer.headers["Server"] == "nginx"


def test_plain_http_is_sent_to_tls(nginx: Nginx) -> None:
    answer = httpx.get(f"http://{LOOPBACK}:{nginx.plain_port}/v1/reads", headers={"Host": HOST})
    assert (answer.status_code, answer.headers["Location"]) == (308, f"https://{HOST}/v1/reads")


def test_another_host_name_is_refused(https: httpx.Client) -> None:
    assert https.get("/healthz", headers={"Host": "rebound.example"}).json()["code"] == "request_invalid"


def test_old_tls_is_refused(nginx: Nginx) -> None:
    old = ssl.create_default_context(cafile=str(nginx.certificate))
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), socket.create_connection((LOOPBACK, nginx.port)) as plain:
        old.wrap_socket(plain, server_hostname=HOST)


@pytest.mark.parametrize("begun", [b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b""])
def test_slow_headers_are_cut(nginx: Nginx, begun: bytes) -> None:
    with _connected(nginx) as slow:
        began = time.monotonic()
        slow.sendall(begun)
        assert slow.recv(4096) == b""
    assert time.monotonic() - began < 20


def test_a_head_that_trickles_is_cut_while_others_are_served(nginx: Nginx, https: httpx.Client) -> None:
    """A byte now and then gains it no time: `client_header_timeout` is for the whole head."""
    with _connected(nginx) as slow:
        slow.settimeout(0.1)
        began, served_meanwhile = time.monotonic(), 0
        slow.sendall(f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\nX-Slow: ".encode())
        while _takes_one_more_byte(slow):
            assert https.get("/healthz").status_code == 200
            served_meanwhile += 1
            assert time.monotonic() - began < 20
    assert time.monotonic() - began > 0.5
    assert served_meanwhile >= 3


def _takes_one_more_byte(slow: ssl.SSLSocket) -> bool:
    """Whether the connection is still open after it, without an answer."""
    try:
        slow.sendall(b"a")
        assert slow.recv(4096) == b""
    except TimeoutError:
        return True
    except (ConnectionError, ssl.SSLError):
        pass
    return False


def test_a_body_that_stands_still_is_cut(nginx: Nginx, api: FastAPI) -> None:
    with _connected(nginx) as slow:
        began = time.monotonic()
        head = f"POST /v1/cases HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {owner_token(api)}\r\n"
        slow.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        slow.recv(4096)
    assert time.monotonic() - began < 20


def test_nobody_chooses_the_address_that_limits_count_by(
    https: httpx.Client, tmp_path: Path, nginx: Nginx
) -> None:
    plan = LogPlan(str(tmp_path / "logs"), level="debug")
    with logging_into(plan, "Ingress"):
        for forged in ("203.0.113.9", "10.0.0.1, 203.0.113.9"):
            assert https.get("/v1/reads", headers={"X-Forwarded-For": forged}).status_code == 200
    assert "203.0.113.9" not in plan.file.read_text()
    logged = (nginx.folder / "access.log").read_text()
    assert LOOPBACK in logged
    assert "/v1/reads" not in logged


def _connected(nginx: Nginx) -> ssl.SSLSocket:
    trusted = ssl.create_default_context(cafile=str(nginx.certificate))
    connection = socket.create_connection((LOOPBACK, nginx.port), timeout=30)
    return trusted.wrap_socket(connection, server_hostname=HOST)


def _add_read(api: FastAPI, state: ReadState) -> None:
    model = {"model_name": "m", "model_version": "1", "model_onnx_sha256": "", "model_card_sha256": ""}
    asked: dict[str, object] = {"region": None, "scale": None}
    with api.state.service.store.writing() as session:
        row = ReadRow(id="r-1", state=state.value, slide_ids=[], slide_sha256s=[], request=asked, **model)
        session.add(row)


def _end_read(api: FastAPI) -> None:
    with api.state.service.store.writing() as session:
        session.get_one(ReadRow, "r-1").state = ReadState.SUCCEEDED.value
