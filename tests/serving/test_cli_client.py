"""submit, status, fetch and cancel against a real server whose runner works in a thread of this process."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from command_line import SCRIPT, ultraread
from numpy.typing import NDArray
from serving_api import got, served
from simulated import simulated_tissue, write_tiff
from simulated_instruments import write_emi, write_ser
from simulated_wide import write_dicom_slide, write_ome_zarr
from tiny_model import tiny_model

from ultraread.models.classifier import OnnxClassifier
from ultraread.serving.api.app import create_api
from ultraread.serving.conclusion import conclude_read
from ultraread.serving.live_models import ServedModel
from ultraread.serving.runner import ReadRunner
from ultraread.serving.score_tiles import RangeScorer
from ultraread.serving.settings import Settings

SERVING_GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "serve.md"
HTTP_EXAMPLE = re.compile(r"^## Use it over HTTP$.*?^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STATED = ("--nm-per-px", 4.6, "--reason", "simulated")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Server"]:
    folder = tmp_path_factory.mktemp("service")
    model = tiny_model(folder / "model")
    settings = Settings(data_dir=folder / "data", models=(str(model.path),), poll_s=0.02)
    app = create_api(settings)
    scorer = RangeScorer(OnnxClassifier(model, threads=1))
    served_model = ServedModel(model, lambda tasks: map(scorer, tasks))
    runner = ReadRunner(settings, app.state.service.jobs, lambda *_: served_model, conclude_read, "tests")
    with served(app) as url:
        running = Server(url, settings.data_dir, runner)
        running.start()
        yield running
        running.stop()
    scorer.close()


class Server:
    """The server's address and data folder, and its runner, which can be paused."""

    def __init__(self, url: str, data_dir: Path, runner: ReadRunner) -> None:
        self.url, self.data_dir = url, data_dir
        self._runner = runner
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self._runner.run_next()


@pytest.fixture
def field(tmp_path: Path) -> Path:
    return write_tiff(tmp_path / "field.tif", simulated_tissue(256, 192))


def test_a_case_is_submitted_followed_asked_for_and_fetched(
    server: Server, field: Path, tmp_path: Path
) -> None:
    other = write_tiff(tmp_path / "other.tif", simulated_tissue(256, 192, seed=1))
    record = ("--accession", "S26-1", "--primary-procedure", "88348", "--specimen", "simulated")
    words = (
        "submit",
        field,
        other,
        "--case",
        "C-1",
        *STATED,
        *record,
        "--urgent",
        "--finish-by",
        "2099-01-01T12:00:00",
        "--url",
        server.url,
        "--wait",
        "--json",
    )
    submitted = ultraread(*words)
    assert submitted.status == 0, submitted.err
    read = submitted.printed
    assert (read["state"], read["case_id"], len(read["slide_ids"])) == ("succeeded", "C-1", 2)
    assert (read["priority"], read["finish_by"][:4], read["finish_by"][-5:]) == ("urgent", "2099", ".000Z")
    assert ultraread("status", read["id"], "--url", server.url).out == f"{read['id']}: succeeded\n"
    fetched = ultraread("fetch", read["id"], "--out", tmp_path / "out", "--url", server.url, "--json")
    assert len(fetched.printed["fetched"]) == 3
    assert ultraread("verify", tmp_path / "out").status == 0
    again = ultraread("fetch", read["id"], "--out", tmp_path / "out", "--url", server.url)
    assert (again.status, again.err[:20]) == (3, "error[output_exists]")
    for out in (field, Path("/proc/x")):
        refused = ultraread("fetch", read["id"], "--out", out, "--url", server.url)
        told = f"error[service_unavailable]: --out {out} cannot be written to ("
        assert (refused.status, refused.err[: len(told)]) == (6, told)


def test_the_lines_of_the_serving_guide_work_as_they_stand(server: Server, tmp_path: Path) -> None:
    write_tiff(tmp_path / "field.tif", simulated_tissue(256, 192, seed=2))
    data_dir = tmp_path / ".local" / "share" / "ultraread"
    data_dir.parent.mkdir(parents=True)
    data_dir.symlink_to(server.data_dir)
    lines = HTTP_EXAMPLE.search(SERVING_GUIDE.read_text())
    assert lines is not None
    script = lines.group(1).replace("http://127.0.0.1:8000", server.url)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environment, check=True)
    with ZipFile(tmp_path / "results.zip") as results:
        assert any(name.endswith("/findings.json") for name in results.namelist())


def test_a_read_that_would_be_too_late_is_refused(server: Server, field: Path) -> None:
    late = ("--finish-by", "2020-01-01T00:00:00")
    refused = ultraread("submit", field, *STATED, *late, "--url", server.url)
    assert (refused.status, "error[request_invalid]" in refused.err) == (2, True)


