"""The rows of the catalogue that come over HTTP: each has its code, tells nothing, and the service lives on.

Rows about who asks are in tests/serving/access; those about slides and models beside this file.
"""

import json
import logging
from collections.abc import Callable

import httpx
import pytest
from hostile_names import HOSTILE_NAMES
from refusals import CANARY, LEAK, lives, logged, refused

Ask = Callable[[httpx.Client], httpx.Response]

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


@pytest.mark.parametrize("row", JSON_ROWS)
def test_json_that_is_none_is_refused(row: str, http: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for address in ("/v1/cases", "/v1/uploads", "/v1/reads", "/v1/slides", "/v1/calibrations"):
        refused(_posted(JSON_ROWS[row], address)(http), caplog, "request_invalid", "calibration_invalid")
    lives(http)


@pytest.mark.parametrize("row", ADDRESS_ROWS)
def test_odd_addresses_and_headers_are_refused(
    row: str, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    allowed = ("request_invalid", "not_found", "precondition_required", "precondition_failed")
    answer = ADDRESS_ROWS[row](http)
    if answer.is_success:  # taken as text, and nothing more
        assert not LEAK.search(answer.text + logged(caplog))
    else:
        refused(answer, caplog, *allowed)
    lives(http)


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
        refused(answer, caplog, "request_invalid")
    assert len(name) < 4 or name not in logged(caplog)
    lives(http)


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
