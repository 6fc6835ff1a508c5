"""What cannot be read safely is refused, with a code, an exit status and what to do; the rest is read."""

import csv
import errno
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import simulated
import tifffile
from command_line import ultraread
from simulated import simulated_tissue, write_tiff
from tiny_model import change_card, replace_graph, tiny_graph, write_tiny_model

from ultraread.datasets.corpora import fetch
from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.slide_address import SlideAddress, address_of
from ultraread.serving.read_slide import PreparedSlide, prepare_slide

NM_PER_PX = 4.6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def _header_only(at: Path) -> Path:
    path = write_tiff(at / "slide.tif", simulated_tissue(256, 256), NM_PER_PX)
    with tifffile.TiffFile(path) as file:
        first = min(file.pages.first.dataoffsets)
    path.write_bytes(path.read_bytes()[:first])
    return path


def _declaring_much(at: Path) -> Path:
    path = write_tiff(at / "slide.tif", simulated_tissue(256, 256), NM_PER_PX)
    with tifffile.TiffFile(path, mode="r+") as file:
        counts = file.pages.first.tags["TileByteCounts"]
        counts.overwrite([2**31] * len(counts.value), dtype="I")
    return path


def _png_declaring_much(at: Path) -> Path:
    path = simulated.write_png(at / "slide.png", simulated_tissue(256, 256))
    stored = bytearray(path.read_bytes())
    stored[16:24] = struct.pack(">II", 60_000, 60_000)
    stored[29:33] = struct.pack(">I", zlib.crc32(stored[12:29]))
    path.write_bytes(bytes(stored))
    return path


def _written(at: Path, content: bytes) -> Path:
    (at / "slide.tif").write_bytes(content)
    return at / "slide.tif"


def _with_nan(at: Path, x: int, y: int) -> Path:
    pixels = simulated_tissue(1600, 1600).astype(np.float32)
    pixels[y, x] = np.nan
    return write_tiff(at / "slide.tif", pixels, NM_PER_PX)


def _tiff(at: Path, pixels: simulated.Array, nm_per_px: float | None = None, **options: object) -> Path:
    return write_tiff(at / "slide.tif", pixels, nm_per_px, **options)


