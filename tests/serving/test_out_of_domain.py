"""Tiles that look strange to the model are counted, told, and keep findings from being assessed."""

import csv
import json
from pathlib import Path
from typing import Any

from command_line import ultraread
from simulated import simulated_tissue, write_tiff
from tiny_model import as_int8_with_twin, with_strangeness, write_tiny_model

from ultraread.serving.limitations import TWIN


def read(tmp_path: Path, folder: Path) -> dict[str, Any]:
    """findings.json of one made field, read by the command."""
    slide = write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256), 4.6)
    done = ultraread("read", slide, "--out", tmp_path / "out", "--model", folder, "--specimen", "simulated")
    assert done.status == 0, done.err
    found: dict[str, Any] = json.loads((tmp_path / "out" / "field" / "findings.json").read_text())
    return found


def test_usual_tiles_are_counted_as_such_and_listed_with_their_score(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    with_strangeness(folder, threshold=100)
    found = read(tmp_path, folder)
    assert found["coverage"]["tiles_out_of_domain"] == 0
    assert {one["assertion"] for one in found["findings"]} <= {"present", "not_seen", "indeterminate"}
    with (tmp_path / "out" / "field" / "tiles.csv").open() as rows:
        scores = [float(row["out_of_domain"]) for row in csv.DictReader(rows)]
    assert len(scores) == found["coverage"]["tiles_scored"]
    assert all(0 < score < 100 for score in scores)


def test_where_most_tiles_are_strange_nothing_is_assessed_and_the_result_says_why(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    with_strangeness(folder, threshold=1e-6)
    found = read(tmp_path, folder)
    coverage = found["coverage"]
    assert coverage["tiles_out_of_domain"] == coverage["tiles_scored"] > 0
    assert {one["assertion"] for one in found["findings"]} == {"not_assessed"}
    assert all(one["score"] is None and not one["measurements"] for one in found["findings"])
    assert any("look unlike what the model was trained on: no finding" in one for one in found["limitations"])


def test_a_few_strange_tiles_are_told_and_do_not_keep_findings_from_being_assessed(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    with_strangeness(folder, threshold=1e-6, max_flagged_fraction=1.0)
    found = read(tmp_path, folder)
    assert "not_assessed" not in {one["assertion"] for one in found["findings"]}
    assert any("look unlike what the model was trained on." in one for one in found["limitations"])


def test_a_model_without_such_a_score_says_nothing_of_it(tmp_path: Path) -> None:
    found = read(tmp_path, write_tiny_model(tmp_path / "model"))
    assert found["coverage"]["tiles_out_of_domain"] is None


def test_a_read_by_the_float32_twin_names_its_digest_and_says_so(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    model = as_int8_with_twin(folder, shift=0.2)
    found = read(tmp_path, folder)
    assert model.card.fp32_twin is not None
    assert found["model"]["onnx_sha256"] == model.card.fp32_twin.sha256
    assert TWIN in found["limitations"]
