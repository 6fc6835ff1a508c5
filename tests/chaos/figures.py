"""What a row measured, as it is printed and kept."""

import os
import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from chaos.invariants import Verdict
from chaos.room import Room, Row

TAKE_OVER_S = 2.0
"""Beyond the lease."""
BUSY = 2.0
"""Load a core from which take-over times say more of other programs than of this one: told, not judged."""


@dataclass(slots=True)
class Figures:
    """Of one row: `count` faults with `seed`."""

    row: str
    fault: str
    count: int
    seed: int
    lease_s: float
    judges_ranges: bool
    reads: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    faults: int = 0
    ranges_again: int = 0
    take_over_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    load_a_core: float = 0.0
    notes: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict, seconds: float) -> None:
        """What another slice found."""
        self.reads += verdict.reads
        self.lost += len(verdict.lost)
        self.doubled += len(verdict.doubled)
        self.wrong += len(verdict.wrong)
        self.faults += verdict.kills
        self.ranges_again += verdict.ranges_again
        self.take_over_s += [round(each, 3) for each in verdict.take_over_s]
        self.notes += verdict.notes
        self.seconds += seconds
        self.load_a_core = max(self.load_a_core, os.getloadavg()[0] / (os.cpu_count() or 1))

    def broken(self) -> list[str]:
        """What did not hold; empty where all held."""
        counts = {"lost": self.lost, "doubled": self.doubled, "wrong": self.wrong}
        told = [f"{count} {name}" for name, count in counts.items() if count]
        if self.judges_ranges and self.ranges_again > self.faults:
            told.append(f"{self.ranges_again} ranges scored again for {self.faults} faults")
        if (
            self.take_over_s
            and max(self.take_over_s) > self.lease_s + TAKE_OVER_S
            and self.load_a_core < BUSY
        ):
            told.append(f"a take-over of {max(self.take_over_s):.2f} s, the lease is {self.lease_s:g} s")
        return told + self.notes

    def kept(self) -> dict[str, Any]:
        """For docs/reliability.json: take-over times as median and largest."""
        told = asdict(self)
        times = told.pop("take_over_s")
        for name in ("fault", "notes", "judges_ranges"):
            told.pop(name)
        median, largest = (
            (round(statistics.median(times), 2), round(max(times), 2)) if times else (None, None)
        )
        return told | {
            "seconds": round(self.seconds),
            "load_a_core": round(self.load_a_core, 1),
            "take_overs": len(times),
            "take_over_median_s": median,
            "take_over_max_s": largest,
        }


def begun(room: Room, row: Row, count: int, seed: int) -> Figures:
    """Nothing measured yet."""
    return Figures(row.name, row.fault, count, seed, room.load.lease_s, row.again)


def measured(room: Room, row: Row, count: int, seed: int) -> Figures:
    """Run a row in one piece."""
    figures, began = begun(room, row, count, seed), time.monotonic()
    verdict = row.run(room, count, seed)
    figures.add(verdict, time.monotonic() - began)
    return figures


def bound(faults: int) -> str:
    """What 0 of so many says with 95 % confidence of the rate (rule of three)."""
    share = min(100.0, 300 / faults) if faults else 100.0
    return f"{share:.0f} %" if share >= 1 else f"{share:.2g} %"


def line(figures: Figures) -> str:
    """A row of the printed table."""
    kept, faults = figures.kept(), max(figures.count, 1)
    zeros = " ".join(
        f"{name} {count}" + (f" (<= {bound(faults)})" if count == 0 else "")
        for name, count in (("lost", figures.lost), ("doubled", figures.doubled), ("wrong", figures.wrong))
    )
    taken = ""
    if kept["take_overs"]:
        taken = f"; take-over {kept['take_over_median_s']}/{kept['take_over_max_s']} s"
        taken += f" of {figures.lease_s + TAKE_OVER_S:g}"
    return (
        f"{figures.row:24} n {figures.count:4} seed {figures.seed} reads {figures.reads:4}: {zeros}"
        f"; again {figures.ranges_again}{taken}; {figures.seconds:.1f} s"
    )
