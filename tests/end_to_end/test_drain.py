"""A stop under load: the real service gets SIGTERM amid read and upload; the next one goes on at once."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from real_parts import free_ports
from serving_api import bearer
from simulated import simulated_tissue, write_tiff
from tiny_model import write_tiny_model

from ultraread.serving.draining import draining_of
from ultraread.serving.settings import Settings

RANGE_TILES = 8
SIDE_PX = 2048
LEASE_S = 60
SEEN_S = 1.0
"""In which a drain is seen by every process."""
GRACE_S = 20
COUNTED = 'ultraread_reads_ended_total{code="",state="succeeded"}'
PART_BYTES, PIECE_BYTES, PAUSE_S = 40_000, 10_000, 0.2
REPEATED = {None, 429, 503}
"""What ends a part that a client sends again."""
START_S = 300.0
SCALE = {"nm_per_px": 4.6, "tolerance": 0.05, "reason": "simulated"}
ULTRAREAD = Path(sys.executable).with_name("ultraread")


@dataclass(slots=True)
class Running:
    """`ultraread serve` as a process of its own."""

    process: "subprocess.Popen[bytes]"
    url: str
    data_dir: Path
    told: Path
    events: list[str] = field(default_factory=list)

    def client(self) -> httpx.Client:
        token = (self.data_dir / "owner.token").read_text().strip()
        return httpx.Client(base_url=self.url, headers=bearer(token), timeout=30)

    def stop(self) -> float:
        """SIGTERM; return how many seconds it took to end."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(GRACE_S + 30) == 0, self.told.read_text()[-3000:]
        return time.monotonic() - began


