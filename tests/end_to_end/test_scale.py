"""Where a pixel size is from: a read by calibration record, with and without a bar burnt into the field."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibrations import RECORD
from command_line import ultraread
from drawn_bar import DrawnBar, save, with_bars
from PIL import Image

from ultraread.datasets.calibration import COLUMNS
from ultraread.datasets.corpora import fetch

BAR = DrawnBar(217, "1 um", 60, 960)
"""1 um over 217 px: 4.6 nm/px, the field's published scale."""
POINTS = 1.5
"""By how many points of area fraction a bar over 4 % of a field may change what is found in the rest of it:
tissue under the bar is not assessed, and the field's mean moves by what that tissue differs from it."""
INSTRUMENT = ("--microscope", "TEM 1", "--camera", "CCD", "--magnification", "8000")

Json = dict[str, Any]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    measured = {**RECORD, "microscope": "TEM 1", "camera": "CCD", "magnification": 8000, "nm_per_px": 4.6}
    file = tmp_path_factory.mktemp("records") / "records.csv"
    file.write_text(f"{','.join(COLUMNS)}\n{','.join(str(measured[column]) for column in COLUMNS)}\n")
    return file


@pytest.fixture(scope="module")
def read(records: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """Findings of one real field without and with a bar drawn into it."""
    folder = tmp_path_factory.mktemp("fields")
    field = np.asarray(Image.open(fetch("drosophila_vnc/stack2/raw/03.tif")).convert("L"))
    slides = [save(folder / "plain.png", field), save(folder / "barred.png", with_bars(field, BAR))]
    out = folder / "out"
    asked = ("--calibrations", records, *INSTRUMENT, "--as-of", "2026-06-01")
    assert ultraread("read", *slides, "--out", out, *asked).status == 0
    return {slide.stem: json.loads((out / slide.stem / "findings.json").read_text()) for slide in slides}


@pytest.mark.parametrize("name", ["plain", "barred"])
def test_a_record_is_the_scale_with_its_tolerance_and_its_reason_wherever_it_is_shown(
    read: dict[str, Json], name: str
) -> None:
    (image,) = read[name]["slide"]["images"]
    shown = [image[f"nm_per_px{what}"] for what in ("", "_tolerance", "_origin")]
    assert shown == [4.6, 0.016, "calibration_record"]
    reason = "measured with catalase crystal on 2026-01-05, valid on 2026-06-01, when the read was asked for"
    assert image["nm_per_px_reason"] == reason
    assert any(reason in limitation for limitation in read[name]["limitations"])


def test_a_field_with_a_bar_gives_the_findings_of_the_field_without(read: dict[str, Json]) -> None:
    plain, barred = read["plain"]["findings"], read["barred"]["findings"]
    assert [one["assertion"] for one in plain] == [one["assertion"] for one in barred]
    for one, other in zip(plain, barred, strict=True):
        assert one["measurements"][0]["value"] == pytest.approx(other["measurements"][0]["value"], abs=POINTS)


def test_the_bar_is_told_as_an_artefact_and_the_field_without_has_none(read: dict[str, Json]) -> None:
    told = {name: {note["artefact"] for note in found["quality"]} for name, found in read.items()}
    assert "UR-QC-TEXT" in told["barred"]
    assert "UR-QC-TEXT" not in told["plain"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (("--as-of", "2031-01-01"), "calibration_expired"),
        (("--as-of", "2026-06-01", "--nm-per-px", "6", "--reason", "a guess"), "slide_scales_disagree"),
    ],
)
def test_doubt_refuses_the_read_before_anything_is_scored(
    records: Path, tmp_path: Path, asked: tuple[str, ...], code: str
) -> None:
    field = fetch("drosophila_vnc/stack2/raw/03.tif")
    done = ultraread("read", field, "--out", tmp_path, "--calibrations", records, *INSTRUMENT, *asked)
    assert done.status == 3
    assert f"error[{code}]" in done.err


def test_an_instrument_without_records_is_a_mistake_of_the_command(tmp_path: Path) -> None:
    done = ultraread("read", fetch("isbi2012/raw/00.png"), "--out", tmp_path, *INSTRUMENT)
    assert (done.status, "--calibrations" in done.err) == (2, True)
