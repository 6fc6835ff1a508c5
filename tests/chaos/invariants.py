"""Holds store, result folders, MLflow and audit trail against the history: invariants I1 to I6.

I1 every accepted read has ended as it had to; I2 one result for a read with a result, none for another one;
I3 its bytes are a clean run's; I4 every tile counts once, and no more ranges were scored again than kills
can explain; I5 MLflow shows exactly one run; I6 the trail holds one request and one end, and verifies.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.house import SUCCEEDS, Ends, House, digests_of
from chaos.journal import Event
from chaos.worker import settings_of
from mlflow_server import MlflowServer, all_runs
from sqlalchemy import select

from ultraread.serving.queue_upkeep import clear_leftovers
from ultraread.serving.store.tables import AuditRow, ReadRow, ReadState, StoredKind, StoredRow

Oracle = Mapping[str, Path]
"""Digest of a slide to the result of a clean run."""


@dataclass(slots=True)
class Verdict:
    """What a row found. A read counts once in each of the three, whatever is wrong with it."""

    reads: int = 0
    lost: set[str] = field(default_factory=set)
    doubled: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    take_over_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    """From a fault to the service's next answer."""
    ranges_again: int = 0
    kills: int = 0

    def lose(self, read_id: str, why: str) -> None:
        self.lost.add(read_id)
        self.notes.append(f"lost {read_id}: {why}")

    def double(self, read_id: str, why: str) -> None:
        self.doubled.add(read_id)
        self.notes.append(f"doubled {read_id}: {why}")

    def err(self, read_id: str, why: str) -> None:
        self.wrong.add(read_id)
        self.notes.append(f"wrong {read_id}: {why}")

    def add(self, other: "Verdict") -> None:
        """What another house of the same row found."""
        self.reads += other.reads
        self.kills += other.kills
        self.ranges_again += other.ranges_again
        self.lost |= other.lost
        self.doubled |= other.doubled
        self.wrong |= other.wrong
        self.notes += other.notes
        self.take_over_s += other.take_over_s
        self.back_s += other.back_s


def check(house: House, oracle: Oracle, mlflow: MlflowServer | None) -> Verdict:
    """Judge a house that has settled.

    Before, it is cleared up as the service does once an hour: who dies between the end of a read and that
    leaves unpublished results of earlier owners, of which nobody is told.
    """
    clear_leftovers(settings_of(house.spec), house.store)
    verdict = Verdict(reads=len(house.accepted), kills=len(house.kills) + house.other_faults)
    rows = _rows(house)
    for read_id, ends in house.accepted.items():
        row = rows.get(read_id)
        if row is None:
            verdict.lose(read_id, "it is not in the store")
            continue
        _check_end(verdict, row, ends)
        _check_results(verdict, house, row, oracle)
    _check_trail(verdict, house)
    if mlflow is not None:
        _check_runs(verdict, house, all_runs(mlflow.url))
    _measure(verdict, house)
    return verdict


def _rows(house: House) -> dict[str, ReadRow]:
    with house.store.reading() as session:
        return {row.id: row for row in session.scalars(select(ReadRow))}


def _check_end(verdict: Verdict, row: ReadRow, ends: Ends) -> None:
    state = ReadState(row.state)
    if not state.has_ended:
        verdict.lose(row.id, f"it is {row.state} for good")
    elif row.error_code not in ends or (row.error_code is None) != (state is ReadState.SUCCEEDED):
        told = f"it is {row.state} ({row.error_code}: {row.error_what}), and may end with {ends}"
        (verdict.lose if state.has_result or ends == SUCCEEDS else verdict.err)(row.id, told)


def _check_results(verdict: Verdict, house: House, row: ReadRow, oracle: Oracle) -> None:
    folders = house.result_dirs(row.id)
    if not ReadState(row.state).has_result:
        if folders:
            verdict.double(row.id, f"it is {row.state} and has {len(folders)} results")
        return
    with house.store.reading() as session:
        stored = session.get(StoredRow, (StoredKind.RESULT.value, row.id))
    if stored is None or not folders:
        verdict.lose(row.id, "it succeeded and has no result")
        return
    if len(folders) > 1:
        verdict.double(row.id, f"{len(folders)} result folders")
    named = {file["name"].split("/")[1] for file in stored.files}
    kept = [folder for folder in folders if folder.name in named]
    if len(kept) != 1:
        verdict.lose(row.id, f"the result of record is {named}, the folders are {folders}")
        return
    _check_bytes(verdict, row, kept[0], oracle)


