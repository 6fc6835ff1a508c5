"""Archives: none that comes as a slide is unpacked; the client unpacks results and nothing else."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from archives import ARCHIVES, BOMB_BYTES, FLAT, NESTED, OVERLAPPING, UNSAFE, zipped
from serving_api import asked, served

from ultraread.errors import ArchiveBomb, UltraReadError
from ultraread.serving.api.app import create_api
from ultraread.serving.api.results import zipped as bundle_of
from ultraread.serving.client import Client
from ultraread.serving.ingest.watch import Wanted, Watch
from ultraread.serving.settings import Settings
from ultraread.serving.unpacking import ArchiveLimits, limited, unpack

SMALL = ArchiveLimits(free_bytes=2**20)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "data"


@pytest.fixture(scope="module")
def address(data: Path) -> Iterator[str]:
    limits: dict[str, Any] = {"rate_per_s": 10_000, "rate_burst": 10_000}
    with served(create_api(Settings(data_dir=data, **limits))) as running:
        yield running


@pytest.mark.parametrize("row", ARCHIVES)
def test_an_upload_that_is_an_archive_is_not_unpacked(row: str, address: str, data: Path) -> None:
    stored = ARCHIVES[row]
    with asked(address) as http:
        upload = http.post("/v1/uploads", json={"file_name": "slide.tif", "bytes": len(stored)}).json()["id"]
        whole = {"Content-Range": f"bytes 0-{len(stored) - 1}/{len(stored)}"}
        assert http.put(f"/v1/uploads/{upload}", content=stored, headers=whole).status_code == 200
        answer = http.post("/v1/slides", json={"upload_ids": [upload]})
        assert (answer.status_code, answer.json()["code"]) == (422, "archive_not_taken")
        assert http.get(f"/v1/uploads/{upload}").status_code == 404
        assert http.get("/v1/slides").json()["items"] == []
    assert [path for path in (data / "slides").rglob("*") if path.is_file()] == []
    assert [path for path in data.parent.rglob("*") if path.name.lower() in {"x", "inner.zip", "link"}] == []


def test_a_watched_folder_of_archives_is_not_unpacked(address: str, tmp_path: Path) -> None:
    for number, stored in enumerate(ARCHIVES.values()):
        (tmp_path / f"{number}-of.{'zip' if number % 2 else 'tif'}").write_bytes(stored)
    told: list[dict[str, Any]] = []
    with Client(address) as client:
        Watch(tmp_path, client, Wanted(address), told.append, settle_s=0.05).run(once=True)
    assert [(one["event"], one["code"]) for one in told] == [("refused", "archive_not_taken")] * len(ARCHIVES)
    kept = {path.name for path in (tmp_path / "refused").iterdir() if path.suffix != ".json"}
    assert len(kept) == len(ARCHIVES)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [".ultraread", "refused"]


class _TakenOver(BaseHTTPRequestHandler):
    """A service that answers whatever it is asked with one archive."""

    archive: ClassVar[bytes]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.archive)))
        self.end_headers()
        self.wfile.write(self.archive)

    def log_message(self, *_: object) -> None:
        """Nothing is told."""


@pytest.fixture(scope="module")
def taken_over() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _TakenOver) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


WHOLE = zipped(("s/heatmap.png", bytes(range(255))))
PACKED_OTHERWISE = zipped(("s/heatmap.png", bytes(255)), method=zipfile.ZIP_LZMA)
OFFSET_AT = WHOLE.index(b"PK\x05\x06") + 16
BOMBS = {"flat": zipped(("slide.tif", bytes(10 * BOMB_BYTES))), "overlapping": OVERLAPPING}
REFUSED: dict[str, tuple[bytes, str]] = {
    **{name: (stored, "archive_unsafe_member") for name, stored in UNSAFE.items()},
    **{f"bomb, {name}": (stored, "archive_bomb") for name, stored in BOMBS.items()},
    "cut off": (FLAT[:-30], "integrity_failed"),
    "no archive": (b"<html>", "integrity_failed"),
    "a name in no letters": (
        zipped(("\u00e9", b"1")).replace("\u00e9".encode(), b"\xff\xff"),
        "integrity_failed",
    ),
    "a table that begins elsewhere": (
        WHOLE[:OFFSET_AT] + bytes([255]) + WHOLE[OFFSET_AT + 1 :],
        "integrity_failed",
    ),
    "packed as no results are": (PACKED_OTHERWISE, "integrity_failed"),
    "another byte than was packed": (WHOLE[:99] + b"?" + WHOLE[100:], "integrity_failed"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_results_of_a_service_that_was_taken_over_are_refused(
    row: str, taken_over: str, tmp_path: Path
) -> None:
    _TakenOver.archive, code = REFUSED[row]
    out = tmp_path / "deep" / "out"
    with Client(taken_over) as client, pytest.raises(UltraReadError) as refused:
        client.fetch("01hzzzzzzzzzzzzzzzzzzzzzzz", out)
    assert refused.value.code == code
    assert list(out.iterdir()) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_second_name_in_the_extra_field_leads_nowhere(tmp_path: Path) -> None:
    second = struct.pack("<BL", 1, zlib.crc32(b"x")) + b"../y"
    extra = struct.pack("<HH", 0x7075, len(second)) + second
    unpack(io.BytesIO(zipped(("x", b"1"), extra=extra)), tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x"]


def test_an_archive_that_does_not_end_is_cut() -> None:
    endless, came = iter(lambda: bytes(1000), b""), io.BytesIO()
    with pytest.raises(ArchiveBomb):
        came.writelines(limited(endless, ArchiveLimits(archive_bytes=10_000)))
    assert came.tell() == 10_000


def test_too_many_members_and_too_many_bytes_of_any_ratio_are_refused(tmp_path: Path) -> None:
    many = zipped(*((f"{number}", b"1") for number in range(20)))
    for limits in (ArchiveLimits(members=19), ArchiveLimits(bytes=19)):
        with pytest.raises(ArchiveBomb):
            unpack(io.BytesIO(many), tmp_path, limits)
    unpack(io.BytesIO(many), tmp_path, ArchiveLimits(members=20, bytes=20))
    assert len(list(tmp_path.iterdir())) == 20


def test_an_archive_within_an_archive_stays_one(tmp_path: Path) -> None:
    unpack(io.BytesIO(NESTED), tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["inner.zip"]
    with pytest.raises(ArchiveBomb):
        unpack(io.BytesIO(FLAT), tmp_path, SMALL)


def test_what_the_service_packs_is_unpacked_byte_by_byte(tmp_path: Path) -> None:
    results = {"s/findings.json": b"{}", "s/heatmap.png": bytes(range(256)), "s/tiles.csv": b"0,0\n" * 9999}
    there, here = tmp_path / "there", tmp_path / "here"
    for name, stored in results.items():
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_bytes(stored)
    unpack(io.BytesIO(b"".join(bundle_of(there))), here)
    assert {path.relative_to(here).as_posix(): path.read_bytes() for path in here.rglob("*.*")} == results
