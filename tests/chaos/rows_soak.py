"""Hours of reads with a random fault now and then: nothing grows."""

import random
import signal
import statistics
import time
from dataclasses import dataclass, field

import psutil
from chaos.house import LARGE, Child, House, seeded
from chaos.invariants import Verdict
from chaos.room import Room, row
from chaos.rows_kills import settled
from cutting_proxy import Answer, CutReply, Reset, Stall, cutting

MINUTE_S = 60.0
FAULT_S = 20.0
SOON_S = 1.2
"""Between faults in the short run."""
MB_AN_HOUR = 1.0
SETTLES = 0.4
"""Share of the time before memory is looked at: caches fill."""


@dataclass(slots=True)
class Veteran:
    """The one worker that nothing befalls: its memory (bytes) and open files over time (s).

    Memory is what is its own (RssAnon): pages of libraries, which are mapped when first used, are no growth.
    """

    process: psutil.Process
    began_s: float = field(default_factory=time.monotonic)
    at_s: list[float] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def look(self) -> None:
        self.at_s.append(time.monotonic() - self.began_s)
        memory = self.process.memory_info()
        self.own.append(memory.rss - memory.shared)
        self.files.append(self.process.num_fds())

    def complaints(self) -> list[str]:
        """What grew. Memory is judged where there is an hour to judge."""
        first = int(len(self.at_s) * SETTLES)
        at_s, own, files = self.at_s[first:], self.own[first:], self.files[first:]
        if len(at_s) < 4:
            return []
        slope = statistics.linear_regression(at_s, own).slope * 3600 / 1e6
        growth = statistics.median(files[-len(files) // 3 :]) - statistics.median(files[: len(files) // 3])
        print(f"veteran: {own[-1] / 1e6:.0f} MB, {slope:+.1f} MB an hour, {files[-1]} open files")
        told = [f"open files grew by {growth:g}"] if growth > 4 else []
        is_long = at_s[-1] - at_s[0] > 50 * MINUTE_S
        return told + ([f"memory grew by {slope:.1f} MB an hour"] if is_long and slope > MB_AN_HOUR else [])


@row("soak", "random faults under load for minutes: kill, freeze, stop, MLflow away", small=10, night=270)
def soaked(room: Room, count: int, seed: int) -> Verdict:
    """`count` faults, at night 20 s apart (270: 90 minutes)."""
    chance, apart_s = seeded(seed), FAULT_S if room.load is LARGE else SOON_S
    with cutting(room.mlflow.url) as proxy:
        patience = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
        with room.house(mlflow_url=proxy.endpoint, environment=patience) as house:
            (oldest,) = house.start()
            veteran = Veteran(psutil.Process(oldest.pid))
            house.start(2)
            for _ in range(count):
                _work(house, veteran, chance, apart_s)
                _befall(house, oldest, chance)
                proxy.fault = chance.choice([Reset(), Answer(500), CutReply(b"/runs/create"), Stall()])
                time.sleep(min(2.0, apart_s / 2))
                proxy.heal()
            verdict = settled(room, house)
    verdict.notes += veteran.complaints()
    return verdict


def _work(house: House, veteran: Veteran, chance: random.Random, seconds: float) -> None:
    """Two reads at a time for three workers: 70 % load."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        house.keep_busy(2, chance)
        veteran.look()
        time.sleep(0.2)


def _befall(house: House, spared: Child, chance: random.Random) -> None:
    """One of the others is killed, frozen past its lease, or asked to stop."""
    others = [child for child in house.children if child is not spared]
    victim = chance.choice(others)
    match chance.choice(["kill", "freeze", "stop"]):
        case "kill":
            house.kill(victim)
            house.start()
        case "freeze":
            victim.send(signal.SIGSTOP)
            time.sleep(house.load.lease_s * 1.5)
            victim.send(signal.SIGCONT)
            house.other_faults += 1
        case _:
            victim.send(signal.SIGTERM)
            victim.wait()
            house.children.remove(victim)
            house.other_faults += 1
            house.start()