def _check_bytes(verdict: Verdict, row: ReadRow, folder: Path, oracle: Oracle) -> None:
    """I3, and the part of I4 that the result itself tells."""
    clean_folder = oracle[row.slide_sha256s[0]]
    found, clean = digests_of(folder), digests_of(clean_folder)
    if found != clean:
        differing = sorted(name for name in found.keys() | clean.keys() if found.get(name) != clean.get(name))
        told = f"{', '.join(differing)}; {_apart(folder, clean_folder)}; attempt {row.attempts}"
        verdict.err(row.id, f"not the bytes of a clean run: {told}")
    coverage = json.loads((folder / row.slide_ids[0] / "findings.json").read_text())["coverage"]
    if coverage["tiles_planned"] != row.tiles_total:
        verdict.err(row.id, f"{coverage} for {row.tiles_total} tiles")


def _apart(folder: Path, clean_folder: Path) -> str:
    """How far the tiles' scores lie from a clean run's: by rounding, or by what was read."""
    found, clean = _tiles(folder), _tiles(clean_folder)
    if found.keys() != clean.keys():
        return f"{len(found.keys() ^ clean.keys())} tiles only in one of both tables"
    steps = {box: max(abs(a - b) for a, b in zip(found[box], clean[box], strict=True)) for box in found}
    same = "the same window" if _windows(folder) == _windows(clean_folder) else "another window"
    differ = sum(step > 0 for step in steps.values())
    return f"{differ} tiles differ, by up to {max(steps.values()):.2g}, {same}"


def _tiles(folder: Path) -> dict[tuple[str, ...], tuple[float, ...]]:
    """Where each tile of the table lies, to its scores."""
    (table,) = folder.rglob("tiles.csv")
    with table.open(newline="") as lines:
        return {tuple(row[:4]): tuple(map(float, row[4:])) for row in list(csv.reader(lines))[1:]}


def _windows(folder: Path) -> list[dict[str, float]]:
    """What the pixels were normalised by."""
    (provenance,) = folder.rglob("provenance.json")
    windows: list[dict[str, float]] = json.loads(provenance.read_text())["windows"]
    return windows


def _check_trail(verdict: Verdict, house: House) -> None:
    told: dict[str, Counter[str]] = {read_id: Counter() for read_id in house.accepted}
    with house.store.reading() as session:
        for subject, what in session.execute(select(AuditRow.subject, AuditRow.what)):
            if subject in told:
                told[subject][what] += 1
    for read_id, events in told.items():
        for what in ("read_requested", "read_ended"):
            if events[what] == 0:
                verdict.lose(read_id, f"the trail tells of no {what}")
            elif events[what] > 1:
                verdict.double(read_id, f"the trail tells {events[what]} times of {what}")


def _check_runs(verdict: Verdict, house: House, runs: Iterable[Mapping[str, Any]]) -> None:
    counted = Counter(
        tag["value"] for run in runs for tag in run["data"].get("tags", ()) if tag["key"] == "read_id"
    )
    for read_id in house.accepted:
        if counted[read_id] == 0:
            verdict.lose(read_id, "MLflow shows no run")
        elif counted[read_id] > 1:
            verdict.double(read_id, f"MLflow shows {counted[read_id]} runs")


def _measure(verdict: Verdict, house: House) -> None:
    events = house.events()
    started = Counter(
        (event.subject, event.detail["slide"], event.detail["number"])
        for event in events
        if event.what == "scoring"
    )
    verdict.ranges_again = sum(count - 1 for count in started.values())
    verdict.take_over_s = [
        seconds
        for child in house.kills
        if child.killed_s is not None
        and (seconds := take_over(events, child.pid, child.killed_s)) is not None
    ]


def take_over(events: list[Event], pid: int, killed_s: float) -> float | None:
    """Seconds from a kill to the next claim of what the victim worked on.

    None where there is none: it had just ended, or another worker had it already.
    """
    claims = [event for event in events if event.what == "claimed"]
    mine = [event for event in claims if event.pid == pid and event.at_s <= killed_s]
    if not mine:
        return None
    last = mine[-1]
    later = [event for event in claims if event.subject == last.subject and event.at_s > last.at_s]
    if not later or later[0].at_s < killed_s:
        return None
    return later[0].at_s - killed_s
