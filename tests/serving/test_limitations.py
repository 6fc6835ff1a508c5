"""What a result says of its own limits."""

from datetime import date
from pathlib import Path
from typing import Any

from calibrations import record
from simulated import simulated_tissue, write_tiff
from tiny_model import tiny_model

from ultraread.datasets.calibration import Calibrations
from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.slide_address import address_of
from ultraread.serving.aggregate import coverage_of, scope_of
from ultraread.serving.limitations import ONE_IMAGE, PART_ONLY, UNCALIBRATED, limitations_of
from ultraread.serving.read_slide import ReadRequest, prepare_slide


def said(
    tmp_path: Path,
    region: BoxPx | None,
    specimen: str = "",
    calibrations: Calibrations | None = None,
    **card: Any,  # noqa: ANN401
) -> str:
    model = tiny_model(tmp_path / "model", **card)
    slide = write_tiff(tmp_path / "slide.tif", simulated_tissue(256, 256), 4.6)
    prepared = prepare_slide(address_of(slide), model, ReadRequest(region=region, calibrations=calibrations))
    scope, coverage = scope_of(specimen, model.card, 1), coverage_of([], model.card)
    return " ".join(limitations_of(model, scope, coverage, [prepared], ()))


def test_a_read_of_a_region_says_that_nothing_is_said_of_the_rest(tmp_path: Path) -> None:
    assert PART_ONLY in said(tmp_path, BoxPx(0, 0, 128, 128))


def test_a_read_of_a_whole_image_says_nothing_of_regions_but_that_its_interval_is_narrow(
    tmp_path: Path,
) -> None:
    told = said(tmp_path, None)
    assert PART_ONLY not in told
    assert ONE_IMAGE in told
    assert "does not state its modality" in told


def test_an_unstated_a_known_and_a_foreign_specimen_are_told_apart(tmp_path: Path) -> None:
    assert "The specimen was not stated" in said(tmp_path / "a", None)
    assert "all findings out of scope" in said(tmp_path / "b", None, "human kidney")
    assert "The model was made for simulated." in said(tmp_path / "c", None, "Simulated")


def test_records_of_other_instruments_are_said_not_to_have_checked_the_scale(tmp_path: Path) -> None:
    others = Calibrations((record(),), as_of=date(2026, 11, 24))
    assert UNCALIBRATED in said(tmp_path / "a", None, calibrations=others)
    assert UNCALIBRATED not in said(tmp_path / "b", None)


def test_a_card_that_names_no_specimen_is_said_to(tmp_path: Path) -> None:
    assert "names no specimen that it was made for" in said(tmp_path, None, specimens=[])
