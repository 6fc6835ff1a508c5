"""The check finds what leaks between splits and what is broken, shows every label, and exits accordingly."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from labelled import filed_row, save_picture, texture, write_manifest
from PIL import Image
from typer.testing import CliRunner

from ultraread.cli import app
from ultraread.datasets.check import Finding, Independence, Report, Severity, check_manifest, refusal
from ultraread.datasets.check_page import side_by_side, write_page
from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.manifest import load_manifest
from ultraread.errors import (
    ClassEmpty,
    CorpusUnreachable,
    IntegrityFailed,
    LabelCodeUnknown,
    LabelsRefused,
    MaskSizeMismatch,
    OutputExists,
    RequestInvalid,
    SplitLeak,
)

MANIFESTS = Path(__file__).resolve().parents[2] / "datasets" / "manifests"
MASK = np.where(texture(99) > 128, 255, 0).astype(np.uint8)
BY_SPECIMEN, BY_BLOCK = Independence.SPECIMEN, Independence.BLOCK


def row(folder: Path, name: str, seed: int, **changed: object) -> dict[str, Any]:
    """A field of its own specimen and picture, unless changed."""
    return filed_row(folder, name, texture(seed), MASK, **{"specimen": name, "block": name, **changed})


def check(folder: Path, *rows: dict[str, Any], by: Independence = BY_SPECIMEN, gap: int = 1) -> Report:
    return check_manifest(load_manifest(write_manifest(folder, rows)), by, gap)


def check_corpus(name: str, by: Independence) -> Report:
    try:
        return check_manifest(load_manifest(MANIFESTS / f"{name}.csv"), by, gap=1)
    except CorpusUnreachable as missing:
        pytest.skip(missing.what)


def leaks(report: Report) -> list[str]:
    return [finding.what for finding in report.of(Severity.LEAK)]


def notes(report: Report) -> list[str]:
    return [finding.what for finding in report.of(Severity.NOTE)]


def test_a_sound_manifest_has_no_findings(tmp_path: Path) -> None:
    report = check(tmp_path, row(tmp_path, "a", 1), row(tmp_path, "b", 2, split="test"))
    assert report.findings == ()
    assert refusal(report) is None
    assert [(share.split, share.fields) for share in report.shares] == [("train", 1), ("test", 1)]
    assert report.shares[0].area_fraction == pytest.approx((MASK > 0).mean())


def test_one_specimen_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    first = row(tmp_path, "a", 1, specimen="one")
    report = check(tmp_path, first, row(tmp_path, "b", 2, specimen="one", split="test"))
    assert leaks(report) == ["specimen one is in train and test"]
    refused = refusal(report, "checked/check.md")
    assert isinstance(refused, SplitLeak)
    assert "checked/check.md" in refused.what


def test_blocks_as_unit_allow_one_specimen_and_say_what_that_shows(tmp_path: Path) -> None:
    first = row(tmp_path, "a", 1, specimen="one")
    report = check(tmp_path, first, row(tmp_path, "b", 2, specimen="one", split="test"), by=BY_BLOCK)
    assert leaks(report) == []
    assert "memory of one specimen" in notes(report)[0]


@pytest.mark.parametrize(("section", "is_leak"), [(0, True), (1, True), (2, False)])
def test_one_block_in_two_splits_needs_a_gap(tmp_path: Path, section: int, is_leak: bool) -> None:
    place: dict[str, object] = {"specimen": "one", "block": "b"}
    rows = [
        row(tmp_path, "a", 1, **place), row(tmp_path, "b", 2, split="test", section=section, **place),
    ]  # fmt: skip
    report = check(tmp_path, *rows, by=BY_BLOCK, gap=1)
    assert bool(leaks(report)) == is_leak
    assert any("memory of one block" in note for note in notes(report)) != is_leak


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_same_file_twice_is_found(tmp_path: Path, split: str) -> None:
    report = check(tmp_path, row(tmp_path, "a", 1), row(tmp_path, "b", 1, split=split))
    told = leaks(report) if split == "test" else notes(report)
    assert len(report.findings) == 1
    assert "a.png and b.png are the same file" in told[0]


def test_a_copy_in_other_grey_values_size_and_orientation_is_found(tmp_path: Path) -> None:
    copy = Image.fromarray(np.rot90(texture(1)) // 2 + 60, mode=None).resize((52, 52))
    other = filed_row(tmp_path, "b", np.asarray(copy), None, specimen="b", block="b", split="test")
    report = check(tmp_path, row(tmp_path, "a", 1), other)
    assert "a.png and b.png look alike" in leaks(report)[0]


def test_neighbours_of_one_block_and_split_are_expected_to_look_alike(tmp_path: Path) -> None:
    place: dict[str, object] = {"specimen": "one", "block": "b"}
    near = filed_row(tmp_path, "b", texture(1) // 2, MASK, section=1, **place)
    report = check(tmp_path, row(tmp_path, "a", 1, **place), near)
    assert leaks(report) == []
    assert "1 pair of block b of specimen one look alike" in notes(report)[0]


def test_look_alikes_of_two_specimens_in_one_split_are_told(tmp_path: Path) -> None:
    report = check(tmp_path, row(tmp_path, "a", 1), filed_row(tmp_path, "b", texture(1) // 2, MASK))
    assert "both in train" in notes(report)[0]


def test_a_class_that_is_nowhere_is_invalid(tmp_path: Path) -> None:
    report = check(tmp_path, filed_row(tmp_path, "a", texture(1), np.zeros_like(MASK)))
    assert isinstance(refusal(report), ClassEmpty)


def test_a_class_that_one_split_lacks_is_told(tmp_path: Path) -> None:
    empty = filed_row(tmp_path, "b", texture(2), np.zeros_like(MASK), specimen="b", split="test")
    none = filed_row(tmp_path, "c", texture(3), None, specimen="c", split="calibration")
    report = check(tmp_path, row(tmp_path, "a", 1), empty, none)
    assert refusal(report) is None
    assert [note.split(":")[0] for note in notes(report)] == [
        "UR-MITO is labelled in no field of calibration",
        "UR-MITO shows in no field of test",
    ]


def test_broken_fields_are_named_by_what_refuses_them_and_the_others_are_checked(tmp_path: Path) -> None:
    small = filed_row(tmp_path, "small", texture(2), MASK[:9], specimen="small")
    table = {"kind": "labels", "code": "", "codes": "0= 1=UR-MITO"}
    unknown = filed_row(tmp_path, "unknown", texture(3), MASK, specimen="unknown", **table)
    changed = row(tmp_path, "changed", 4)
    save_picture(tmp_path / "changed.png", texture(5))
    (tmp_path / "text.png").write_text("no picture")
    text = {
        **row(tmp_path, "c", 6),
        "image": "text.png",
        "image_sha256": sha256_of_file(tmp_path / "text.png"),
    }
    report = check(tmp_path, row(tmp_path, "a", 1), small, unknown, changed, text)
    assert [finding.code for finding in report.of(Severity.INVALID)] == [
        MaskSizeMismatch.code, LabelCodeUnknown.code, IntegrityFailed.code, LabelsRefused.code,
    ]  # fmt: skip
    assert "[slide_type_mismatch]" in report.of(Severity.INVALID)[3].what
    assert [look.field.name for look in report.looks] == ["a.png"]
    assert isinstance(refusal(report), MaskSizeMismatch)


def test_leaks_come_before_what_is_invalid(tmp_path: Path) -> None:
    small = filed_row(tmp_path, "b", texture(2), MASK[:9], specimen="a", split="test")
    assert isinstance(refusal(check(tmp_path, row(tmp_path, "a", 1), small)), SplitLeak)


def test_an_error_names_every_leak_up_to_twenty(tmp_path: Path) -> None:
    report = check(tmp_path, row(tmp_path, "a", 1))
    many = tuple(Finding(Severity.LEAK, f"leak {number}", SplitLeak.code) for number in range(25))
    object.__setattr__(report, "findings", many)
    refused = refusal(report)
    assert refused is not None
    assert refused.what.startswith("leak 0; leak 1; ")
    assert refused.what.endswith("leak 19; and 5 more")


def test_the_spread_of_scales_is_told(tmp_path: Path) -> None:
    rows = [row(tmp_path, "a", 1, nm_per_px=2), row(tmp_path, "b", 2, nm_per_px=6)]
    (spread,) = check(tmp_path, *rows).scales
    assert (spread.min_nm_per_px, spread.max_nm_per_px, spread.ratio) == (2, 6, 3)


def test_a_scale_that_the_file_states_otherwise_is_told(tmp_path: Path) -> None:
    stated = {"PhysicalSizeX": 4, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 4, "PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", texture(1), metadata=stated)
    digest = sha256_of_file(tmp_path / "a.ome.tif")
    told = {**row(tmp_path, "a", 1), "image": "a.ome.tif", "image_sha256": digest}
    assert notes(check(tmp_path, {**told, "nm_per_px": 4})) == []
    assert "a.ome.tif states 4 nm/px" in notes(check(tmp_path, {**told, "nm_per_px": 5}))[0]


def test_areas_of_different_scales_add_up_in_nanometres(tmp_path: Path) -> None:
    full, none = np.full((64, 64), 255, np.uint8), np.zeros((64, 64), np.uint8)
    rows = [
        filed_row(tmp_path, "a", texture(1), full, nm_per_px=1, specimen="a"),
        filed_row(tmp_path, "b", texture(2), none, nm_per_px=3, specimen="b"),
    ]
    (share,) = check(tmp_path, *rows).shares
    assert share.area_fraction == pytest.approx(1 / 10)


def test_a_fraction_stated_for_a_tile_counts(tmp_path: Path) -> None:
    tile = filed_row(tmp_path, "a", texture(1), None, kind="tile", code="UR-MITO", value=0.25)
    (share,) = check(tmp_path, tile).shares
    assert share.area_fraction == pytest.approx(0.25)


def test_the_page_shows_every_field_with_its_labels(tmp_path: Path) -> None:
    none = filed_row(tmp_path, "b", texture(2), None, specimen="x|<y>", split="test")
    report = check(tmp_path, row(tmp_path, "a", 1), none)
    page = write_page(report, tmp_path / "checked")
    text = page.read_text()
    assert "![orange](pictures/class-1.png) orange | UR-MITO" in text
    assert "x&#124;&lt;y>" in text
    assert "unlabelled" in text
    assert "Unit of independence: **specimen**" in text
    for number in (1, 2):
        with Image.open(tmp_path / f"checked/pictures/field-{number:04d}.png") as picture:
            assert picture.size == (64 + 4 + 64, 64)
    with pytest.raises(OutputExists):
        write_page(report, tmp_path / "checked")


def test_the_overlay_colours_what_is_labelled_and_nothing_else(tmp_path: Path) -> None:
    (look,) = check(tmp_path, row(tmp_path, "a", 1)).looks
    shown = side_by_side(look)
    plain, laid_over = shown[:, :64].astype(int), shown[:, 68:].astype(int)
    differs = np.ptp(laid_over, axis=2) > 0
    np.testing.assert_array_equal(differs, MASK > 0)
    np.testing.assert_array_equal(plain[MASK == 0], laid_over[MASK == 0])


def test_the_nerve_manifest_is_one_specimen_in_two_splits_unless_blocks_are_the_unit(tmp_path: Path) -> None:
    by_specimen = check_corpus("nerve_myelin", BY_SPECIMEN)
    assert leaks(by_specimen) == ["specimen nerve-animal-483 is in train and test"]
    by_block = check_corpus("nerve_myelin", BY_BLOCK)
    assert refusal(by_block) is None
    text = write_page(by_block, tmp_path).read_text()
    assert "Unit of independence: **block**" in text
    assert "memory of one specimen" in text


def test_the_command_writes_the_page_and_then_exits_with_the_leak(tmp_path: Path) -> None:
    rows = [row(tmp_path, "a", 1, specimen="one"), row(tmp_path, "b", 2, specimen="one", split="test")]
    manifest, out = str(write_manifest(tmp_path, rows)), tmp_path / "checked"
    done = CliRunner().invoke(app, ["datasets", "check", manifest, "--out", str(out)])
    assert isinstance(done.exception, SplitLeak)
    assert done.exception.exit_status == 3
    assert (out / "check.md").is_file()
    assert "check.md" in done.exception.what
    assert "leak" in done.stdout


def test_the_command_prints_json(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, [row(tmp_path, "a", 1)])
    done = CliRunner().invoke(app, ["datasets", "check", str(manifest), "--json", "--by", "block"])
    told = json.loads(done.stdout)
    assert told["is_sound"] is True
    assert told["by"] == "block"
    assert told["classes"][0]["code"] == "UR-MITO"


def test_the_command_splits(tmp_path: Path) -> None:
    manifest = str(write_manifest(tmp_path, [row(tmp_path, name, seed) for seed, name in enumerate("abcd")]))
    out = tmp_path / "new.csv"
    command = ["datasets", "split", manifest, "--out", str(out), "--fractions", "0.5,0,0.5"]
    done = CliRunner().invoke(app, command)
    assert done.stdout == "2 train, 0 calibration, 2 test; 0 left out within 1 sections of another split\n"
    assert len(load_manifest(out).of_split("test")) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        ["check", "m.csv", "--by", "tile"],
        ["split", "m.csv", "--out", "o.csv", "--by", "tile"],
        ["split", "made.csv", "--out", "o.csv", "--fractions", "1,2"],
        ["split", "made.csv", "--out", "o.csv", "--fractions", "0.5,0.5,0.5"],
        ["split", "made.csv", "--out", "o.csv", "--fractions", "nan,0,1"],
    ],
)
def test_what_the_commands_do_not_know_is_refused(
    tmp_path: Path, wrong: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path, [row(tmp_path, "a", 1)])
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["datasets", *wrong])
    assert isinstance(done.exception, RequestInvalid)
    assert not (tmp_path / "o.csv").exists()
