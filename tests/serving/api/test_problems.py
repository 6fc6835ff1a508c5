"""Every failure is a problem with a code and a remedy, and gives nothing away."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from serving_api import asked, served

from ultraread.errors import every_error
from ultraread.serving.api.app import create_api
from ultraread.serving.api.gate import through_the_gate
from ultraread.serving.settings import Settings

A_DEEP_BODY = "[" * 100_000
A_NAMED_FILE = Path("/nowhere/patient.tif")
A_LARGE_BODY = '{"id": "' + "C" * 2**20 + '"}'
A_LARGE_PART = bytes(33 * 2**20 + 1)
OF_A_LARGE_PART = {"Content-Range": f"bytes 0-{len(A_LARGE_PART) - 1}/{len(A_LARGE_PART)}"}
CODES = {error.code for error in every_error()}

FAILURES: dict[str, tuple[int, str, Callable[[httpx.Client], httpx.Response]]] = {
    "an address that is not there": (404, "not_found", lambda http: http.get("/v1/nothing")),
    "a method that is not taken": (405, "method_not_allowed", lambda http: http.delete("/v1/cases")),
    "an unknown read": (404, "not_found", lambda http: http.get("/v1/reads/r")),
    "events of an unknown read": (404, "not_found", lambda http: http.get("/v1/reads/r/events")),
    "findings of an unknown read": (404, "not_found", lambda http: http.get("/v1/reads/r/findings")),
    "an unknown slide": (404, "not_found", lambda http: http.get("/v1/slides/s")),
    "an unknown upload": (404, "not_found", lambda http: http.get("/v1/uploads/u")),
    "an unknown record": (404, "not_found", lambda http: http.get("/v1/scan-records/s")),
    "an unknown case": (404, "not_found", lambda http: http.get("/v1/cases/c")),
    "an unknown model": (404, "model_unknown", lambda http: http.get("/v1/models/m/1.0.0")),
    "cancelling an unknown read": (404, "not_found", lambda http: http.post("/v1/reads/r/cancel")),
    "no JSON": (422, "request_invalid", lambda http: posted(http, "{")),
    "a number that is none": (422, "request_invalid", lambda http: posted(http, '{"bytes": NaN}')),
    "a half character": (422, "request_invalid", lambda http: posted(http, '{"file_name": "\\ud800"}')),
    "half a character as a field": (422, "request_invalid", lambda http: posted(http, '{"\\ud800": 1}')),
    "a body of great depth": (422, "request_invalid", lambda http: posted(http, A_DEEP_BODY)),
    "an unknown field": (422, "request_invalid", lambda http: http.post("/v1/cases", json={"idd": "C-1"})),
    "a path as an id": (422, "request_invalid", lambda http: http.post("/v1/cases", json={"id": "../C"})),
    "a page after the last number": (
        422, "request_invalid", lambda http: http.get("/v1/audit", params={"cursor": 10**23})
    ),
    "a large JSON body": (413, "upload_too_large", lambda http: posted(http, A_LARGE_BODY, "/v1/cases")),
    "one that does not say how large it is": (
        413, "upload_too_large", lambda http: http.post("/v1/cases", content=in_pieces(A_LARGE_BODY.encode()))
    ),
    "a part larger than any": (
        413,
        "upload_too_large",
        lambda http: http.put("/v1/uploads/u", content=in_pieces(A_LARGE_PART), headers=OF_A_LARGE_PART),
    ),
    "another site's page": (403, "origin_refused", lambda http: from_page(http, "https://other.example")),
    "a page without a site": (403, "origin_refused", lambda http: from_page(http, "null")),
    "a page of a site that sounds alike": (
        403, "origin_refused", lambda http: from_page(http, "http://localhost.other.example:8000")
    ),
    "a page of a million": (422, "request_invalid", lambda http: http.get("/v1/reads?limit=1000000")),
    "slides and case": (
        422, "request_invalid", lambda http: http.post("/v1/reads", json={"slide_ids": ["s"], "case_id": "c"})
    ),
    "an infinite scale": (422, "request_invalid", lambda http: posted(
        http, '{"slide_ids": ["s"], "scale": {"nm_per_px": 1e400, "reason": "x"}}', "/v1/reads")),
    "a model by its path": (
        422, "request_invalid", lambda http: http.post("/v1/reads", json={"slide_ids": ["s"], "model": "/m"})
    ),
    "another host's name": (
        422, "request_invalid", lambda http: http.get("/healthz", headers={"Host": "rebound.example"})
    ),
}  # fmt: skip


def posted(http: httpx.Client, body: str, address: str = "/v1/uploads") -> httpx.Response:
    return http.post(address, content=body, headers={"Content-Type": "application/json"})


def in_pieces(body: bytes) -> Iterator[bytes]:
    """Sent without Content-Length."""
    for start in range(0, len(body), 2**16):
        yield body[start : start + 2**16]


def from_page(http: httpx.Client, origin: str) -> httpx.Response:
    return http.get("/v1/cases", headers={"Origin": origin})


def of_this_test(api: FastAPI, path: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """A route that the table of roles does not have."""
    api.dependency_overrides[through_the_gate] = lambda: None
    return api.get(path)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One server for all requests that change nothing."""
    app = create_api(Settings(data_dir=tmp_path_factory.mktemp("data") / "ultraread"))
    with served(app) as address, asked(address) as client:
        yield client


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_a_problem_with_a_code_and_a_remedy(untouched: httpx.Client, name: str) -> None:
    status, code, ask = FAILURES[name]
    answer = ask(untouched)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert_is_a_problem(answer)


