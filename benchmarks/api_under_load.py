"""What the API costs beside idle event streams and uploads, while a read runs, on the real service.

Starts `ultraread serve` (Ray Serve with its own proxy, no nginx), files a montage of drosophila_vnc/stack2
and keeps reads queued so that one runs all the time. Each round asks the same mix of requests, one after the
other: quiet (the read alone), beside --streams event streams on queued reads, and beside those and --uploads
uploads of --mib-per-s each. Clients are processes of their own. Prints p50 and p95, their ratios to the quiet
run of the same round, and how much resident memory (PSS) the processes of the service hold.

    python benchmarks/api_under_load.py
"""

import argparse
import asyncio
import http.client
import json
import multiprocessing
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from montage import write_montage
from serving_api import bearer

from ultraread.serving.machine import own_cpus

HOST = "127.0.0.1"
SIDE_PX = 8192
SCALE = {"nm_per_px": 4.6, "tolerance": 0.05, "reason": "published: figshare 856713"}
READS = 60
"""Queued; more than are read while this runs."""
PART_BYTES = 4 * 2**20
PARTS = 4
START_S = 180
PHASES = ("quiet", "streams", "loaded")


Counted: TypeAlias = "Synchronized[int]"


class Service(NamedTuple):
    """A service that runs, and how to come in."""

    port: int
    headers: dict[str, str]
    process: psutil.Process


class Load(NamedTuple):
    """A process that asks for something all the time; `going` counts who has begun, `bytes` what came."""

    process: BaseProcess
    going: Counted
    bytes: Counted


class Phase(NamedTuple):
    """Seconds of each request of the mix, PSS of the service in MiB, MiB a second that were uploaded."""

    seconds: list[float]
    pss_mib: float
    uploaded_mib_per_s: float


