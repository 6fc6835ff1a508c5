"""Rows at their night counts, slice by slice: can be stopped at any time, and goes on where it was.

Run as `make chaos-night ROWS=kill-random,s3 SEED=7`. State of what is not done lies in build/chaos; what is
done is appended to docs/reliability.json, and docs/reliability.md is made anew.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from chaos import report
from chaos.figures import Figures, begun, line
from chaos.house import LARGE, SMALL, Load, nursery
from chaos.room import ROWS, Room, Row
from chaos.table import TABLE
from mlflow_server import mlflow_started
from object_store import started
from postgres import cluster

STATE = report.ROOT / "build" / "chaos"
SEED_STEP = 1_000_003
"""Between slices."""


def main() -> None:
    """Run the rows that were asked for, or all."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", default="")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--count", type=int, help="instead of the night's count")
    told = asked.parse_args()
    names = told.rows.split(",") if told.rows else list(TABLE)
    with night_room(SMALL if os.environ.get("SMALL") else LARGE) as room:
        for name in names:
            _run(room, ROWS[name], told.count or ROWS[name].night, told.seed)


@contextmanager
def night_room(load: Load) -> Iterator[Room]:
    """A room outside of the suite, with servers of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True)))
        parts: dict[str, Any] = {}

        def part(name: str) -> Any:  # noqa: ANN401  # each its own kind
            if name not in parts:
                parts[name] = stack.enter_context(
                    cluster() if name == "postgres" else started(_made(folder / name))
                )
                if name == "object_store":
                    os.environ.update(parts[name].environment)
            return parts[name]

        nurse, mlflow = stack.enter_context(nursery()), stack.enter_context(mlflow_started())
        yield Room(folder, nurse, mlflow, load, part)


def _run(room: Room, row: Row, count: int, seed: int) -> None:
    """Whatever a slice finds is kept; what is done is not run again."""
    figures, done = _state(room, row, count, seed)
    while done < count:
        size, began = min(row.slice, count - done), time.monotonic()
        room.is_first = done == 0
        try:
            verdict = row.run(room, size, seed * SEED_STEP + done)
        except pytest.skip.Exception as lacking:
            print(f"{row.name}: left out: {lacking}")
            return
        except AssertionError as broken:
            figures.notes.append(f"seed {seed * SEED_STEP + done}: {broken}")
        else:
            figures.add(verdict, time.monotonic() - began)
        done += size
        figures.count = done
        _file(row, seed).write_text(json.dumps({"done": done, "figures": asdict(figures)}))
        print(f"{done}/{count} {line(figures)}", flush=True)
    report.append(figures)
    _file(row, seed).unlink(missing_ok=True)
    for note in figures.broken():
        print(f"{row.name}, seed {seed}: {note}")


def _state(room: Room, row: Row, count: int, seed: int) -> tuple[Figures, int]:
    file = _file(row, seed)
    if not file.exists():
        return begun(room, row, count, seed), 0
    told = json.loads(file.read_text())
    return Figures(**told["figures"]), int(told["done"])


def _file(row: Row, seed: int) -> Path:
    return _made(STATE) / f"{row.name}-{seed}.json"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
