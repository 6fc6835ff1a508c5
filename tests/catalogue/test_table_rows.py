"""CSV that a table program opens: no text of anybody's is a formula there, and numbers stay numbers."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from command_line import ultraread
from hostile_names import HOSTILE_NAMES
from labelled import labelled_row, write_manifest

from ultraread.datasets.manifest import load_manifest
from ultraread.datasets.splits import Unit, split_fields, write_split
from ultraread.datasets.table_cells import as_cell, text_of
from ultraread.serving.api.app import create_api
from ultraread.serving.api.service import Service
from ultraread.serving.settings import Settings
from ultraread.serving.store.audit import AuditLog

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("datasets", "models", "serving", "training")
FORMULAS = ("=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1:A9)", "\t=1+1", "\r=1+1", "'=1+1", "-rf", "=")
LINES = tuple(text for text in FORMULAS if "\r" not in text)
BEGINS = ("=", "+", "-", "@", "\t", "\r")
WRITERS = {"datasets/manifest.py", "serving/audit/export.py", "serving/results/tables.py"}
"""Modules that write cells; serving/cli_audit.py writes those of serving/audit/export.py."""


@pytest.mark.parametrize("text", [*FORMULAS, *HOSTILE_NAMES, "'", "''", "''=1", "7"])
def test_a_text_that_begins_as_a_formula_gets_an_apostrophe_and_comes_back_as_it_was(text: str) -> None:
    cell = as_cell(text)
    assert not cell.startswith(BEGINS)
    assert (cell != text) == text.lstrip("'").startswith(BEGINS)
    assert text_of(cell) == text


@pytest.mark.parametrize("number", [-1, -0.5, 0, 7, None, True])
def test_numbers_stay_as_they_are(number: object) -> None:
    assert as_cell(number) is number


def test_every_module_that_writes_tables_writes_such_cells() -> None:
    writing = re.compile(r"csv\.(Dict)?[Ww]riter\(|\.to_csv\(|\.write_csv\(|delimiter=")
    sources = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    found = {path.relative_to(ROOT).as_posix() for path in sources if writing.search(path.read_text())}
    assert found - {"serving/cli_audit.py"} <= WRITERS
    assert "csv_row(line)" in (ROOT / "serving" / "cli_audit.py").read_text()
    for name in WRITERS:
        assert "as_cell(" in (ROOT / name).read_text()


def test_names_in_a_manifest_are_no_formulas_and_are_read_again(tmp_path: Path) -> None:
    rows = [labelled_row(f"{n}.png", specimen=text, block=text) for n, text in enumerate(LINES)]
    manifest = load_manifest(write_manifest(tmp_path, rows))
    given = [text_of(text) for text in LINES]
    halves = split_fields(manifest.fields, Unit.SPECIMEN, {"train": 0.5, "test": 0.5}, gap=0)
    write_split(manifest, halves, tmp_path / "new.csv")
    assert _formulas(tmp_path / "new.csv", "specimen", "block") == []
    assert [field.block for field in load_manifest(tmp_path / "new.csv").fields] == given


def test_names_in_an_exported_trail_are_no_formulas(tmp_path: Path) -> None:
    data = tmp_path / "data"
    service: Service = create_api(Settings(data_dir=data)).state.service
    with service.store.writing() as session:
        for text in FORMULAS:
            AuditLog(session).append(text, "read_requested", text, why=text)
    service.decoding.close()
    service.store.close()
    ended = ultraread("audit", "export", "--csv", "--out", tmp_path / "trail.csv", "--data-dir", data)
    assert ended.status == 0, ended.err
    assert _formulas(tmp_path / "trail.csv") == []
    with (tmp_path / "trail.csv").open(newline="") as lines:
        subjects = [row["subject"] for row in csv.DictReader(lines)]
    assert [text for text in FORMULAS if as_cell(text) in subjects] == list(FORMULAS)


def _formulas(file: Path, *columns: str) -> list[Any]:
    """Cells that a table program would compute; numbers are none."""
    with file.open(newline="") as lines:
        cells = [row[name] for row in csv.DictReader(lines) for name in columns or row]
    return [cell for cell in cells if cell.startswith(BEGINS)]
