"""scan_record.json of a result folder: the same record, with what a single read knows."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from ranges import Read
from simulated import simulated_tissue, write_tiff
from tiny_model import tiny_model

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.scale import operator_scale
from ultraread.datasets.scan_record.record import ScanRecord, scan_record_schema
from ultraread.datasets.scan_record.statement import Statement
from ultraread.datasets.slide_address import address_of
from ultraread.serving.read_slide import ReadRequest, prepare_slide
from ultraread.serving.results.scan_record import scan_record_of


def test_it_follows_the_published_schema_and_tells_the_file_alone(read: Read) -> None:
    told = json.loads((read.folder / "scan_record.json").read_text())
    Draft202012Validator(scan_record_schema()).validate(told)
    record = ScanRecord.model_validate(told)
    (image,) = record.from_file.images
    assert (image.width_px, image.height_px, image.bit_depth) == (600, 360, 8)
    assert image.scales[0].x_nm_per_px == pytest.approx(4.0)
    assert record.from_file.sha256 == read.prepared.digest.sha256
    assert {name: getattr(record, name) for name in Statement.model_fields} == dict(Statement())
    assert (record.id, record.slide_id, record.revision, record.storage) == (None, None, None, None)


def test_a_scale_that_an_operator_states_stands_there_with_its_reason(tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", simulated_tissue(128, 128))
    request = ReadRequest(stated_scale=operator_scale(4.6, "simulated", 0.02))
    prepared = prepare_slide(address_of(slide), tiny_model(tmp_path / "tiny"), request)
    told = scan_record_of(prepared)
    assert told["from_file"]["files"][0]["sha256"] == sha256_of_file(slide)
    assert told["from_file"]["images"][0]["scales"] == [
        {
            "x_nm_per_px": 4.6,
            "y_nm_per_px": 4.6,
            "origin": "operator",
            "tolerance": 0.02,
            "reason": "simulated",
        }
    ]