STATED = ("--nm-per-px", NM_PER_PX, "--reason", "a test")
REFUSED: dict[str, tuple[Callable[[Path], Path], tuple[object, ...], str, str]] = {
    "no such file": (lambda at: at / "none.tif", (), "slide_not_found", "Check the path"),
    "a folder": (lambda at: at, (), "slide_type_mismatch", "Name the image files"),
    "no bytes": (lambda at: _written(at, b""), (), "slide_empty", "Copy the file again"),
    "text": (lambda at: _written(at, b"not an image\n"), (), "slide_type_mismatch", "Export the image as"),
    "a magic number alone": (lambda at: _written(at, b"II*\0"), (), "slide_truncated", "not whole"),
    "a header alone": (_header_only, (), "slide_truncated", "Copy the file again"),
    "half a JPEG": (
        lambda at: simulated.cut_off(simulated.write_jpeg(at / "s.jpg", simulated_tissue(256, 256)), 0.5),
        STATED,
        "slide_truncated",
        "Copy the file again",
    ),
    "half a PNG": (
        lambda at: simulated.cut_off(simulated.write_png(at / "s.png", simulated_tissue(256, 256)), 0.5),
        STATED,
        "slide_truncated",
        "Copy the file again",
    ),
    "more declared than held": (_declaring_much, (), "slide_too_large", "Check the file"),
    "a PNG of 3.6 gigapixels": (_png_declaring_much, STATED, "slide_too_large", "tiled TIFF"),
    "no scale": (lambda at: fetch("kidney_tem_najafian/good.png"), (), "slide_no_pixel_size", "--nm-per-px"),
    "72 dpi": (lambda at: fetch("hela_sbfsem/raw/z0001.tif"), (), "slide_no_pixel_size", "--nm-per-px"),
    "two scales that disagree": (
        lambda at: fetch("nerve_myelin/raw/HPF4-483S1-4B-6500x-1.tif"),
        STATED,
        "slide_scales_disagree",
        "Find out which is right",
    ),
    "a scale that the model was not made for": (
        lambda at: _tiff(at, simulated_tissue(256, 256), 100.0),
        (),
        "slide_scale_out_of_range",
        "Choose a model made for this scale",
    ),
    "pixels that are not square": (
        lambda at: _tiff(at, simulated_tissue(256, 256), resolution=(2e6, 1e6), resolutionunit="CENTIMETER"),
        (),
        "slide_pixel_not_square",
        "Resample to square pixels",
    ),
    "less than a tile": (
        lambda at: _tiff(at, simulated_tissue(300, 60), NM_PER_PX),
        (),
        "slide_too_small",
        "larger field",
    ),
    "NaN where the pixels are sampled": (
        lambda at: _with_nan(at, 10, 10),
        (),
        "slide_nonfinite_pixels",
        "without NaN",
    ),
    "NaN elsewhere": (lambda at: _with_nan(at, 350, 350), (), "slide_nonfinite_pixels", "without NaN"),
    "a region that reaches outside": (
        lambda at: _tiff(at, simulated_tissue(256, 256), NM_PER_PX),
        ("--region", "200,0,64,64"),
        "region_invalid",
        "inside the image",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_with_what_to_do_and_nothing_is_written(what: str, model: Path, tmp_path: Path) -> None:
    make, words, code, remedy = REFUSED[what]
    out = tmp_path / "out"
    ended = ultraread("read", make(tmp_path), "--out", out, "--model", model, *words)
    assert ended.err.startswith(f"error[{code}]: "), ended.err
    assert remedy in ended.err
    assert ended.status == 3
    assert ended.out == ""
    assert [file for file in out.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("08_carbon.dm3", "slide_not_an_image"),
        ("Camera Ceta Diffraction Micro.emd", "slide_not_an_image"),
        ("temp.mrc", "slide_scale_out_of_range"),
        ("dmTest_float32_nonSquare_diffPixelSize.dm4", "slide_pixel_not_square"),
        ("16_STOimage_1.ser", "slide_modality_mismatch"),
    ],
)
def test_files_of_instruments_are_refused_at_the_right_door(
    name: str, code: str, tmp_path: Path, model: Path
) -> None:
    slide = fetch(f"instrument_samples/{name}")
    ended = ultraread("read", slide, "--out", tmp_path / "out", "--model", model)
    assert f"error[{code}]" in ended.err
    assert ended.status == 3


def _damaged_slide(path: Path, damaged: list[int]) -> Path:
    """100 stored tiles that are the model's tiles too."""
    write_tiff(path, simulated_tissue(640, 640), NM_PER_PX, compression="deflate")
    return simulated.damage_stored_tiles(path, damaged)


def test_one_bad_tile_makes_a_partial_read_that_names_it(tmp_path: Path, model: Path) -> None:
    slide = _damaged_slide(tmp_path / "slide.tif", [23])
    ended = ultraread("read", slide, "--out", tmp_path / "out", "--model", model)
    assert ended.status == 4
    findings = json.loads((tmp_path / "out/slide/findings.json").read_text())
    assert findings["state"] == "partial"
    assert findings["coverage"]["tiles_failed"] == 1
    assert findings["coverage"]["fraction"] == 0.99
    with (tmp_path / "out/slide/tiles_unscored.csv").open(newline="") as table:
        (row,) = csv.DictReader(table)
    assert (row["minx"], row["miny"], row["width"], row["height"]) == ("192", "128", "64", "64")
    assert row["status"] == "failed"
    assert "stored tile 23" in row["reason"]


def test_too_many_bad_tiles_make_a_failed_read(tmp_path: Path, model: Path) -> None:
    slide = _damaged_slide(tmp_path / "slide.tif", list(range(6)))
    ended = ultraread("read", slide, "--out", tmp_path / "out", "--model", model)
    assert ended.status == 8
    assert ended.err.startswith("error[read_too_many_failed_tiles]: slide.tif: 6 of 100 tiles")
    assert "ultraread verify" in ended.err
    assert not (tmp_path / "out/slide").exists()


def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path, model: Path) -> None:
    slide = _damaged_slide(tmp_path / "slide.tif", [])
    simulated.cut_off(slide, 0.97)
    ended = ultraread("read", slide, "--out", tmp_path / "out", "--model", model)
    assert ended.status == 4
    unscored = (tmp_path / "out/slide/tiles_unscored.csv").read_text()
    assert "is cut off" in unscored


