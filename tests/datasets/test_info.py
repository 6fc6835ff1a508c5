"""`ultraread info` tells all that a slide holds, in words and in JSON; of identity only how much."""

from pathlib import Path

import pytest
from command_line import ultraread
from simulated import simulated_colours, simulated_tissue, write_ome_tiff, write_svs, write_tiff
from simulated_wide import write_dicom_slide

from ultraread.datasets.corpora import fetch
from ultraread.datasets.slide_address import address_of
from ultraread.datasets.slide_digest import digest_slide


def test_json_tells_every_fact(tmp_path: Path) -> None:
    folder = write_dicom_slide(tmp_path / "slide", simulated_tissue(300, 200), nm_per_px=4.6)
    told = ultraread("info", folder, "--json").printed
    (image,) = told["images"]
    digest = digest_slide(address_of(folder))
    assert told["sha256"] == digest.sha256
    assert (told["format"], told["files"]) == ("dicom_wsi", 2)
    assert told["bytes"] == sum(file.bytes for file in digest.files)
    assert image["levels"] == [{"width": 300, "height": 200}, {"width": 150, "height": 100}]
    assert (image["stored_as"], image["compression"]) == ("uint8", "none")
    assert image["stored_tile"] == {"width": 64, "height": 64}
    assert (image["modality"], image["modality_is_stated"]) == ("tem", False)
    assert image["acquisition"]["magnification"] == 40
    (scale,) = image["scales"]
    assert (scale["origin"], scale["tolerance"]) == ("instrument_tag", 0.05)
    assert scale["x_nm_per_px"] == pytest.approx(4.6)


def test_of_identity_only_the_number_is_told(tmp_path: Path) -> None:
    folder = write_dicom_slide(tmp_path / "slide", simulated_tissue(300, 200))
    for words in ((), ("--json",)):
        ended = ultraread("info", folder, *words)
        assert "MARKED" not in ended.out + ended.err
    assert ultraread("info", folder, "--json").printed["identifying"]["found"] > 3
    plain = write_tiff(tmp_path / "a.tif", simulated_tissue(64, 64))
    assert ultraread("info", plain, "--json").printed["identifying"] == {"found": 0, "in_names": False}


def test_people_are_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    told = ultraread("info", write_svs(tmp_path / "a.svs", simulated_colours(600, 400))).out
    for words in (
        "a.svs: svs",
        "thumbnail, label, macro",
        "600 x 400",
        "uint8, jpeg, 240 x 240",
        "40 x",
        "8 bit, RGB",
    ):
        assert words in told
    assert "250 ± 5 %" in told
    assert "instrument_tag" in told


def test_in_80_columns_nothing_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = ultraread("info", write_svs(tmp_path / "a.svs", simulated_colours(600, 400))).out
    assert "…" not in told
    for words in ("uint8, jpeg, 240 x 240", "semithin_light (taken)", "250 ± 5 %, instrument_tag"):
        assert words in told


def test_images_that_are_alike_are_told_once(tmp_path: Path) -> None:
    folder = tmp_path / "fields"
    folder.mkdir()
    for number in range(12):
        write_tiff(folder / f"{number}.tif", simulated_tissue(64, 64, seed=number), 4.6)
    write_tiff(folder / "12.tif", simulated_tissue(64, 32), 4.6)
    told = ultraread("info", folder).out
    assert [line.split() for line in told.splitlines() if line.startswith("image ")] == [
        ["image", "0-11"],
        ["image", "12"],
    ]
    assert told.count("4.6 ± 5 %") == 2


def test_every_scale_is_told_with_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    told = ultraread("info", write_ome_tiff(tmp_path / "a.ome.tif", simulated_tissue(64, 64), 4.6)).out
    assert "4.6 ± 5 %" in told
    assert "ome" in told
    none = ultraread("info", write_tiff(tmp_path / "a.tif", simulated_tissue(64, 64))).out
    assert "none stated: a read needs --nm-per-px X --reason TEXT" in none


def test_a_real_instrument_tells_magnification_and_camera() -> None:
    told = ultraread("info", fetch("nerve_myelin/raw/HPF4-483S1-4B-6500x-1.tif"), "--json").printed
    assert told["images"][0]["acquisition"]["magnification"] == 6500
    assert told["images"][0]["bit_depth"] == 16