@pytest.mark.parametrize("kind", ["ome_zarr", "dicom_wsi", "ser"])
def test_a_slide_of_several_files_is_submitted_whole(server: Server, tmp_path: Path, kind: str) -> None:
    tissue = simulated_tissue(256, 192)
    slide = {
        "ome_zarr": lambda: write_ome_zarr(tmp_path / "slide.zarr", tissue, scale=(4.6, 4.6)),
        "dicom_wsi": lambda: write_dicom_slide(tmp_path / "slide", tissue),
        "ser": lambda: _emi_and_ser(tmp_path, tissue),
    }[kind]()
    submitted = ultraread("submit", slide, "--url", server.url, "--wait", "--json")
    assert submitted.status == 0, submitted.err
    (slide_id,) = submitted.printed["slide_ids"]
    filed = got(server.url, f"/v1/slides/{slide_id}").json()
    here = ultraread("info", slide, "--json").printed
    assert (filed["format"], len(filed["files"]), filed["sha256"]) == (kind, here["files"], here["sha256"])
    assert here["files"] > 1


def _emi_and_ser(folder: Path, tissue: NDArray[np.uint8]) -> Path:
    write_ser(folder / "a_1.ser", [tissue.astype(np.uint16)], m_per_px=4.6e-9)
    return write_emi(folder / "a.emi", {"Mode": "TEM"})


def test_an_address_of_the_web_is_not_opened(server: Server) -> None:
    refused = ultraread("submit", "http://example.org/a.tif", "--url", server.url)
    assert (refused.status, "error[url_not_allowed]" in refused.err) == (3, True)


def test_a_slide_that_may_not_be_read_is_refused_with_its_code_and_stays_filed(
    server: Server, field: Path
) -> None:
    refused = ultraread("submit", field, "--url", server.url)
    assert refused.status == 3
    record, error = refused.err.splitlines()[:2]
    assert error.startswith("error[slide_no_pixel_size]: ")
    of, _, words = record.partition(": ultraread ")
    shown = ultraread(*words.split(), "--url", server.url)
    assert shown.status == 0, "the record that is there"
    assert f"slide_id: {of.removeprefix('Slide 1 is ')}" in shown.out.splitlines()
    told = ultraread("submit", field, "--url", server.url, "--json")
    assert told.problem["code"] == "slide_no_pixel_size"
    (filed,) = told.printed["filed"]
    assert ultraread("records", "show", filed["scan_record_id"], "--url", server.url).status == 0


def test_slides_are_filed_without_a_read_in_the_order_of_the_arguments(
    server: Server, field: Path, tmp_path: Path
) -> None:
    other = write_tiff(tmp_path / "other.tif", simulated_tissue(128, 96))
    words = ("submit", field, other, "--no-read", "--block", "A1", "--url", server.url)
    reads = got(server.url, "/v1/reads").json()["items"]
    plain = ultraread(*words)
    filed = ultraread(*words, "--json").printed["filed"]
    assert got(server.url, "/v1/reads").json()["items"] == reads
    for told, width in zip(filed, (256, 128), strict=True):
        slide = got(server.url, f"/v1/slides/{told['slide_id']}").json()
        assert slide["images"][0]["width_px"] == width
        record = got(server.url, f"/v1/scan-records/{told['scan_record_id']}").json()
        assert (record["slide_id"], record["block"]) == (told["slide_id"], "A1")
    assert plain.status == 0
    assert [line.split()[0] for line in plain.out.splitlines()] == ["slide", "slide"]


@pytest.mark.parametrize("option", [("--wait",), STATED, ("--region", "0,0,64,64"), ("--camera", "CCD")])
def test_without_a_read_there_are_no_options_of_one(
    server: Server, field: Path, option: tuple[object, ...]
) -> None:
    refused = ultraread("submit", field, "--no-read", *option, "--url", server.url)
    assert (refused.status, "--no-read with options of a read" in refused.err) == (2, True)


