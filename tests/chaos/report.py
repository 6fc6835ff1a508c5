"""docs/reliability.md from docs/reliability.json: run as `python -m chaos.report`."""

import json
import platform
import sqlite3
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from chaos.figures import TAKE_OVER_S, Figures, bound
from chaos.room import ROWS
from chaos.table import TABLE

ROOT = Path(__file__).parents[2]
JSON, PAGE = ROOT / "docs" / "reliability.json", ROOT / "docs" / "reliability.md"
HEAD = """# What faults do to reads

Made by `make reliability` from `reliability.json`; nothing here is written by hand. How faults are made,
and why they are real ones, is told in [ADR 0023](adr/0023-faults.md). `make chaos` runs every row at a small
count and is part of `make test`; `make chaos-night ROWS=... SEED=...` runs rows at their night counts, can be
stopped and goes on where it was, and adds its figures here.

**Lost** is a read that was accepted and did not end as it had to, or whose result or run is missing;
**doubled** one with two results, two runs or two ends in the trail; **wrong** one whose bytes are not a clean
run's. Beside a zero stands what it says: with 95 % confidence the rate is not above that (rule of three).
Times are a number of them, their median and the largest; judged are those of slices that ended with a load
below 2 a core, and where the machine was busier with other work, all are told beside them.
Not measured: loss of power, and fail-over between two databases, for which no second cluster is at hand.

"""
COLUMNS = (
    "Fault", "Faults", "Seed", "Reads", "Lost", "Doubled", "Wrong", "Ranges again",
    "Take-over, s", "Lease + 2 s", "Answers again, s", "Machine, commit",
)  # fmt: skip


def append(figures: Figures) -> None:
    """Add what was measured, with what it was measured on, and make the page anew."""
    told = {**figures.kept(), "broken": figures.broken(), "machine": _machine(), **_versions()}
    JSON.write_text(json.dumps([*_kept(), told], indent=1) + "\n")
    PAGE.write_text(page(_kept()))


def page(kept: list[dict[str, Any]]) -> str:
    """The page for these figures, in the order of the table; newer figures of a row last."""
    order = list(TABLE)
    rows = sorted(kept, key=lambda told: order.index(told["row"]) if told["row"] in order else len(order))
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *(_line(_cells(told)) for told in rows)]
    broken = [
        f"- {told['row']}, seed {told['seed']}, commit {told['commit']}: {each}{_held_since(told, rows)}"
        for told in rows
        for each in told["broken"]
    ]
    more = ["", "What did not hold:", "", *broken] if broken else []
    return HEAD + "\n".join([*lines, *more]) + "\n"


def _held_since(told: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Where the same row held at as many faults later on."""
    later = [each for each in rows[rows.index(told) + 1 :] if each["row"] == told["row"]]
    held = [each["commit"] for each in later if not each["broken"] and each["count"] >= told["count"]]
    return f" (held at {held[-1]})" if held else ""


def _cells(told: dict[str, Any]) -> list[str]:
    fault = ROWS[told["row"]].fault if told["row"] in ROWS else told["row"]
    zeros = [
        f"{told[name]}" + (f" (≤ {bound(told['count'])})" if told[name] == 0 else "") for name in _COUNTS
    ]
    taken, back = _times(told, "take_over_s", "judged_s"), _times(told, "back_s", "judged_back_s")
    limit = f"{told['lease_s'] + TAKE_OVER_S:g}" if taken else ""
    return [
        f"{fault} (`{told['row']}`)", f"{told['count']}", f"{told['seed']}", f"{told['reads']}", *zeros,
        f"{told['ranges_again']}", taken, limit, back, f"{told['machine']}, {told['commit']}",
    ]  # fmt: skip


def _times(told: dict[str, Any], name: str, judged: str) -> str:
    """Median and largest of those that are judged, and of all where that is not the same."""
    of_all, counted = told[name], told[judged]
    if of_all is None:
        return ""
    busy = "" if counted == of_all else f"all {of_all['count']}: {of_all['median']}, at most {of_all['max']}"
    quiet = f"{counted['count']}: {counted['median']}, at most {counted['max']}" if counted else ""
    return "; ".join(each for each in (quiet, busy) if each)


_COUNTS = ("lost", "doubled", "wrong")


def _line(cells: "list[str] | tuple[str, ...]") -> str:
    return "| " + " | ".join(cells) + " |"


def _kept() -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = json.loads(JSON.read_text()) if JSON.exists() else []
    return kept


def _machine() -> str:
    cores, memory = psutil.cpu_count(), round(psutil.virtual_memory().total / 2**30)
    return f"{cores} cores, {memory} GiB, {platform.system()}"


def _versions() -> dict[str, str]:
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short=7", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    names = ("sqlalchemy", "psycopg", "mlflow", "ray")
    return {
        "commit": commit or "unknown",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in names},
    }


if __name__ == "__main__":
    PAGE.write_text(page(_kept()))
