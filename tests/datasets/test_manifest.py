"""A manifest is read whole or refused by row and column; the committed ones are what the script writes."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from labelled import labelled_row, write_manifest

from ultraread.datasets.corpora import pinned_files
from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.manifest import AnnotationRow, load_manifest, manifest_schema
from ultraread.datasets.manifests.make_manifests import manifests
from ultraread.errors import ManifestInvalid

ROOM = Path(__file__).resolve().parents[2] / "datasets"
COMMITTED = sorted((ROOM / "manifests").glob("*.csv"))
PINNED = "isbi2012/raw/00.png"


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_manifest_is_what_the_script_writes(path: Path) -> None:
    assert path.read_text() == manifests()[path.name]


def test_every_committed_manifest_is_known_to_the_script() -> None:
    assert {path.name for path in COMMITTED} == set(manifests())


def test_the_published_schema_is_the_type() -> None:
    published = json.loads((ROOM / "manifest.schema.json").read_text())
    assert published == manifest_schema()
    Draft202012Validator.check_schema(published)


def test_the_corpora_hold_what_their_origins_say() -> None:
    counted = {path.stem: len(load_manifest(path).fields) for path in COMMITTED}
    assert counted == {
        "drosophila_vnc": 15, "hela_sbfsem": 3, "isbi2012": 30, "nerve_myelin": 11, "out_of_domain": 8,
    }  # fmt: skip


def test_rows_of_one_image_become_one_field_in_file_order(tmp_path: Path) -> None:
    rows = [
        labelled_row("b.png", code="UR-MITO"),
        labelled_row("a.png"),
        labelled_row("b.png", code="UR-SYN"),
    ]
    manifest = load_manifest(write_manifest(tmp_path, rows))
    assert [field.name for field in manifest.fields] == ["b.png", "a.png"]
    assert manifest.fields[0].codes == {"UR-MITO", "UR-SYN"}
    assert manifest.sha256 == sha256_of_file(tmp_path / "made.csv")
    assert manifest.name == "made"


def test_of_split_chooses_by_split(tmp_path: Path) -> None:
    rows = [labelled_row("a.png", split="train"), labelled_row("b.png", split="test")]
    manifest = load_manifest(write_manifest(tmp_path, rows))
    assert [field.name for field in manifest.of_split("test")] == ["b.png"]
    assert manifest.of_split("calibration") == ()


def test_an_image_without_annotation_labels_nothing(tmp_path: Path) -> None:
    row = labelled_row("a.png", kind="", code="", annotation="", annotation_sha256="")
    (field,) = load_manifest(write_manifest(tmp_path, [row])).fields
    assert field.annotations == ()
    assert field.codes == frozenset()


def test_a_code_table_names_classes_and_background(tmp_path: Path) -> None:
    row = labelled_row("a.png", kind="labels", code="", codes="2=UR-MYELIN 3=UR-AXON 1= ")
    (field,) = load_manifest(write_manifest(tmp_path, [row])).fields
    assert field.annotations[0].code_table == {1: "", 2: "UR-MYELIN", 3: "UR-AXON"}
    assert field.codes == {"UR-MYELIN", "UR-AXON"}


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    row = AnnotationRow.model_validate(labelled_row("a.png", value=None))
    parquet.write_table(pyarrow.Table.from_pylist([row.model_dump(mode="json")]), tmp_path / "made.parquet")
    told = load_manifest(tmp_path / "made.parquet")
    assert told.fields == load_manifest(write_manifest(tmp_path, [labelled_row("a.png")])).fields


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"nm_per_px": "nan"}, "row 2, column nm_per_px"),
        ({"nm_per_px": "-4"}, "row 2, column nm_per_px"),
        ({"nm_per_px": "four"}, "row 2, column nm_per_px"),
        ({"nm_per_px": ""}, "row 2, column nm_per_px"),
        ({"split": "validation"}, "row 2, column split"),
        ({"kind": "polygon"}, "row 2, column kind"),
        ({"section": "third"}, "row 2, column section"),
        ({"image_sha256": "abc"}, "row 2, column image_sha256"),
        ({"image": ""}, "row 2, column image"),
        ({"specimen": ""}, "row 2, column specimen"),
        ({"code": ""}, "row 2, column code"),
        ({"codes": "1=UR-MITO"}, "row 2, column codes"),
        ({"annotation": ""}, "row 2, column annotation"),
        ({"annotation_sha256": ""}, "row 2, column annotation_sha256"),
        ({"kind": "labels", "code": ""}, "row 2, column codes"),
        ({"kind": "labels", "code": "", "codes": "one=UR-MITO"}, "row 2, column codes"),
        (
            {"kind": "labels", "code": "", "codes": "1=UR-AXON 01=UR-MYELIN"},
            "row 2, column codes: names a value",
        ),
        ({"kind": "tile", "annotation": "", "annotation_sha256": ""}, "row 2, column value"),
        ({"kind": "tile", "annotation": "", "annotation_sha256": "", "value": "7"}, "row 2, column value"),
        ({"image": "corpus:no/such.tif"}, "row 2, column image"),
        ({"annotation": "corpus:../../etc/passwd"}, "row 2, column annotation"),
        ({"image": f"corpus:{PINNED}"}, "row 2, column image_sha256"),
        ({"pixel_size": "4"}, "row 2, column pixel_size"),
    ],
)
def test_a_broken_row_is_refused_by_row_and_column(
    tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    with pytest.raises(ManifestInvalid) as refused:
        load_manifest(write_manifest(tmp_path, [{**labelled_row("a.png"), **changed}]))
    assert named in refused.value.what
    assert "manifest.schema.json" in refused.value.remedy


@pytest.mark.parametrize(
    ("column", "other"),
    [("nm_per_px", 6), ("split", "test"), ("specimen", "two"), ("image_sha256", "f" * 64)],
)
def test_rows_of_one_image_must_agree(tmp_path: Path, column: str, other: object) -> None:
    rows = [labelled_row("a.png"), labelled_row("a.png", code="UR-SYN", **{column: other})]
    with pytest.raises(ManifestInvalid, match=f"row 3, column {column}: differs"):
        load_manifest(write_manifest(tmp_path, rows))


def test_a_row_of_too_many_cells_is_refused(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, [labelled_row("a.png")])
    path.write_text(path.read_text().rstrip("\n") + ",more\n")
    with pytest.raises(ManifestInvalid, match="row 2"):
        load_manifest(path)


@pytest.mark.parametrize("content", [b"", b"image,kind\n", b"\xff\xfe\0\0", b'image\n"never closed\n'])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "made.csv").write_bytes(content)
    with pytest.raises(ManifestInvalid):
        load_manifest(tmp_path / "made.csv")


def test_a_broken_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "made.parquet").write_bytes(b"PAR1, but no more")
    with pytest.raises(ManifestInvalid, match=r"made\.parquet"):
        load_manifest(tmp_path / "made.parquet")


def test_a_manifest_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestInvalid, match="no file"):
        load_manifest(tmp_path / "none.csv")


def test_a_pinned_image_is_taken_with_its_digest(tmp_path: Path) -> None:
    row = labelled_row(f"corpus:{PINNED}", image_sha256=pinned_files()[PINNED].sha256)
    (field,) = load_manifest(write_manifest(tmp_path, [row])).fields
    assert field.image == f"corpus:{PINNED}"