def test_what_is_stated_of_a_slide_that_its_case_has_is_told_as_not_applied(
    server: Server, field: Path
) -> None:
    words = ("submit", field, "--case", "C-again", *STATED, "--url", server.url, "--json")
    first = ultraread(*words, "--accession", "S26-1")
    assert "already filed" not in first.err
    again = ultraread(*words, "--accession", "S26-2", "--primary-procedure", "88348")
    assert (again.status, again.printed["slide_ids"]) == (0, first.printed["slide_ids"])
    record_id = first.err.partition("ultraread records show ")[2].split()[0]
    there = f"already filed in this case as record {record_id}"
    change = f"`ultraread records set {record_id} FIELD=VALUE`"
    assert f"{there}; not applied: accession, primary_procedure; see {change}\n" in again.err
    record = got(server.url, f"/v1/scan-records/{record_id}").json()
    assert (record["accession"], record["primary_procedure"], record["revision"]) == ("S26-1", None, 1)
    assert f"{there}\n" in ultraread(*words).err, "nothing was stated"
    assert f"{there}\n" in ultraread(*words, "--accession", "S26-1").err, "the same was stated"
    inner = ultraread(*words, "--capture-mode", "montage", "--identity", "refuse").err
    assert f"{there}; not applied: digitized.capture_mode, identity.policy; " in inner
    refused = ultraread("submit", field, "--case", "C-again", "--block", "B", "--url", server.url)
    assert (refused.status, f"{there}; not applied: block; " in refused.err) == (3, True)


def test_a_record_that_may_not_be_read_hides_no_read_that_was_requested(
    server: Server, field: Path, tmp_path: Path
) -> None:
    words = ("submit", field, "--case", "C-writer", *STATED, "--url", server.url, "--json")
    ultraread(*words)
    made = ("tokens", "create", "writer", "--role", "submitter", "--scope", "write")
    token_file = tmp_path / "writer.token"
    token_file.write_text(ultraread(*made, "--data-dir", server.data_dir, "--json").printed["token"])
    token_file.chmod(0o600)
    again = ultraread(*words, "--token-file", token_file)
    assert (again.status, again.printed["case_id"]) == (0, "C-writer")
    assert "what it says cannot be seen: error[auth_forbidden]" in again.err


def test_slides_of_a_batch_with_the_same_bytes_are_filed_once_and_it_is_said(
    server: Server, field: Path, tmp_path: Path
) -> None:
    twin = tmp_path / "twin.tif"
    twin.write_bytes(field.read_bytes())
    words = ("submit", field, twin, "--case", "C-twice", "--no-read", "--url", server.url)
    told = ultraread(*words)
    assert "Slide 2 has the bytes of slide 1: both are filed once" in told.err
    filed = ultraread(*words, "--json").printed["filed"]
    assert [one["same_as"] for one in filed] == [None, 1]
    assert filed[0]["slide_id"] == filed[1]["slide_id"]


def test_a_read_is_cancelled_and_ends_with_status_8(server: Server, field: Path) -> None:
    server.stop()
    submitted = ultraread("submit", field, *STATED, "--url", server.url, "--json")
    read_id = submitted.printed["id"]
    assert (submitted.status, submitted.printed["state"]) == (0, "queued")
    assert ultraread("fetch", read_id, "--out", "nowhere", "--url", server.url).status == 6
    cancelled = ultraread("cancel", read_id, "--url", server.url)
    assert (cancelled.status, cancelled.out) == (0, f"{read_id}: cancelled\n")
    status = ultraread("status", read_id, "--url", server.url)
    assert (status.status, "read_cancelled" in status.out) == (8, True)
    server.start()


def test_a_watch_ends_with_ctrl_c_and_says_how_it_goes_on(server: Server, tmp_path: Path) -> None:
    words = [SCRIPT, "watch", tmp_path, "--url", server.url]
    watch = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 30
    while not (tmp_path / ".ultraread" / "lock").exists() and time.monotonic() < until:
        time.sleep(0.05)
    watch.send_signal(signal.SIGINT)
    _, told = watch.communicate(timeout=30)
    assert told == "error[interrupted]: stopped; what was filed is kept. Go on with the same command.\n"
    assert watch.returncode == 130


@pytest.mark.parametrize("words", [("status", "x"), ("cancel", "x"), ("fetch", "x", "--out", "nowhere")])
def test_without_a_service_the_message_says_how_to_start_one(words: tuple[str, ...]) -> None:
    ended = ultraread(*words, "--url", "http://127.0.0.1:9")
    assert ended.status == 6
    assert "ultraread serve" in ended.err


@pytest.mark.parametrize("url", ["banana", "http://[::1", "http://a:b"])
def test_what_is_no_address_of_a_service_is_told_as_that(url: str) -> None:
    ended = ultraread("status", "x", "--url", url)
    assert (ended.status, ended.err[:23]) == (2, "error[request_invalid]:")
    assert ended.err.endswith(". Give --url http://HOST:PORT.\n")
    assert ".." not in ended.err


def test_an_unknown_read_and_a_missing_file_are_told_apart(server: Server, tmp_path: Path) -> None:
    assert ultraread("status", "unknown", "--url", server.url).status == 2
    missing = ultraread("submit", tmp_path / "nope.tif", "--url", server.url, "--json")
    assert (missing.status, missing.problem["code"]) == (3, "slide_not_found")