@pytest.fixture
def config(tmp_path: Path) -> Path:
    model = write_tiny_model(tmp_path / "tiny")
    settings = {
        "data_dir": str(tmp_path / "data"),
        "port": free_ports(1)[0],
        "models": [str(model)],
        "range_tiles": RANGE_TILES,
        "lease_s": LEASE_S,
        "grace_s": GRACE_S,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    file = tmp_path / "ultraread.toml"
    file.write_text("\n".join(lines))
    return file


def test_a_stop_hands_the_read_back_and_the_next_start_goes_on_at_once(config: Path, tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "simulated.tif", simulated_tissue(SIDE_PX, SIDE_PX))
    with _running(config, tmp_path) as service, service.client() as http:
        read_id, upload = _requested(http, slide), Upload.announced(http, slide.read_bytes())
        others = [
            threading.Thread(target=_follow, args=(service, read_id)),
            threading.Thread(target=upload.send_until_refused, args=(service,)),
        ]
        for each in others:
            each.start()
        _wait(lambda: http.get(f"/v1/reads/{read_id}").json()["ranges_done"] >= 2 and bool(upload.taken))
        stopped_s = service.stop()
        for each in others:
            each.join(10)
        scored = _lines(tmp_path)
    assert stopped_s < GRACE_S
    assert service.events[-1] == ": ask again", "the stream ends politely"
    assert any(line["event"].endswith("given back") for line in scored)
    assert upload.refused in REPEATED
    with _running(config, tmp_path) as service, service.client() as http:
        received = http.get(f"/v1/uploads/{upload.id}").json()["received"]
        assert received >= upload.taken > 0, "what was taken is there"
        upload.taken = received
        assert upload.send_part(http, len(upload.data)).json()["missing"] == [], "and all as it was announced"
        began = time.monotonic()
        before = http.get(f"/v1/reads/{read_id}").json()["ranges_done"]
        _wait(lambda: http.get(f"/v1/reads/{read_id}").json()["state"] == "succeeded")
        resumed_s = time.monotonic() - began
        _wait(lambda: COUNTED in http.get("/metrics").text)
        _refused_beside(config)
        _go_on_after_a_drain_that_was_cut_short(service, http, slide)
    assert resumed_s < LEASE_S / 2, "the lease was not waited for"
    assert before >= 2
    print(f"{upload.taken} bytes were taken, then {upload.refused}")
    print(f"stopped in {stopped_s:.1f} s; the rest was read {resumed_s:.1f} s after the next start")


@dataclass(slots=True)
class Upload:
    """A file that is sent part by part, each slowly; `taken`: bytes that the service said it has."""

    id: str
    data: bytes
    taken: int = 0
    refused: int | None = None
    """Status that ended it; None where there was no answer."""

    @classmethod
    def announced(cls, http: httpx.Client, data: bytes) -> "Upload":
        wanted = {"file_name": "b.tif", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        return cls(http.post("/v1/uploads", json=wanted).json()["id"], data)

    def send_until_refused(self, service: Running) -> None:
        with service.client() as http, suppress(httpx.TransportError):
            while self.taken < len(self.data):
                answer = self.send_part(http, PART_BYTES, PAUSE_S)
                if answer.status_code != httpx.codes.OK:
                    self.refused = answer.status_code
                    return
                self.taken = answer.json()["received"]

    def send_part(self, http: httpx.Client, count: int, pause_s: float = 0) -> httpx.Response:
        """Send what follows, in pieces with pauses between them."""
        part = self.data[self.taken : self.taken + count]
        headers = {
            "Content-Range": f"bytes {self.taken}-{self.taken + len(part) - 1}/{len(self.data)}",
            "Content-Length": str(len(part)),
        }
        return http.put(f"/v1/uploads/{self.id}", content=_slowly(part, pause_s), headers=headers)


def _refused_beside(config: Path) -> None:
    """A second service that stopped would stop the first."""
    words = (ULTRAREAD, "serve", "--config", config, "--port", "0")
    second = subprocess.run(words, capture_output=True, text=True, timeout=START_S, check=False)
    assert (second.returncode, "error[data_dir_in_use]" in second.stderr) == (6, True)


def _go_on_after_a_drain_that_was_cut_short(service: Running, http: httpx.Client, slide: Path) -> None:
    draining = draining_of(Settings(data_dir=service.data_dir))
    draining.begin()
    _wait(lambda: http.get("/readyz").json()["status"] == "draining")
    read_id = _requested(http, slide)
    time.sleep(SEEN_S)
    assert http.get(f"/v1/reads/{read_id}").json()["state"] == "queued"
    draining.end()
    _wait(lambda: http.get(f"/v1/reads/{read_id}").json()["state"] == "succeeded")


def _slowly(part: bytes, pause_s: float) -> Iterator[bytes]:
    for start in range(0, len(part), PIECE_BYTES):
        time.sleep(pause_s)
        yield part[start : start + PIECE_BYTES]


@contextmanager
def _running(config: Path, tmp_path: Path) -> Iterator[Running]:
    told = tmp_path / "stderr"
    port = next(line.split()[-1] for line in config.read_text().splitlines() if line.startswith("port"))
    with told.open("ab") as stream:
        process = subprocess.Popen(
            [ULTRAREAD, "serve", "--config", config],
            stderr=stream,
            stdout=stream,
            env=os.environ | {"COLUMNS": "80"},
        )
    service = Running(process, f"http://127.0.0.1:{port}", tmp_path / "data", told)
    try:
        _wait(lambda: _is_ready(service), START_S)
        yield service
        if process.poll() is None:
            service.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _is_ready(service: Running) -> bool:
    assert service.process.poll() is None, service.told.read_text()[-3000:]
    try:
        return httpx.get(f"{service.url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _requested(http: httpx.Client, path: Path) -> str:
    data = path.read_bytes()
    upload = http.post("/v1/uploads", json={"file_name": path.name, "bytes": len(data)}).json()
    whole = {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
    http.put(f"/v1/uploads/{upload['id']}", content=data, headers=whole).raise_for_status()
    slide = http.post("/v1/slides", json={"upload_ids": [upload["id"]]}).json()
    asked = http.post("/v1/reads", json={"slide_ids": [slide["id"]], "scale": SCALE})
    return str(asked.raise_for_status().json()["id"])


def _follow(service: Running, read_id: str) -> None:
    with service.client() as http, http.stream("GET", f"/v1/reads/{read_id}/events", timeout=60) as stream:
        service.events.extend(line for line in stream.iter_lines() if line)


def _lines(tmp_path: Path) -> list[dict[str, Any]]:
    files = (tmp_path / "data" / "logs").glob("*.jsonl")
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def _wait(look: Callable[[], bool], within_s: float = 240.0) -> None:
    until = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)
