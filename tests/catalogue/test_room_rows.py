"""No room, and no more room for this site: told with their codes, without harm to anybody else."""

import resource
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from serving_api import asked, bearer, served
from two_sites import SITES, two_sites

from ultraread.errors import StorageFull
from ultraread.serving.api.app import create_api
from ultraread.serving.settings import Settings
from ultraread.serving.storage.durable import full_storage_coded

LARGEST_BYTES = 6 * 2**20
"""More than the database and its log take here."""
PART_BYTES = 8 * 2**20
QUOTA_BYTES, QUOTA_FILES = 1000, 20


@contextmanager
def _no_file_beyond(size_bytes: int) -> Iterator[None]:
    """As `ulimit -f`, or a file system whose files have a largest size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_part_that_finds_no_room_is_told_so_and_goes_in_when_there_is(tmp_path: Path) -> None:
    stored = bytes(PART_BYTES)
    whole = {"Content-Range": f"bytes 0-{PART_BYTES - 1}/{PART_BYTES}"}
    with served(create_api(Settings(data_dir=tmp_path / "data"))) as address, asked(address) as http:
        announced = {"file_name": "a.tif", "bytes": PART_BYTES}
        upload = http.post("/v1/uploads", json=announced).headers["location"]
        with _no_file_beyond(LARGEST_BYTES):
            refused = http.put(upload, content=stored, headers=whole)
            assert (refused.status_code, refused.json()["code"]) == (507, "storage_full"), refused.text
            assert str(tmp_path) not in refused.text
            assert http.get(upload).json()["received"] == 0
            assert http.post("/v1/cases", json={}).status_code == 201
        assert http.put(upload, content=stored, headers=whole).json()["received"] == PART_BYTES


def test_a_file_that_may_not_grow_finds_no_room_as_any_other(tmp_path: Path) -> None:
    with _no_file_beyond(100), pytest.raises(StorageFull), full_storage_coded("a copy"):
        (tmp_path / "copy").write_bytes(bytes(101))


def test_a_site_that_has_its_quota_is_told_so_and_another_one_goes_on(tmp_path: Path) -> None:
    """Two sites send at once: each gets in what is its own, to the byte."""
    quota = {"upload_quota_bytes": QUOTA_BYTES, "upload_quota_files": QUOTA_FILES}
    with two_sites(tmp_path, **quota) as both, ThreadPoolExecutor(8) as pool:

        def announce(site: str, size: int) -> httpx.Response:
            body = {"file_name": "a.tif", "bytes": size}
            return both.http.post("/v1/uploads", json=body, headers=bearer(both.tokens[site, "all"]))

        answers = list(pool.map(lambda number: announce(SITES[number % 2], 300), range(20)))
        for site in range(2):
            got = Counter(answer.status_code for answer in answers[site::2])
            assert got == {201: QUOTA_BYTES // 300, 429: 10 - QUOTA_BYTES // 300}
        for refused in (answer for answer in answers if answer.status_code == 429):
            problem = refused.json()
            assert (problem["code"], problem["status"]) == ("quota_exceeded", 429)
            assert (refused.headers["retry-after"], refused.headers["content-type"]) == (
                "60",
                "application/problem+json",
            )
            assert "north" not in refused.text
            assert str(tmp_path) not in refused.text
        assert announce("main", 100).status_code == 201, "what is left of it, to the byte"
        assert announce("main", 1).json()["code"] == "quota_exceeded"
        first = next(one.headers["location"] for one in answers[1::2] if one.is_success)
        assert both.http.delete(first, headers=bearer(both.tokens["north", "all"])).is_success
        assert announce("north", 300).status_code == 201
