"""Whatever the OpenAPI document allows, and much that it does not: no server error, and only what it says.

Half of the requests name what is really there, and half come from the owner of all roles, so that they get
behind the first doors; the others come from somebody with one role.
"""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving_api import bearer, file_over_http, owner_token, served
from simulated import simulated_tissue, write_tiff

from ultraread.serving.access.principal import Role
from ultraread.serving.api.app import create_api
from ultraread.serving.settings import Settings

SEED = int(os.environ.get("ULTRAREAD_SEED", "20261124"))
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SCALE = {"nm_per_px": 4.6, "reason": "a test"}
MEANT = {
    (501, "/iiif/3/{identifier}/{region}/{size}/{rotation}/{quality_and_format}"),
    (503, "/readyz"),
}
"""What IIIF leaves to the server; a service without readers is not ready."""
ENOUGH = {
    "rate_per_s": 100_000, "rate_burst": 100_000, "stranger_burst": 100_000, "stream_limit_s": 0.01,
    "poll_s": 0.02, "quota_bytes": 2**40,
}  # fmt: skip


class Api(NamedTuple):
    """A served application, its document, who may ask, and ids of what is there."""

    address: str
    tokens: list[str]
    document: Any
    there: dict[str, Any]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One of everything is filed."""
    limits = {name: value for name, value in ENOUGH.items() if name in Settings.model_fields}
    folder = tmp_path_factory.mktemp("service")
    app = create_api(Settings.model_validate({"data_dir": folder / "data"} | limits))
    with served(app) as address:
        token = owner_token(app)
        with httpx.Client(base_url=address, headers=bearer(token)) as http:
            case = http.post("/v1/cases", json={}).json()["id"]
            upload = http.post("/v1/uploads", json={"file_name": "a.tif", "bytes": 9}).json()["id"]
            image = write_tiff(folder / "a.tif", simulated_tissue(256, 256), nm_per_px=4.6)
            filed = file_over_http(http, image, case_id=case)
            slide, record = filed["id"], filed["scan_record_id"]
            read = http.post("/v1/reads", json={"slide_ids": [slide], "scale": SCALE}).json()["id"]
            tokens = [_token(http, role) for role in Role]
            model = http.get("/v1/models").json()["items"][0]
        there = {
            "case_id": case, "upload_id": upload, "slide_id": slide, "record_id": record, "read_id": read,
            "name": model["name"], "version": model["version"], "identifier": f"{slide}-0", "n": 0,
            "alias": "champion",
        }  # fmt: skip
        document = schemathesis.openapi.from_url(f"{address}/v1/openapi.json", headers=bearer(token))
        yield Api(address, [token] * len(tokens) + tokens, document, there)


def _token(http: httpx.Client, role: Role) -> str:
    token: str = http.post("/v1/tokens", json={"name": role, "roles": [role]}).json()["token"]
    return token


def _asked(api: Api, case: Case, is_there: bool, token: str) -> None:
    if is_there:
        case.path_parameters.update({k: v for k, v in api.there.items() if k in case.path_parameters})
    answer = case.call(headers=bearer(token), timeout=30)
    case.validate_response(answer, checks=CHECKS)
    assert answer.status_code < 500 or (answer.status_code, case.path) in MEANT, answer.content
    assert not [told for told in (b"Traceback", b"site-packages") if told in answer.content]


def _held(api: Api, requests: int) -> None:
    """Ask each operation so often; tell all failures, not the first alone."""
    failures = []
    for found in api.document.get_all_operations():
        operation = found.ok()

        @seed(SEED)
        @settings(
            max_examples=requests,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(), is_there=st.booleans(), token=st.sampled_from(api.tokens))
        def run(case: Case, is_there: bool, token: str) -> None:
            _asked(api, case, is_there, token)

        try:
            run()
        except (FailureGroup, Failure, AssertionError) as failure:
            failures.append(f"{operation.label}: {failure}")
    assert not failures, "\n".join(failures)
    assert httpx.get(f"{api.address}/healthz").status_code == 200


def test_every_route_answers_as_its_description_says(api: Api) -> None:
    _held(api, requests=5)


@pytest.mark.full
def test_every_route_answers_as_its_description_says_for_hours(api: Api) -> None:
    _held(api, requests=400)


def test_the_document_names_every_problem(api: Api) -> None:
    for path, operations in api.document.raw_schema["paths"].items():
        for method, operation in operations.items():
            assert {"422", "429", "503"} <= operation["responses"].keys(), f"{method} {path}"
            assert operation.get("description"), f"{method} {path} says nothing"
