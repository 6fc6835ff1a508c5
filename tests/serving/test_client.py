"""The client against a real server on a real port."""

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from serving_api import served

from ultraread.datasets.corpora import fetch
from ultraread.errors import (
    InputChanged,
    Interrupted,
    NotFound,
    OutputExists,
    RequestInvalid,
    ScaleMissing,
    SlideTypeMismatch,
    Unavailable,
)
from ultraread.serving import send_file
from ultraread.serving.api.app import create_api
from ultraread.serving.api.service import Service
from ultraread.serving.client import Client, error_of_read
from ultraread.serving.settings import Settings
from ultraread.serving.store.jobs import Progress, ReadResult
from ultraread.serving.store.tables import ReadState

SCALE = {"nm_per_px": 4.6, "reason": "data set's description"}


@dataclass(frozen=True)
class Running:
    """A server, and the service behind it for tests that play the runner."""

    url: str
    service: Service


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data") / "ultraread", poll_s=0.02)
    app = create_api(settings)
    with served(app) as address:
        yield Running(address, app.state.service)


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.url) as opened:
        yield opened


@pytest.fixture
def slide_id(client: Client) -> str:
    upload = client.upload(fetch("drosophila_vnc/stack2/raw/00.tif"))
    return str(client.file_slide([upload], accession="S26-1", case_id=None)["id"])


def play_the_runner(service: Service, slide_id: str) -> None:
    """Take the read, tell progress, leave a result folder, finish."""
    claim = service.jobs.claim("a test")
    assert claim is not None
    for done in (1, 2):
        service.jobs.beat(claim, Progress(tiles_total=2, tiles_done=done, ranges_done=done))
        time.sleep(0.1)
    folder = service.settings.result_dir(claim.read.id, claim.epoch) / slide_id
    folder.mkdir(parents=True)
    (folder / "findings.json").write_text('{"state": "succeeded"}')
    service.jobs.finish(claim, ReadState.SUCCEEDED, ReadResult())


def test_a_slide_is_sent_filed_read_followed_and_fetched(
    client: Client, server: Running, slide_id: str, tmp_path: Path
) -> None:
    read = client.request_read(slide_ids=[slide_id], scale=SCALE, model=None)
    runner = threading.Thread(target=play_the_runner, args=(server.service, slide_id))
    runner.start()
    told: list[dict[str, Any]] = []
    ended = client.wait(read["id"], told.append)
    runner.join()
    assert (ended["state"], ended["tiles_done"], error_of_read(ended)) == ("succeeded", 2, None)
    assert told[-1] == ended
    assert sorted(one["tiles_done"] for one in told) == [one["tiles_done"] for one in told]
    assert client.findings(read["id"]) == {"state": "succeeded"}
    assert client.fetch(read["id"], tmp_path / "out") == [tmp_path / "out" / slide_id]
    assert (tmp_path / "out" / slide_id / "findings.json").read_text() == '{"state": "succeeded"}'
    with pytest.raises(OutputExists):
        client.fetch(read["id"], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [slide_id]


def test_a_large_file_is_sent_in_parts(
    client: Client, server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_file, "PART_BYTES", 1000)
    (tmp_path / "a.bin").write_bytes(bytes(2500))
    told: list[tuple[int, int]] = []
    upload = client.upload(tmp_path / "a.bin", lambda sent, total: told.append((sent, total)))
    assert (len(told), told[-1]) == (3, (2500, 2500))
    assert server.service.uploads.find(upload).received == 2500


def test_a_sender_that_is_started_again_goes_on_where_it_stopped(
    client: Client, server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_file, "PART_BYTES", 1000)
    file = tmp_path / "b.bin"
    file.write_bytes(bytes(range(250)) * 20)
    begun = client.announce_upload("b.bin", 5000, hashlib.sha256(file.read_bytes()).hexdigest())
    client.put_part(begun["id"], 2000, file.read_bytes()[2000:4000], 5000)
    told: list[int] = []
    assert client.upload(file, lambda sent, _total: told.append(sent)) == begun["id"]
    assert (told[0], told[-1], len(told)) == (2000, 5000, 4)
    row = server.service.uploads.find(begun["id"])
    assert server.service.uploads.path(row).read_bytes() == file.read_bytes()
    file.write_bytes(bytes(5000))
    assert client.upload(file) != begun["id"]


def test_problems_come_back_as_the_errors_they_are(client: Client, slide_id: str, tmp_path: Path) -> None:
    with pytest.raises(ScaleMissing, match=slide_id):
        client.request_read(slide_ids=[slide_id])
    with pytest.raises(NotFound):
        client.wait("nobody's")
    with pytest.raises(NotFound):
        client.fetch("nobody's", tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    upload = client.upload(tmp_path / "notes.txt")
    with pytest.raises(SlideTypeMismatch):
        client.file_slide([upload])


def test_a_case_is_opened_where_there_is_none(client: Client, server: Running) -> None:
    client.ensure_case("C-1")
    client.ensure_case("C-1")
    with pytest.raises(RequestInvalid, match="no slides"):
        client.request_read(case_id="C-1", scale=SCALE)


def test_a_read_that_failed_says_why(client: Client, server: Running, slide_id: str) -> None:
    read = client.request_read(slide_ids=[slide_id], scale=SCALE)
    claim = server.service.jobs.claim("a test")
    assert claim is not None
    server.service.jobs.fail(claim, InputChanged("the slide changed"))
    error = error_of_read(client.wait(read["id"]))
    assert isinstance(error, InputChanged)
    assert (error.what, error.remedy) == ("the slide changed", InputChanged.remedy)


def test_a_cancelled_read_ends(client: Client, slide_id: str) -> None:
    read = client.request_read(slide_ids=[slide_id], scale=SCALE)
    assert client.cancel(read["id"])["state"] == "cancelled"
    assert client.wait(read["id"])["state"] == "cancelled"


@pytest.mark.parametrize(
    ("url", "error"), [("http://127.0.0.1:9", Unavailable), ("ftp://127.0.0.1", RequestInvalid)]
)
def test_a_service_that_does_not_answer_is_unavailable(url: str, error: type[Exception]) -> None:
    with Client(url) as nobody, pytest.raises(error):
        nobody.read("r")


def test_what_is_stopped_sends_no_further_part(
    client: Client, server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_file, "PART_BYTES", 1000)
    file, stop = tmp_path / "c.bin", threading.Event()
    file.write_bytes(bytes(50_000))
    with file.open("rb") as stream, pytest.raises(Interrupted, match="what was sent is kept"):
        send_file.send_file(client, stream, "c.bin", lambda sent, total: stop.set(), stop=stop)
    (begun,) = client.uploads(hashlib.sha256(bytes(50_000)).hexdigest())
    assert (
        0
        < server.service.uploads.find(begun["id"]).bytes - sum(end - start for start, end in begun["missing"])
        <= 1000 * 2 * send_file.CONNECTIONS
    )
