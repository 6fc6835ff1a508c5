"""An earlier release and this one at work on the same reads, while the tables are brought up to date."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from chaos.house import TESTS, seeded
from chaos.invariants import Verdict
from chaos.room import Room, row
from chaos.rows_kills import settled
from chaos.worker import Spec, settings_of

from ultraread.serving.settings import prepare_folders

RELEASE = "4089ae3"
"""The last commit before reads were durable: its tables are those of migration 0003."""
READS = 4


@row(
    "upgrade",
    "an older release beside this one, tables migrated under it",
    small=1,
    night=10,
    a_slice=2,
    again=False,
)
def upgraded_in_flight(room: Room, count: int, seed: int) -> Verdict:
    """Workers of both kill off each other's reads in turn: none is stranded, each has a clean run's bytes."""
    verdict = Verdict()
    for number in range(count):
        verdict.add(_upgraded(room, seeded(seed + number)))
    verdict.kills = count
    return verdict


def _upgraded(room: Room, chance: random.Random) -> Verdict:
    olds: list[subprocess.Popen[str]] = []
    with _older_release(room) as source:
        try:
            with room.house(before=lambda spec: olds.append(_start_older(source, spec))) as house:
                for number in range(READS):
                    house.ask(number)
                house.wait(lambda: any(row.owner == "older" for row in house.open_reads()))
                house.start(1)
                time.sleep(chance.uniform(0.0, 0.4))
                _killed(olds.pop())  # its read goes on here
                house.other_faults += 1
                for number in range(READS):
                    house.ask(number)
                return settled(room, house)
        finally:
            for old in olds:
                _killed(old)


@contextmanager
def _older_release(room: Room) -> Iterator[Path]:
    """Its source, from the history of this clone; a copy without history has nothing to upgrade from."""
    folder = room.folder / f"release-{RELEASE}"
    repository = TESTS.parent
    if not folder.exists():
        asked = ["git", "-C", str(repository), "archive", RELEASE, "src", "serving", "datasets", "models"]
        packed = subprocess.run(asked, capture_output=True, check=False)
        if packed.returncode:
            pytest.skip(f"this copy has no history with commit {RELEASE}")
        folder.mkdir()
        subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    yield folder


def _start_older(source: Path, spec: Spec) -> "subprocess.Popen[str]":
    """Start it on an empty database, which it makes with the tables of its time."""
    prepare_folders(settings_of(spec))
    told = os.environ | {"PYTHONPATH": f"{source / 'src'}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "chaos.older_worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env=told, cwd=TESTS,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(asdict(replace(spec, name="older"))) + "\n")
    process.stdin.flush()
    while (line := process.stdout.readline()) and line != "ready\n":
        pass
    assert line, "the older release does not start"
    return process


def _killed(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
