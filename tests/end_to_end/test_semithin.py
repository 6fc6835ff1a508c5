"""The glass slide itself, scanned in colour: filed and told of, never scored."""

import json
from pathlib import Path

import pytest
import simulated
from command_line import ultraread
from simulated import simulated_tissue, write_tiff
from tiny_model import write_tiny_model

NM_PER_PX = 4.6
NM_PER_PX_OF_GLASS = 250.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def _glass(path: Path) -> Path:
    return write_tiff(path, simulated.simulated_colours(512, 512), NM_PER_PX_OF_GLASS)


def test_a_read_of_the_glass_slide_ends_with_every_finding_out_of_scope(tmp_path: Path, model: Path) -> None:
    ended = ultraread("read", _glass(tmp_path / "glass.tif"), "--out", tmp_path / "out", "--model", model)
    assert ended.status == 0
    found = json.loads((tmp_path / "out/glass/findings.json").read_text())
    assert {finding["assertion"] for finding in found["findings"]} == {"out_of_scope"}
    assert {finding["score"] for finding in found["findings"]} == {None}
    assert found["coverage"]["tiles_planned"] == 0
    (image,) = found["slide"]["images"]
    assert image["modality"] == "semithin_light"
    assert image["nm_per_px"] == NM_PER_PX_OF_GLASS
    assert "Light micrographs among the images: 1." in " ".join(found["limitations"])


def test_the_glass_slide_changes_no_figure_of_its_case(tmp_path: Path, model: Path) -> None:
    field = write_tiff(tmp_path / "field.tif", simulated_tissue(512, 512), NM_PER_PX)
    glass = _glass(tmp_path / "glass.tif")
    for out, slides in (("alone", [field]), ("both", [field, glass])):
        ended = ultraread("read", *slides, "--case", "C", "--out", tmp_path / out, "--model", model)
        assert ended.status == 0
    alone, both = (json.loads((tmp_path / out / "case.json").read_text()) for out in ("alone", "both"))
    assert _without_intervals(both) == _without_intervals(alone)
    assert both["coverage"] == alone["coverage"]


def _without_intervals(case: dict[str, list[dict[str, object]]]) -> list[object]:
    """Intervals are drawn with a seed of all digests, so those of other slides differ."""
    return [(found["assertion"], found["score"], found["evidence"]) for found in case["findings"]]
