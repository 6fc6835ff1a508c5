"""Splits keep together what belongs together, leave gaps out, and are the same every time."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import filed_row, labelled_row, texture, write_manifest

from ultraread.datasets.labelled_image import load_labelled
from ultraread.datasets.manifest import LabelledField, load_manifest
from ultraread.datasets.splits import Unit, split_fields, write_split
from ultraread.errors import LabelsRefused, OutputExists

THIRDS = {"train": 0.6, "calibration": 0.2, "test": 0.2}
VNC = Path(__file__).resolve().parents[2] / "datasets" / "manifests" / "drosophila_vnc.csv"


def fields(*places: tuple[str, str, int]) -> list[LabelledField]:
    """Fields at (specimen, block, section)."""
    return [
        LabelledField(
            name=f"{number}.png", image=f"{number}.png", image_sha256="a" * 64, specimen=specimen,
            block=block, section=section, laboratory="ours", nm_per_px=5, split="train",
            licence="CC0-1.0", annotations=(), folder=Path(),
        )
        for number, (specimen, block, section) in enumerate(places)
    ]  # fmt: skip


def sections_of(found: Sequence[LabelledField], split: str) -> list[int]:
    return [field.section for field in found if field.split == split]


@given(
    places=st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("12"), st.integers(0, 9)), min_size=20
    )
)
def test_no_specimen_stands_in_two_splits(places: list[tuple[str, str, int]]) -> None:
    listed = fields(*[*places, ("x", "1", 0), ("y", "1", 0), ("z", "1", 0)])
    found = split_fields(listed, Unit.SPECIMEN, THIRDS, gap=3)
    assert found.left_out == ()
    assert {field.name for field in found.fields} == {field.name for field in listed}
    pairs = {(field.specimen, field.split) for field in found.fields}
    assert len(pairs) == len({specimen for specimen, _ in pairs})
    assert {split for _, split in pairs} == set(THIRDS)


def test_blocks_of_one_specimen_may_part_but_no_block_does() -> None:
    listed = fields(*product("ab", "123", range(4)))
    found = split_fields(listed, Unit.BLOCK, THIRDS, gap=1).fields
    assert len({(field.specimen, field.block, field.split) for field in found}) == 6
    assert {split: len(sections_of(found, split)) for split in THIRDS} == {
        "train": 16, "calibration": 4, "test": 4,
    }  # fmt: skip


def test_sections_are_cut_into_runs_with_a_gap_on_both_sides() -> None:
    found = split_fields(load_manifest(VNC).fields, Unit.SECTION, THIRDS, gap=1)
    assert sections_of(found.fields, "train") == list(range(8))
    assert sections_of(found.fields, "calibration") == [10]
    assert sections_of(found.fields, "test") == [13, 14]
    assert [field.section for field in found.left_out] == [8, 9, 11, 12]


@given(gap=st.integers(0, 4), sections=st.lists(st.integers(0, 60), min_size=30, unique=True))
def test_sections_of_two_splits_are_further_apart_than_the_gap(gap: int, sections: list[int]) -> None:
    listed = fields(*[("a", "1", section) for section in sections])
    try:
        found = split_fields(listed, Unit.SECTION, {"train": 0.5, "test": 0.5}, gap).fields
    except LabelsRefused:
        return
    train, test = sections_of(found, "train"), sections_of(found, "test")
    assert min(test) - max(train) > gap


def test_fields_of_one_section_stay_together() -> None:
    listed = fields(*[("a", "1", section) for section in range(4) for _ in range(3)])
    found = split_fields(listed, Unit.SECTION, {"train": 0.5, "test": 0.5}, gap=0).fields
    assert len({(field.section, field.split) for field in found}) == 4


def test_the_order_of_the_rows_changes_nothing() -> None:
    listed = fields(*product("abcdefg", "12", range(3)))
    once = split_fields(listed, Unit.SPECIMEN, THIRDS, gap=0).fields
    again = split_fields(listed[::-1], Unit.SPECIMEN, THIRDS, gap=0).fields
    assert {field.name: field.split for field in once} == {field.name: field.split for field in again}


def test_a_split_of_fraction_0_gets_nothing() -> None:
    found = split_fields(
        fields(*product("abc", "1", range(2))), Unit.SPECIMEN, {"train": 0.5, "test": 0.5}, 0
    )
    assert sections_of(found.fields, "calibration") == []


@pytest.mark.parametrize("by", list(Unit))
def test_a_split_that_would_stay_empty_is_refused(by: Unit) -> None:
    with pytest.raises(LabelsRefused, match="no field is left for") as refused:
        split_fields(fields(("a", "1", 0), ("a", "1", 0)), by, THIRDS, gap=0)
    assert "--fractions" in refused.value.remedy


def test_a_written_split_is_a_manifest_whose_paths_lead_from_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = [
        filed_row(tmp_path / "data", "a", texture(1), texture(2), specimen="a"),
        filed_row(tmp_path / "data", "b", texture(3), None, specimen="b"),
    ]
    manifest = load_manifest(write_manifest(tmp_path / "data", rows))
    out = tmp_path / "splits" / "new.csv"
    halves = split_fields(manifest.fields, Unit.SPECIMEN, {"train": 0.5, "test": 0.5}, gap=0)
    write_split(manifest, halves, out)
    written = load_manifest(out)
    assert [field.name for field in written.fields] == ["../data/a.png", "../data/b.png"]
    assert {field.split for field in written.fields} == {"train", "test"}
    assert load_labelled(written.fields[0], ["UR-MITO"]).known.all()
    assert written.fields[1].annotations == ()
    with pytest.raises(OutputExists):
        write_split(manifest, halves, out)


def test_pinned_files_keep_their_reference(tmp_path: Path) -> None:
    manifest = load_manifest(VNC)
    write_split(manifest, split_fields(manifest.fields, Unit.SECTION, THIRDS, gap=1), tmp_path / "new.csv")
    written = load_manifest(tmp_path / "new.csv")
    assert len(written.fields) == 11
    assert written.fields[0].name == manifest.fields[0].name
    assert written.fields[0].codes == {"UR-MITO", "UR-SYN", "UR-MEM"}


def test_a_row_keeps_all_but_its_split(tmp_path: Path) -> None:
    rows = [labelled_row(f"{name}.png", specimen=name, section=7) for name in "ab"]
    manifest = load_manifest(write_manifest(tmp_path, rows))
    found = split_fields(manifest.fields, Unit.SPECIMEN, {"train": 0.5, "test": 0.5}, gap=0)
    write_split(manifest, found, tmp_path / "new.csv")
    for was, now in zip(manifest.fields, load_manifest(tmp_path / "new.csv").fields, strict=True):
        assert was.annotations[0].model_copy(update={"split": now.split}) == now.annotations[0]
