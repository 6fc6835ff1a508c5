"""A watched folder, a real service and a watch that is killed: every slide is filed once, none is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from real_parts import need
from serving_api import asked, served
from simulated import simulated_tissue, write_tiff

from ultraread.datasets.file_stamp import stamp_of
from ultraread.errors import Unavailable
from ultraread.serving.api.app import create_api
from ultraread.serving.client import Client
from ultraread.serving.ingest.journal import Journal
from ultraread.serving.ingest.watch import Wanted, Watch
from ultraread.serving.settings import Settings

ULTRAREAD = Path(sys.executable).with_name("ultraread")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(create_api(Settings(data_dir=tmp_path_factory.mktemp("data") / "data"))) as running:
        yield running


@pytest.fixture
def http(address: str) -> Iterator[httpx.Client]:
    with asked(address) as client:
        yield client


def tissue(path: Path, seed: int) -> Path:
    return write_tiff(path, simulated_tissue(96, 64, seed=seed))


def watched(folder: Path, address: str, *, case: str | None = None) -> list[dict[str, Any]]:
    """Watch until nothing is left; return what was told."""
    told: list[dict[str, Any]] = []
    with Client(address) as client:
        if case:
            client.ensure_case(case)
        Watch(folder, client, Wanted(address, {"case_id": case}), told.append, settle_s=0.05).run(once=True)
    return told


def note(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_slides_are_filed_refused_and_moved_with_a_note(
    tmp_path: Path, address: str, http: httpx.Client
) -> None:
    tissue(tmp_path / "good.tif", 1)
    (tmp_path / "text.tif").write_text("no image")
    (tmp_path / "link.tif").symlink_to("/etc/passwd")
    (tmp_path / ("n" * 201)).write_text("a name that is too long")
    told = watched(tmp_path, address)
    assert sorted(one["event"] for one in told) == ["filed", "refused", "refused", "refused"]
    filed = note(tmp_path / "filed" / "good.tif.json")
    assert http.get(f"/v1/slides/{filed['slide_id']}").status_code == 200
    assert filed["read_refused"]["code"] == "slide_no_pixel_size"
    assert note(tmp_path / "refused" / "text.tif.json")["code"] == "slide_type_mismatch"
    assert note(tmp_path / "refused" / "link.tif.json")["code"] == "slide_not_regular"
    assert (tmp_path / "refused" / "link.tif").is_symlink()
    assert (tmp_path / "filed" / "good.tif").is_file()
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert left == {"filed", "refused"}


def test_the_same_slide_dropped_again_is_not_filed_again(
    tmp_path: Path, address: str, http: httpx.Client
) -> None:
    before = len(http.get("/v1/slides").json()["items"])
    ids = set()
    for _ in range(2):
        tissue(tmp_path / "again.tif", 2)
        ids |= {one["slide_id"] for one in watched(tmp_path, address)}
    assert (len(ids), len(http.get("/v1/slides").json()["items"])) == (1, before + 1)
    assert len(list((tmp_path / "filed").rglob("again.tif"))) == 2


def test_what_is_left_of_a_series_that_is_half_moved_is_no_slide(tmp_path: Path, address: str) -> None:
    """A file that a mount lies on cannot be renamed: as one that a scanner holds on a network drive."""
    need("the right to mount", os.geteuid() == 0)
    (tmp_path / "x.emi").write_text("what belongs to it")
    held = tmp_path / "x_1.ser"
    held.write_text("no image")
    need("the right to mount", subprocess.run(["mount", "--bind", held, held], check=False).returncode == 0)
    told: list[dict[str, Any]] = []
    with Client(address) as client, Journal(tmp_path).held():
        watch = Watch(tmp_path, client, Wanted(address), told.append, settle_s=0.05)
        try:
            _looked(watch, lambda: len(told) >= 2)
        finally:
            subprocess.run(["umount", held], check=True)
        assert {one["event"] for one in told} == {"waiting"}
        assert sorted(path.name for path in (tmp_path / "refused").iterdir()) == ["x.emi", "x.emi.json"]
        _looked(watch, lambda: told[-1]["event"] == "refused")
    assert sorted(path.name for path in (tmp_path / "refused").iterdir()) == [
        "x.emi", "x.emi.json", "x_1.ser",
    ]  # fmt: skip


def test_a_move_that_an_earlier_watch_had_begun_is_ended(tmp_path: Path, address: str) -> None:
    with Journal(tmp_path).held():
        stamp = asdict(stamp_of(os.lstat(tissue(tmp_path / "late.tif", 5))))
        (tmp_path / "filed").mkdir()
        Journal(tmp_path).note("k", {"move": {"to": "filed", "names": [["late.tif", stamp]]}})
    assert [one["event"] for one in watched(tmp_path, address)] == ["moved"]
    assert (tmp_path / "filed" / "late.tif").is_file()


def _looked(watch: Watch, until: Callable[[], bool]) -> None:
    for _ in range(1000):
        watch.look()
        if until():
            return
        time.sleep(0.05)
    raise AssertionError("looked in vain")


def test_one_folder_has_one_watch(tmp_path: Path, address: str) -> None:
    with Journal(tmp_path).held(), pytest.raises(Unavailable):
        watched(tmp_path, address)


def test_a_service_that_is_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultraread.serving.send_file.TRIES", 1)
    slide = tissue(tmp_path / "a.tif", 3)
    told: list[dict[str, Any]] = []
    with Client("http://127.0.0.1:9") as nobody:
        watch = Watch(tmp_path, nobody, Wanted("http://127.0.0.1:9"), told.append, settle_s=0)
        with Journal(tmp_path).held():
            assert watch.look() == 1
    assert (told[0]["event"], told[0]["code"]) == ("waiting", "service_unavailable")
    assert slide.is_file()


def test_a_watch_that_is_killed_again_and_again_files_every_slide_once(
    tmp_path: Path, address: str, http: httpx.Client
) -> None:
    names = {f"{seed}.tif" for seed in range(4)}
    for seed in range(4):
        tissue(tmp_path / f"{seed}.tif", 10 + seed)
    before = {slide["id"] for slide in http.get("/v1/slides", params={"limit": 500}).json()["items"]}
    command = [
        str(ULTRAREAD),
        "watch",
        str(tmp_path),
        "--url",
        address,
        "--settle-s",
        "0.05",
        "--once",
        "--json",
    ]
    for delay in (0.1, 0.25, 0.4, 0.7):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert subprocess.run(command, capture_output=True, env=os.environ, check=False).returncode == 0
    slides = {slide["id"] for slide in http.get("/v1/slides", params={"limit": 500}).json()["items"]} - before
    notes = {note(path)["slide_id"] for path in (tmp_path / "filed").glob("*.json")}
    assert (len(slides), notes) == (4, slides)
    assert {path.name for path in (tmp_path / "filed").glob("*.tif")} == names
    assert not list(tmp_path.glob("*.tif"))
