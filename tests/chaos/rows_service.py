"""The whole service on Ray Serve: its parts killed one by one, and all at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import psutil
from chaos.figures import BACK_S
from chaos.house import SCALE, House, seeded
from chaos.invariants import Verdict, check
from chaos.room import Room, row
from real_parts import LOOPBACK, free_ports

from ultraread.errors import UltraReadError
from ultraread.serving.client import Client

START_S = 300.0
LEASE_S, HEARTBEAT_S = 3.0, 1.0
PARTS = ("Ingress", "ServeController", "Runner", "everything")


@dataclass(slots=True)
class Service:
    """`ultraread serve` as its own session of processes."""

    house: House
    port: int
    process: "subprocess.Popen[bytes] | None" = None
    back_s: list[float] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        spec = self.house.spec
        stated = {
            "DATA_DIR": spec.data_dir, "PORT": str(self.port), "MODELS": f'["{spec.model}"]', "CPUS": "2",
            "RANGE_TILES": str(spec.range_tiles), "LEASE_S": str(LEASE_S), "HEARTBEAT_S": str(HEARTBEAT_S),
            "MLFLOW_URL": spec.mlflow_url, "MAX_ATTEMPTS": str(spec.max_attempts), "SHADOW_FRACTION": "0",
            "LEAST_FREE_BYTES": "0",
        }  # fmt: skip
        environment = os.environ | {f"ULTRAREAD_{name}": value for name, value in stated.items()}
        command = [sys.executable, "-c", "from ultraread.cli import main; main()", "serve"]
        with (self.house.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def processes(self) -> list[psutil.Process]:
        """All of them, the first one in front."""
        if self.process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def kill(self, part: str) -> None:
        """SIGKILL to one part, or to every process at once."""
        if part == "everything":
            self.end()
            self.start()
            return
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                if part in " ".join(each.cmdline()[:1]):
                    each.send_signal(signal.SIGKILL)

    def end(self) -> None:
        """SIGKILL to the whole node."""
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                each.kill()
        if self.process is not None:
            self.process.wait()

    def wait(self, seconds: float) -> float:
        """Seconds until a read can be asked for. Raises AssertionError after so many."""
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/healthz", timeout=2).is_success:
                    return time.monotonic() - began
            time.sleep(0.2)
        told = (self.house.folder / "serve.log").read_text(errors="replace")[-3000:]
        raise AssertionError(f"the service is not back after {seconds:g} s: {told}")


@row(
    "service", "kill -9 of ingress, Serve controller, runner, the whole node", 2, 100, a_slice=10, again=False
)
def parts_killed(room: Room, count: int, seed: int) -> Verdict:
    """What was accepted is done; the service answers again within 30 s. The last part is the whole node."""
    chance = seeded(seed)
    with _service(room) as service:
        house, verdict = service.house, Verdict()
        clean = _asked(service, 0)
        house.wait(lambda: house.read(clean).error_code is None and not house.open_reads())
        oracle = {house.read(clean).slide_sha256s[0]: house.result_dirs(clean)[0]}
        for number in range(count):
            part = (
                PARTS[(len(PARTS) - count + number) % len(PARTS)] if count < len(PARTS) else PARTS[number % 4]
            )
            _asked(service, 0)
            time.sleep(chance.uniform(0.0, 0.5))
            service.kill(part)
            try:
                verdict.back_s.append(service.wait(START_S))
            except AssertionError as gone:
                verdict.lose(part, str(gone))
                return verdict
            print(f"{part}: answers after {verdict.back_s[-1]:.1f} s")
            _asked(service, 0)
        house.settle(300)
        verdict.add(check(house, oracle, room.mlflow))
        verdict.kills = count
        return verdict


@contextmanager
def _service(room: Room) -> Iterator[Service]:
    load = replace(room.load, slides=1)
    with room.house(load=load) as house:
        service = Service(house, free_ports(1)[0])
        service.start()
        try:
            service.wait(START_S)
            yield service
        finally:
            service.end()


def _asked(service: Service, slide: int) -> str:
    """Ask as a client does that tries again until it is told an id: by then, the read is accepted."""
    house, until = service.house, time.monotonic() + BACK_S
    token = Path(house.spec.data_dir) / "owner.token"
    key = f"chaos-{len(house.accepted)}-{os.urandom(4).hex()}"
    while True:
        try:
            with Client(service.url, token_file=token) as client:
                read = client.request_read(slide_ids=[house.slides[slide]], scale=SCALE, idempotency_key=key)
        except (UltraReadError, httpx.HTTPError):
            if time.monotonic() > until:
                raise
            time.sleep(0.3)
        else:
            house.note(read["id"])
            return str(read["id"])
