"""The service while its database is away, and when an answer of it is lost."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cutting_proxy import CutReply, CuttingProxy, Line, cutting
from postgres import Postgres
from serving_api import asked, served
from sqlalchemy.engine import make_url

from ultraread.serving.api.app import create_api
from ultraread.serving.settings import Settings

KEY = {"Idempotency-Key": "k-1"}
COMMIT = b"COMMIT\0"
"""As the driver sends it, unlike `READ COMMITTED`."""


@dataclass
class CutNthReply(CutReply):
    """The reply is lost after so many others passed."""

    passing: int = 0

    def asked(self, line: Line, piece: bytes) -> bytes:
        if self.passing and self.asking in piece:
            self.passing -= 1
            return piece
        return super().asked(line, piece)


@dataclass
class CutReplyAfter(CutReply):
    """The reply is lost to whoever said this before, on the same connection."""

    said: bytes = b""
    by: Line | None = None

    def asked(self, line: Line, piece: bytes) -> bytes:
        if self.said in piece:
            self.by = line
        return super().asked(line, piece) if line is self.by else piece


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[CuttingProxy]:
    with cutting(postgres_url) as between:
        yield between


@pytest.fixture
def behind(proxy: CuttingProxy, postgres_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a service whose database is behind the proxy."""
    through = make_url(postgres_url).set(port=proxy.port).render_as_string(hide_password=False)
    api = create_api(Settings(data_dir=tmp_path / "data", poll_s=0.02, database_url=through))
    with served(api) as address, asked(address) as client:
        yield client


def test_requests_get_503_with_a_code_while_the_database_is_away_and_go_on_then(
    behind: httpx.Client, postgres: Postgres
) -> None:
    assert behind.get("/v1/reads").status_code == 200
    postgres.stop()
    try:
        for answer in (behind.get("/v1/reads"), behind.post("/v1/cases", json={"id": "C-1"}, headers=KEY)):
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unreachable")
            assert str(postgres.port) not in answer.text
    finally:
        postgres.start()
    assert behind.post("/v1/cases", json={"id": "C-1"}, headers=KEY).status_code == 201


@pytest.mark.parametrize("passing", range(3), ids=["reserving", "creating", "answering"])
def test_a_request_whose_answer_got_lost_is_found_by_its_repeat(
    behind: httpx.Client, proxy: CuttingProxy, passing: int
) -> None:
    behind.get("/v1/cases")
    proxy.fault = CutNthReply(COMMIT, passing=passing)
    first = behind.post("/v1/cases", json={}, headers=KEY)
    assert (first.status_code, first.json()["code"]) == (503, "database_unreachable")
    proxy.heal()
    again = [behind.post("/v1/cases", json={}, headers=KEY) for _ in range(2)]
    assert [answer.status_code for answer in again] == [201, 201]
    assert again[0].json() == again[1].json()
    assert len(behind.get("/v1/cases").json()["items"]) == 1


def test_a_slide_whose_filing_is_in_doubt_keeps_its_files(
    behind: httpx.Client, proxy: CuttingProxy, em_field: Path
) -> None:
    """Files without a row are found and removed by `storage orphans`; a row without files is a lost slide."""
    data = em_field.read_bytes()
    upload = behind.post("/v1/uploads", json={"file_name": "a.tif", "bytes": len(data)}).json()["id"]
    whole = {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
    assert behind.put(f"/v1/uploads/{upload}", content=data, headers=whole).json()["missing"] == []
    proxy.fault = CutReplyAfter(COMMIT, said=b"INSERT INTO slides ")
    first = behind.post("/v1/slides", json={"upload_ids": [upload]}, headers=KEY)
    assert first.json()["code"] == "database_unreachable"
    proxy.heal()
    filed = behind.post("/v1/slides", json={"upload_ids": [upload]}, headers=KEY)
    assert filed.status_code == 201
    assert behind.get(f"/v1/slides/{filed.json()['id']}/images/0/thumbnail").status_code == 200
