"""What a read of the service takes as its scale: the look made at filing, and the records of its request."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from calibrations import record
from working_house import WorkingHouse, working_house

from ultraread.datasets.burnt_in.look import BurntInBar, Look
from ultraread.datasets.geometry import BoxPx
from ultraread.serving.store.calibrations import import_calibrations, last_calibration
from ultraread.serving.store.jobs import NewRead
from ultraread.serving.store.tables import SlideRow

INSTRUMENT = {"microscope": "JEM-1400", "camera": "Veleta", "magnification": 6500}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[WorkingHouse]:
    with working_house(tmp_path) as house:
        yield house


def test_a_read_takes_the_bar_that_was_seen_at_filing_and_looks_no_more(house: WorkingHouse) -> None:
    """The look says of a slide without a bar that it has one: whoever looked again would not find it."""
    slide = house.file()
    bar = BurntInBar(BoxPx(1, 50, 40, 3), length_px=100, length_nm=460, text="460 nm")
    with house.house.store.writing() as session:
        session.get_one(SlideRow, slide).looks = [Look(bars=(bar,)).as_json()]
    image = _read(house, slide, {"region": None, "scale": None})
    assert (image["nm_per_px"], image["nm_per_px_origin"]) == (4.6, "burnt_in_bar")
    assert image["nm_per_px_tolerance"] == pytest.approx(0.06)
    assert image["nm_per_px_reason"] == "burnt-in bar of 460 nm over 100.0 px"


def test_a_read_uses_the_records_of_its_request_and_none_that_came_later(house: WorkingHouse) -> None:
    slide = house.file()
    with house.house.store.writing() as session:
        import_calibrations(session, [record(nm_per_px=4.6)], "a test")
        asked = {"as_of": "2026-06-01", "calibrations_upto": last_calibration(session)}
        import_calibrations(session, [record(nm_per_px=4.7, date="2026-05-01")], "a test")
    request = {"region": None, "scale": None, "instrument": INSTRUMENT}
    assert _read(house, slide, request | asked)["nm_per_px"] == 4.6
    assert _read(house, slide, request | asked | {"calibrations_upto": 2})["nm_per_px"] == 4.7


def _read(house: WorkingHouse, slide: str, request: dict[str, Any]) -> dict[str, Any]:
    """The first image of the findings that a read of this request ends with."""
    card, read_id = house.model.card, f"read-{len(list(house.house.settings.reads_dir.iterdir()))}"
    read = NewRead(
        id=read_id, case_id=None, slide_ids=(slide,), slide_sha256s=(), model_name=card.name,
        model_version=card.version, model_onnx_sha256=card.sha256,
        model_card_sha256=house.model.card_sha256, request=request,
    )  # fmt: skip
    house.jobs.enqueue(read, "a test")
    assert house.run()
    assert house.row(read_id).state == "succeeded", house.row(read_id).error_what
    folder = house.house.settings.result_dir(read_id, epoch=1) / slide
    image: dict[str, Any] = json.loads((folder / "findings.json").read_text())["slide"]["images"][0]
    return image
