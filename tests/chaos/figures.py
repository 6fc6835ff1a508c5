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
BACK_S = 30.0
"""Within which the service answers again."""
BUSY = 2.0
"""Load a core from which times say more of other programs than of this one: told, not judged."""


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
    judged_s: list[float] = field(default_factory=list)
    """Of these, those of slices while the machine was not busy."""
    back_s: list[float] = field(default_factory=list)
    judged_back_s: list[float] = field(default_factory=list)
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
        self.notes += verdict.notes
        self.seconds += seconds
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        self.load_a_core = max(self.load_a_core, load)
        taken, back = ([round(each, 3) for each in all_s] for all_s in (verdict.take_over_s, verdict.back_s))
        self.take_over_s += taken
        self.back_s += back
        if load < BUSY:
            self.judged_s += taken
            self.judged_back_s += back

    def broken(self) -> list[str]:
        """What did not hold; empty where all held."""
        counts = {"lost": self.lost, "doubled": self.doubled, "wrong": self.wrong}
        told = [f"{count} {name}" for name, count in counts.items() if count]
        if self.judges_ranges and self.ranges_again > self.faults:
            told.append(f"{self.ranges_again} ranges scored again for {self.faults} faults")
        if max(self.judged_s, default=0.0) > self.lease_s + TAKE_OVER_S:
            told.append(f"a take-over of {max(self.judged_s):.2f} s, the lease is {self.lease_s:g} s")
        if max(self.judged_back_s, default=0.0) > BACK_S:
            told.append(f"back only after {max(self.judged_back_s):.1f} s")
        return told + self.notes

    def kept(self) -> dict[str, Any]:
        """For docs/reliability.json: of times how many, median and largest."""
        told = asdict(self)
        for name in ("fault", "notes", "judges_ranges"):
            told.pop(name)
        times = {name: _summary(told.pop(name)) for name in TIMES}
        return told | times | {"seconds": round(self.seconds), "load_a_core": round(self.load_a_core, 1)}


TIMES = ("take_over_s", "judged_s", "back_s", "judged_back_s")


def _summary(seconds: list[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    median, largest = round(statistics.median(seconds), 2), round(max(seconds), 2)
    return {"count": len(seconds), "median": median, "max": largest}


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
    taken = "".join(
        f"; {name} {kept[times]['median']}/{kept[times]['max']} s of {limit:g}"
        for name, times, limit in (
            ("take-over", "take_over_s", figures.lease_s + TAKE_OVER_S),
            ("back", "back_s", BACK_S),
        )
        if kept[times]
    )
    return (
        f"{figures.row:24} n {figures.count:4} seed {figures.seed} reads {figures.reads:4}: {zeros}"
        f"; again {figures.ranges_again}{taken}; {figures.seconds:.1f} s"
    )