def main() -> None:
    """Run the rounds and print the figures."""
    given = _arguments()
    with (
        tempfile.TemporaryDirectory() as folder,
        _service(Path(folder), given) as service,
        httpx.Client(base_url=_url(service), timeout=120, headers=service.headers) as asking,
    ):
        slide = _filed(asking, write_montage(Path(folder) / "montage.tif", SIDE_PX))
        idle = _measured(asking, slide, slide, service, given.requests)
        reads = [_read_of(asking, slide) for _ in range(READS)]
        rounds = [_round(asking, service, slide, reads[-1], given) for _ in range(given.rounds)]
    print(json.dumps(_summary(idle, rounds, given), indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=300, help="A phase.")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--uploads", type=int, default=50)
    parser.add_argument("--mib-per-s", type=float, default=1.0, help="Of each upload; 0: as fast as it goes.")
    return parser.parse_args()


@contextmanager
def _service(folder: Path, given: argparse.Namespace) -> Iterator[Service]:
    """All clients show one token, so its own limits are set above what it is to do."""
    limits = {"RATE_PER_S": "100000", "RATE_BURST": "100000", "MAX_STREAMS_EACH": str(given.streams)}
    environment = os.environ | {f"ULTRAREAD_{name}": value for name, value in limits.items()}
    command = [str(Path(sys.executable).with_name("ultraread")), "serve", "--port", "0"]
    with subprocess.Popen(
        [*command, "--data-dir", str(folder / "data")], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        told = process.stderr or ()
        address = next(line for line in told if "answers at" in line).split()[3]
        threading.Thread(target=lambda: list(told), daemon=True).start()
        token = (folder / "data" / "owner.token").read_text().strip()
        try:
            yield Service(httpx.URL(address).port or 0, bearer(token), psutil.Process(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(START_S)


def _url(service: Service) -> str:
    return f"http://{HOST}:{service.port}"


def _filed(asking: httpx.Client, path: Path) -> str:
    data = path.read_bytes()
    upload = asking.post("/v1/uploads", json={"file_name": "slide.tif", "bytes": len(data)}).json()["id"]
    for start in range(0, len(data), PART_BYTES):
        piece = data[start : start + PART_BYTES]
        where = {"Content-Range": f"bytes {start}-{start + len(piece) - 1}/{len(data)}"}
        asking.put(f"/v1/uploads/{upload}", content=piece, headers=where).raise_for_status()
    return str(asking.post("/v1/slides", json={"upload_ids": [upload]}).json()["id"])


def _read_of(asking: httpx.Client, slide: str) -> str:
    return str(asking.post("/v1/reads", json={"slide_ids": [slide], "scale": SCALE}).json()["id"])


def _round(
    asking: httpx.Client, service: Service, slide: str, queued: str, given: argparse.Namespace
) -> dict[str, Phase]:
    """All phases one after the other; the load of a phase stays for the next."""
    phases = {"quiet": _measured(asking, slide, queued, service, given.requests)}
    with ExitStack() as loads:
        streams = loads.enter_context(_load(_hold_streams, given.streams, service, queued))
        phases["streams"] = _measured(asking, slide, queued, service, given.requests)
        uploads = loads.enter_context(_load(_upload, given.uploads, service, given.mib_per_s))
        before, began = uploads.bytes.value, time.perf_counter()
        loaded = _measured(asking, slide, queued, service, given.requests)
        rate = (uploads.bytes.value - before) / 2**20 / (time.perf_counter() - began)
        phases["loaded"] = loaded._replace(uploaded_mib_per_s=rate)
        _demand(streams.going.value == given.streams, "a stream ended")
    print({name: round(_p95(phase) * 1000) for name, phase in phases.items()}, file=sys.stderr)
    return phases


def _measured(asking: httpx.Client, slide: str, read: str, service: Service, requests: int) -> Phase:
    mix = _mix(slide, read)
    seconds = []
    for number in range(requests):
        method, address, body = mix[number % len(mix)]
        began = time.perf_counter()
        answer = asking.request(method, address, json=body)
        seconds.append(time.perf_counter() - began)
        _demand(answer.status_code < 300 or read == slide, answer.text)
    return Phase(seconds, _pss_mib(service.process), 0.0)


def _mix(slide: str, read: str) -> list[tuple[str, str, dict[str, str] | None]]:
    """What a page of a workbench asks for, and one thing that writes."""
    return [
        ("GET", f"/v1/reads/{read}", None),
        ("GET", f"/v1/slides/{slide}", None),
        ("GET", "/v1/scan-records?limit=20", None),
        ("GET", "/v1/reads?limit=20", None),
        ("POST", "/v1/cases", {}),
    ]


def _pss_mib(root: psutil.Process) -> float:
    """Memory of a process and its descendants; what they share is counted once."""
    held = 0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            held += process.memory_full_info().pss
    return held / 2**20


@contextmanager
def _load(work: Callable[..., None], number: int, service: Service, what: object) -> Iterator[Load]:
    """Keep `number` clients busy in a process of their own; begins when each of them has."""
    spawn = multiprocessing.get_context("spawn")
    going, received = spawn.Value("q", 0), spawn.Value("q", 0)
    process = spawn.Process(
        target=work, args=(number, service.port, service.headers, what, going, received), daemon=True
    )
    process.start()
    try:
        until = time.monotonic() + START_S
        while going.value < number:
            _demand(time.monotonic() < until and process.is_alive(), f"{going.value} of {number} began")
            time.sleep(0.1)
        took_s = time.monotonic() - until + START_S
        print(f"{number} clients of {work.__name__} began within {took_s:.0f} s", file=sys.stderr)
        yield Load(process, going, received)
    finally:
        process.kill()
        process.join()
        time.sleep(2)


def _hold_streams(
    number: int, port: int, headers: dict[str, str], read: object, going: Counted, received: Counted
) -> None:
    asyncio.run(_streams(number, port, headers, str(read), going, received))


async def _streams(
    number: int, port: int, headers: dict[str, str], read: str, going: Counted, received: Counted
) -> None:
    at_once = asyncio.Semaphore(20)

    async def follow() -> None:
        async with at_once:
            reader, writer = await asyncio.open_connection(HOST, port)
            asked = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"GET /v1/reads/{read}/events HTTP/1.1\r\nHost: {HOST}\r\n{asked}\r\n".encode())
            _demand(b"200" in await reader.readline(), "no stream")
            await reader.readuntil(b"event: progress")
            going.value += 1
        while piece := await reader.read(2**16):
            received.value += len(piece)
        going.value -= 1

    await asyncio.gather(*(follow() for _ in range(number)))


def _upload(
    number: int, port: int, headers: dict[str, str], mib_per_s: object, going: Counted, received: Counted
) -> None:
    rate = float(str(mib_per_s))
    body, pace_s = os.urandom(PART_BYTES), PART_BYTES / 2**20 / rate if rate else 0.0
    lock = threading.Lock()

    def send(offset_s: float) -> None:
        time.sleep(offset_s)
        connection, began = http.client.HTTPConnection(HOST, port, timeout=120), False
        while True:
            upload = _asked_of(connection, "POST", "/v1/uploads", headers, _announced())["id"]
            for part in range(PARTS):
                due = time.monotonic() + pace_s
                _asked_of(connection, "PUT", f"/v1/uploads/{upload}", headers | _range_of(part), body)
                with lock:
                    received.value += PART_BYTES
                    going.value += not began
                began = True
                time.sleep(max(0.0, due - time.monotonic()))
            _asked_of(connection, "DELETE", f"/v1/uploads/{upload}", headers, None)

    threads = [threading.Thread(target=send, args=(pace_s * n / number,)) for n in range(number)]
    for thread in threads:
        thread.start()


def _announced() -> bytes:
    return json.dumps({"file_name": "slide.tif", "bytes": PARTS * PART_BYTES}).encode()


def _range_of(part: int) -> dict[str, str]:
    start = part * PART_BYTES
    return {
        "Content-Range": f"bytes {start}-{start + PART_BYTES - 1}/{PARTS * PART_BYTES}",
        "Content-Type": "application/octet-stream",
    }


def _asked_of(
    connection: http.client.HTTPConnection,
    method: str,
    address: str,
    headers: dict[str, str],
    body: bytes | None,
) -> dict[str, Any]:
    connection.request(method, address, body, {"Content-Type": "application/json"} | headers)
    answer = connection.getresponse()
    told = answer.read()
    _demand(answer.status < 300, told.decode())
    answered: dict[str, Any] = json.loads(told) if told else {}
    return answered


def _demand(holds: bool, told: str) -> None:
    if not holds:
        raise RuntimeError(told)


def _p95(phase: Phase) -> float:
    return statistics.quantiles(phase.seconds, n=20)[-1]


def _summary(idle: Phase, rounds: list[dict[str, Phase]], given: argparse.Namespace) -> dict[str, object]:
    ms = {
        name: {
            "p50": round(1000 * statistics.median(statistics.median(one[name].seconds) for one in rounds), 1),
            "p95": round(1000 * statistics.median(_p95(one[name]) for one in rounds), 1),
        }
        for name in PHASES
    }
    return {
        "ms": {"idle": {"p50": _ms(statistics.median(idle.seconds)), "p95": _ms(_p95(idle))}} | ms,
        "p95_to_quiet": {name: _ratios(rounds, name) for name in PHASES[1:]},
        "pss_mib": {
            "idle": round(idle.pss_mib),
            **{name: [round(one[name].pss_mib) for one in rounds] for name in PHASES},
        },
        "uploaded_mib_per_s": [round(one["loaded"].uploaded_mib_per_s, 1) for one in rounds],
        "streams": given.streams,
        "uploads": given.uploads,
        "requests_a_phase": given.requests,
        "machine": f"{platform.machine()}, {own_cpus()} cores",
    }


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


def _ratios(rounds: list[dict[str, Phase]], name: str) -> dict[str, float]:
    ratios = sorted(_p95(one[name]) / _p95(one["quiet"]) for one in rounds)
    return {
        "median": round(statistics.median(ratios), 2),
        "min": round(ratios[0], 2),
        "max": round(ratios[-1], 2),
    }


if __name__ == "__main__":
    main()