def test_an_unexpected_failure_shows_neither_trace_nor_path(
    api: FastAPI, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    @of_this_test(api, "/v1/broken")
    def broken() -> None:
        raise RuntimeError(f"{A_NAMED_FILE}")

    answer = http.get("/v1/broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert_is_a_problem(answer)
    assert "patient" not in answer.text
    assert "patient" not in caplog.text
    assert "RuntimeError" in caplog.text
    assert "in broken" in caplog.text


def test_a_failure_that_another_one_led_to_is_logged_with_both_and_without_their_words(
    api: FastAPI, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    @of_this_test(api, "/v1/broken")
    def broken() -> None:
        try:
            A_NAMED_FILE.read_bytes()
        except OSError as failure:
            raise RuntimeError(f"{A_NAMED_FILE}") from failure

    http.get("/v1/broken")
    assert "patient" not in caplog.text
    assert "FileNotFoundError [errno 2]" in caplog.text
    assert "RuntimeError" in caplog.text


def test_pages_of_the_service_and_of_its_proxy_are_answered(tmp_path: Path) -> None:
    app = create_api(Settings(data_dir=tmp_path / "data", proxied_hosts=("em.hospital.example",)))
    with served(app) as address, asked(address) as http:
        for origin in (address, "http://localhost:8000", "https://em.hospital.example"):
            assert from_page(http, origin).status_code == 200


def test_a_full_disk_is_said_to_be_full(api: FastAPI, http: httpx.Client) -> None:
    @of_this_test(api, "/v1/full")
    def full() -> None:
        raise OSError(28, "No space left on device")

    answer = http.get("/v1/full")
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")


def test_every_answer_says_research_use_only(http: httpx.Client) -> None:
    for address in ("/healthz", "/readyz", "/v1/openapi.json", "/v1/models", "/v1/nothing"):
        assert http.get(address).headers["x-research-use-only"] == "true"


def test_the_description_is_openapi_3_1_and_shows_problems_as_they_are(http: httpx.Client) -> None:
    description = http.get("/v1/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    for path, operations in description["paths"].items():
        for operation in operations.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"], path
            for status in ("404", "422", "429"):
                assert operation["responses"][status] == {"$ref": "#/components/responses/Problem"}, path


def assert_is_a_problem(answer: httpx.Response) -> None:
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-research-use-only"] == "true"
    assert sorted(problem) == ["code", "detail", "instance", "remedy", "status", "title", "type"]
    assert problem["status"] == answer.status_code
    assert problem["code"] in CODES
    assert problem["remedy"]
    assert problem["title"]
