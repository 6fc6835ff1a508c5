"""Verifying a folder of results passes over nothing that was there."""

from collections.abc import Callable
from pathlib import Path

import pytest
import rfc8785
from simulated import simulated_tissue
from simulated_wide import write_dicom_slide, write_ome_zarr

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.slide_address import address_of
from ultraread.datasets.slide_digest import digest_slide
from ultraread.errors import IntegrityFailed
from ultraread.serving.findings import digest_of
from ultraread.serving.verify import verify


def _write(path: Path, body: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rfc8785.dumps({**body, "digest": digest_of(body)}))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Simulated: a case of two slides, one of them refused, and an interrupted read, which is no result."""
    _write(tmp_path / "one/findings.json", {"slide": {"sha256": "aa"}})
    _write(tmp_path / "one/provenance.json", {"files": {}})
    fields = [{"slide_sha256": "aa", "error_code": ""}, {"slide_sha256": "bb", "error_code": "slide_empty"}]
    _write(tmp_path / "case.json", {"fields": fields})
    (tmp_path / ".two.partial").mkdir()
    return tmp_path


def test_a_case_with_all_its_folders_is_confirmed(results: Path) -> None:
    confirmed = verify(results)
    assert confirmed[1:] == [
        "one/findings.json: digest confirmed",
        f"{results.name}/case.json: digest confirmed",
    ]


@pytest.mark.parametrize("lost", ["findings.json", "provenance.json"])
@pytest.mark.parametrize("named", [lambda results: results, lambda results: results / "one"])
def test_a_result_that_lost_a_file_is_named_with_it(
    named: Callable[[Path], Path], lost: str, results: Path
) -> None:
    (results / "one" / lost).unlink()
    with pytest.raises(IntegrityFailed, match=f"one/{lost} is missing"):
        verify(named(results))


def test_a_folder_among_results_that_lost_both_is_damaged_and_not_something_else(results: Path) -> None:
    (results / "three").mkdir()
    (results / "three/tiles.csv").write_text("minx,miny,width,height\n")
    with pytest.raises(IntegrityFailed, match=r"three/provenance\.json is missing"):
        verify(results)


def test_a_field_of_the_case_without_a_folder_is_missed(results: Path) -> None:
    _write(results / "one/findings.json", {"slide": {"sha256": "cc"}})
    with pytest.raises(IntegrityFailed, match=r"1 fields of .*case\.json have no result folder"):
        verify(results)


@pytest.mark.parametrize("kind", ["ome_zarr", "dicom"])
def test_a_slide_of_several_files_is_decoded_and_digested_as_one(tmp_path: Path, kind: str) -> None:
    tissue = simulated_tissue(200, 150)
    slide = (
        write_ome_zarr(tmp_path / "slide", tissue)
        if kind == "ome_zarr"
        else write_dicom_slide(tmp_path / "slide", tissue)
    )
    decoded, told = verify(slide)
    assert "200 x 150 px decodable" in decoded
    assert told.endswith(digest_slide(address_of(slide)).sha256)


def test_a_damaged_chunk_of_an_ome_zarr_is_named(tmp_path: Path) -> None:
    slide = write_ome_zarr(tmp_path / "slide", simulated_tissue(200, 150))
    (slide / "0/1.1").write_bytes(b"\xa5" * 500)
    with pytest.raises(IntegrityFailed, match="image 0"):
        verify(slide)


def test_the_scan_record_of_a_result_is_held_against_its_provenance(tmp_path: Path) -> None:
    record = tmp_path / "one/scan_record.json"
    record.parent.mkdir()
    record.write_text('{"accession": null}\n')
    _write(tmp_path / "one/provenance.json", {"files": {record.name: sha256_of_file(record)}})
    assert verify(record) == ["one/scan_record.json: as provenance.json says"]
    record.write_text('{"accession":null}\n')
    with pytest.raises(IntegrityFailed, match="not what provenance"):
        verify(record)
    record.unlink()
    with pytest.raises(IntegrityFailed, match="missing"):
        verify(record)