def test_grey_coded_as_rgb_is_read(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "m", nm_per_px={"nominal": 2.62, "min": 2, "max": 3})
    neutrophil = fetch("neutrophil_tem/ASD027--003.jpg")
    words = ("--nm-per-px", 2.62, "--reason", "README of the data", "--region", "1000,1000,512,512")
    ended = ultraread("read", neutrophil, "--out", tmp_path / "out", "--model", model, "--json", *words)
    assert ended.status == 0
    (slide,) = ended.printed["slides"]
    assert slide["findings"]["slide"]["images"][0]["modality"] == "tem"
    assert slide["findings"]["coverage"]["tiles_scored"] == 64


def test_twelve_bits_in_a_sixteen_bit_file_are_not_called_blank(tmp_path: Path, model: Path) -> None:
    dim = simulated_tissue(256, 256).astype(np.uint16) * 4 + 1000  # spans 800 of 65,536 grey values
    slide = write_tiff(tmp_path / "slide.tif", dim, NM_PER_PX)
    ended = ultraread("read", slide, "--out", tmp_path / "out", "--model", model, "--json")
    assert ended.printed["slides"][0]["findings"]["coverage"]["tiles_scored"] == 16


def test_a_constant_slide_succeeds_with_nothing_assessed(tmp_path: Path, model: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", np.full((256, 256), 200, np.uint8), NM_PER_PX)
    ended = ultraread("read", slide, "--out", tmp_path / "out", "--model", model, "--json")
    assert ended.status == 0
    findings = ended.printed["slides"][0]["findings"]
    assert findings["state"] == "succeeded"
    assert findings["coverage"]["tiles_blank"] == 16
    assert {finding["assertion"] for finding in findings["findings"]} == {"not_assessed"}
    assert {finding["score"] for finding in findings["findings"]} == {None}
    assert (tmp_path / "out/slide/tiles.csv").read_text().count("\n") == 1


def test_a_result_is_never_written_over(tmp_path: Path, model: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", simulated_tissue(128, 128), NM_PER_PX)
    first = ultraread("read", slide, "--out", tmp_path / "out", "--model", model)
    before = {file: sha256_of_file(file) for file in (tmp_path / "out").rglob("*.*")}
    again = ultraread("read", slide, "--out", tmp_path / "out", "--model", model)
    assert (first.status, again.status) == (0, 3)
    assert again.err.startswith("error[output_exists]: ")
    assert {file: sha256_of_file(file) for file in (tmp_path / "out").rglob("*.*")} == before


def test_slides_of_one_stem_get_a_folder_each(tmp_path: Path, model: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = write_tiff(tmp_path / "a/field.tif", simulated_tissue(128, 128, seed=1), NM_PER_PX)
    other = write_tiff(tmp_path / "b/field.tif", simulated_tissue(128, 128, seed=2), NM_PER_PX)
    ended = ultraread("read", one, other, "--out", tmp_path / "out", "--model", model)
    assert ended.status == 0
    folders = {folder.name: folder for folder in (tmp_path / "out").iterdir()}
    assert len(folders) == 2
    for name, folder in folders.items():
        slide_sha256 = json.loads((folder / "findings.json").read_text())["slide"]["sha256"]
        assert name == f"field-{slide_sha256[:8]}"


def test_one_bad_slide_does_not_end_a_batch(tmp_path: Path, model: Path) -> None:
    good = write_tiff(tmp_path / "good.tif", simulated_tissue(128, 128), NM_PER_PX)
    bad = write_tiff(tmp_path / "bad.tif", simulated_tissue(128, 128))
    ended = ultraread("read", bad, good, "--out", tmp_path / "out", "--model", model)
    assert ended.status == 3
    assert "error[slide_no_pixel_size]: bad.tif: " in ended.err
    assert (tmp_path / "out/good/findings.json").is_file()
    assert not (tmp_path / "out/bad").exists()


FAULTS: dict[str, tuple[Exception, int, str]] = {
    "no room": (OSError(errno.ENOSPC, "No space left"), 6, "error[storage_full]: bad.tif: there is no room"),
    "no quota": (OSError(errno.EDQUOT, "Quota exceeded"), 6, "error[storage_full]: bad.tif: there is no"),
    "a file too large": (
        OSError(errno.EFBIG, "File too large"),
        6,
        "error[storage_full]: bad.tif: there is no",
    ),
    "a broken disk": (OSError(errno.EIO, "Input/output error"), 1, "(Input/output error). Check the disk"),
    "a fault of ours": (ZeroDivisionError("x"), 1, "the read failed inside UltraRead: ZeroDivisionError"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_no_fault_of_one_slide_ends_a_batch(
    what: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, status, told = FAULTS[what]
    good, bad = (
        write_tiff(tmp_path / f"{name}.tif", simulated_tissue(128, 128), NM_PER_PX)
        for name in ("good", "bad")
    )

    def failing(address: SlideAddress, *rest: Any, **more: Any) -> PreparedSlide:  # noqa: ANN401
        if address == address_of(bad):
            raise fault
        return prepare_slide(address, *rest, **more)

    monkeypatch.setattr("ultraread.serving.local_read.prepare_slide", failing)
    ended = ultraread("read", bad, good, "--out", tmp_path / "out", "--model", model)
    assert told in ended.err
    assert ended.status == status
    assert (tmp_path / "out/good/findings.json").is_file()


def test_slides_of_one_stem_that_cannot_be_digested_do_not_end_a_batch(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(paths: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("ultraread.datasets.identity.called.digest_slide", unreadable)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_tiff(tmp_path / folder / "field.tif", simulated_tissue(128, 128))
    ended = ultraread("read", *tmp_path.glob("?/field.tif"), "--out", tmp_path / "out", "--model", model)
    assert ended.err.count("error[slide_no_pixel_size]: ") == 2
    assert ended.status == 3


def test_an_out_that_cannot_be_a_folder_is_not_called_a_full_disk(tmp_path: Path, model: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", simulated_tissue(128, 128), NM_PER_PX)
    ended = ultraread("read", slide, "--out", slide / "out", "--model", model)
    assert "error[service_unavailable]: " in ended.err
    assert "Choose another --out" in ended.err
    assert ended.status == 6


def _external_data(folder: Path) -> None:
    model = tiny_graph()
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    replace_graph(folder, onnx.load(folder / "m.onnx", load_external_data=False))


MODELS_REFUSED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no card": (lambda folder: (folder / "card.json").unlink(), "model_card_invalid", "Export the model"),
    "another digest": (
        lambda folder: change_card(folder, sha256="0" * 64),
        "model_hash_mismatch",
        "Install the model again",
    ),
    "weights elsewhere": (_external_data, "model_external_data", "inside the .onnx file"),
    "other inputs": (
        lambda folder: replace_graph(folder, tiny_graph(image="picture")),
        "model_io_mismatch",
        "Export with the input and outputs",
    ),
}


@pytest.mark.parametrize("what", MODELS_REFUSED)
def test_a_model_that_cannot_be_trusted_reads_nothing(what: str, tmp_path: Path) -> None:
    spoil, code, remedy = MODELS_REFUSED[what]
    folder = write_tiny_model(tmp_path / "tiny")
    spoil(folder)
    slide = write_tiff(tmp_path / "slide.tif", simulated_tissue(128, 128), NM_PER_PX)
    ended = ultraread("read", slide, "--out", tmp_path / "out", "--model", folder)
    assert f"error[{code}]: " in ended.err
    assert remedy in ended.err
    assert ended.status == 5
    assert not (tmp_path / "out/slide").exists()


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    ended = ultraread("read", "slide.tif", "--out", tmp_path, "--model", "no-such-model")
    assert ended.err.startswith("error[model_unknown]: there is no model no-such-model. `ultraread models")
    assert ended.status == 5
