"""Annotation files become masks: QuPath polygons with their holes, points as discs, labels by their table."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import labelled_row, save_picture
from numpy.typing import NDArray
from PIL import Image

from ultraread.datasets.annotations import Mask, read_annotation
from ultraread.datasets.geometry import SizePx
from ultraread.datasets.manifest import AnnotationRow
from ultraread.errors import LabelCodeUnknown, LabelsRefused, MaskSizeMismatch

SIZE = SizePx(40, 30)
OUTER = [[2, 3], [12, 3], [12, 13], [2, 13], [2, 3]]
HOLE = [[4, 5], [8, 5], [8, 9], [4, 9], [4, 5]]


def feature(kind: str, coordinates: Any, name: str | None = None) -> dict[str, Any]:  # noqa: ANN401  # JSON
    properties = {"objectType": "annotation", **({"classification": {"name": name}} if name else {})}
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": properties,
    }


def read(path: Path, content: str, **changed: object) -> dict[str, Mask]:
    path.write_text(content)
    row = AnnotationRow.model_validate(labelled_row("a.png", value=None, annotation=path.name, **changed))
    return read_annotation(row, path, SIZE)


def geojson(folder: Path, *features: dict[str, Any], kind: str = "geojson") -> Mask:
    told = json.dumps({"type": "FeatureCollection", "features": features})
    return read(folder / "a.geojson", told, kind=kind)["UR-MITO"]


def picture(folder: Path, values: NDArray[Any], **changed: object) -> dict[str, Mask]:
    path = save_picture(folder / "a.png", values)
    row = AnnotationRow.model_validate(labelled_row("a.png", value=None, annotation=path.name, **changed))
    return read_annotation(row, path, SizePx(values.shape[1], values.shape[0]))


def test_a_square_covers_the_pixels_between_its_corners(tmp_path: Path) -> None:
    expected = np.zeros((30, 40), bool)
    expected[3:13, 2:12] = True
    np.testing.assert_array_equal(geojson(tmp_path, feature("Polygon", [OUTER])), expected)


def test_a_hole_stays_out(tmp_path: Path) -> None:
    mask = geojson(tmp_path, feature("Polygon", [OUTER, HOLE]))
    assert mask.sum() == 100 - 16
    assert not mask[5:9, 4:8].any()


def test_what_another_polygon_covers_is_in_though_it_lies_in_a_hole(tmp_path: Path) -> None:
    mask = geojson(tmp_path, feature("MultiPolygon", [[OUTER, HOLE], [HOLE]]))
    assert mask.sum() == 100


def test_classes_are_matched_in_any_case_and_no_class_counts(tmp_path: Path) -> None:
    away = [[[x + 20, y] for x, y in OUTER]]
    elsewhere = [[[x + 20, y + 12] for x, y in OUTER]]
    mask = geojson(
        tmp_path, feature("Polygon", [OUTER], "ur-mito"), feature("Polygon", away, "UR-SYN"),
        feature("Polygon", elsewhere),
    )  # fmt: skip
    assert mask.sum() == 200
    assert not mask[3:13, 22:32].any()


def test_what_hangs_over_the_border_is_cut(tmp_path: Path) -> None:
    mask = geojson(tmp_path, feature("Polygon", [[[-5, -5], [5, -5], [5, 5], [-5, 5]]]))
    assert mask.sum() == 25
    outside = geojson(tmp_path, feature("Polygon", [[[90, 90], [95, 90], [95, 95]]]))
    assert not outside.any()


@given(
    radius=st.floats(3, 12), x=st.floats(14, 26), y=st.floats(13, 17), corners=st.integers(24, 80),
)  # fmt: skip
def test_a_polygon_has_the_area_that_geometry_says(radius: float, x: float, y: float, corners: int) -> None:
    from ultraread.datasets.annotations import _fill

    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    ring = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)
    mask = np.zeros((30, 40), bool)
    _fill(mask, [ring])
    area = corners / 2 * radius**2 * np.sin(2 * np.pi / corners)
    assert abs(mask.sum() - area) <= 2 * radius + 2


@pytest.mark.parametrize(
    "content",
    [
        "no json", "{}", '{"features": [{"geometry": null}]}', '{"features": 3}', "[1]", "\u00e9",
        json.dumps({"features": [feature("Polygon", [[[1, 2], [3, 4]]])]}),
        json.dumps({"features": [feature("Polygon", [[1, 2, 3]])]}),
        json.dumps({"features": [feature("Polygon", 5)]}),
        json.dumps({"features": [feature("Polygon", [])]}),
        json.dumps({"features": [feature("MultiPolygon", [7])]}),
        json.dumps({"features": [feature("Polygon", [[{"x": 1}, {"x": 2}, {"x": 3}]])]}),
        "[" * 100_000,
        '{"features": [{"geometry": {"type": "Polygon", "coordinates": [[[1,2],[NaN,4],[5,6]]]}}]}',
        json.dumps({"features": [feature("LineString", [[1, 2], [3, 4]])]}),
    ],
)  # fmt: skip
def test_what_is_no_polygon_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(LabelsRefused, match=r"a\.geojson"):
        read(tmp_path / "a.geojson", content, kind="geojson")


def test_a_point_is_a_disc_of_100_nm(tmp_path: Path) -> None:
    mask = geojson(tmp_path, feature("Point", [20, 15]), kind="points")
    radius_px = 100 / 5
    rows, columns = np.ogrid[0.5:30, 0.5:40]
    np.testing.assert_array_equal(mask, (columns - 20) ** 2 + (rows - 15) ** 2 <= radius_px**2)


def test_points_of_a_csv_are_read_as_those_of_geojson(tmp_path: Path) -> None:
    read_csv = read(tmp_path / "a.csv", "x,y\n5,6\n30.5,20\n", kind="points", nm_per_px=30)["UR-MITO"]
    told = json.dumps({"features": [feature("MultiPoint", [[5, 6], [30.5, 20]])]})
    read_json = read(tmp_path / "a.geojson", told, kind="points", nm_per_px=30)["UR-MITO"]
    np.testing.assert_array_equal(read_csv, read_json)
    assert read_csv.sum() > 2


def test_a_point_on_coarse_pixels_marks_at_least_one(tmp_path: Path) -> None:
    mask = read(tmp_path / "a.csv", "x,y\n5.5,6.5\n", kind="points", nm_per_px=900)["UR-MITO"]
    assert mask[6, 5]


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "x,y\n1\n", "x,y\none,2\n", "x,y\nnan,2\n"])
def test_what_is_no_table_of_points_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(LabelsRefused, match=r"a\.csv"):
        read(tmp_path / "a.csv", content, kind="points")


@pytest.mark.parametrize(("kind", "there"), [("Polygon", [[[1, 2], [3, 4], [5, 1]]]), ("Point", [1])])
def test_what_is_no_point_is_refused(tmp_path: Path, kind: str, there: list[Any]) -> None:
    with pytest.raises(LabelsRefused, match=r"a\.geojson"):
        geojson(tmp_path, feature(kind, there), kind="points")


def test_white_is_the_class_from_128_on(tmp_path: Path) -> None:
    mask = picture(tmp_path, np.array([[0, 127, 128, 255]], np.uint8))["UR-MITO"]
    assert mask.tolist() == [[False, False, True, True]]


def test_white_of_16_bits_is_cut_at_the_same_grey(tmp_path: Path) -> None:
    mask = picture(tmp_path, np.array([[0, 300, 30000, 40000]], np.uint16))["UR-MITO"]
    assert mask.tolist() == [[False, False, False, True]]


def test_a_bilevel_mask_is_read_by_true(tmp_path: Path) -> None:
    assert picture(tmp_path, np.array([[False, True]]))["UR-MITO"].tolist() == [[False, True]]


@pytest.mark.parametrize("kind", ["mask", "inverse_mask"])
@pytest.mark.parametrize(("depth", "greatest"), [(np.uint8, 1), (np.uint16, 255)])
def test_a_mask_that_holds_no_white_is_refused_and_one_of_0_alone_is_not(
    tmp_path: Path, kind: str, depth: type[np.generic], greatest: int
) -> None:
    with pytest.raises(LabelsRefused, match=f"holds {greatest} at most") as refused:
        picture(tmp_path, np.array([[0, greatest]], depth), kind=kind)
    assert "0 and 255" in refused.value.remedy
    empty = picture(tmp_path, np.array([[0, 0]], depth), kind=kind)["UR-MITO"]
    assert empty.tolist() == [[kind == "inverse_mask"] * 2]


@pytest.mark.parametrize("depth", [np.int32, np.float32])
def test_a_deep_mask_without_white_is_refused(tmp_path: Path, depth: type[np.generic]) -> None:
    path = save_picture(tmp_path / "a.tif", np.array([[0, 1]], depth))
    row = AnnotationRow.model_validate(labelled_row("a.png", value=None, annotation=path.name, kind="mask"))
    with pytest.raises(LabelsRefused, match="holds 1 at most"):
        read_annotation(row, path, SizePx(2, 1))


def test_of_an_inverse_mask_only_0_is_the_class(tmp_path: Path) -> None:
    mask = picture(tmp_path, np.array([[0, 1, 255]], np.uint8), kind="inverse_mask")["UR-MITO"]
    assert mask.tolist() == [[True, False, False]]


def test_labels_are_read_by_their_table_and_background_is_no_class(tmp_path: Path) -> None:
    values = np.array([[1, 2, 3, 4]], np.uint8)
    masks = picture(tmp_path, values, kind="labels", code="", codes="1= 2=UR-MYELIN 3=UR-AXON 4=UR-AXON")
    told = {code: mask.tolist() for code, mask in masks.items()}
    assert told == {"UR-AXON": [[False, False, True, True]], "UR-MYELIN": [[False, True, False, False]]}


def test_labels_of_a_palette_are_its_indices(tmp_path: Path) -> None:
    coloured = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("P")
    coloured.putpalette([9, 9, 9, 200, 0, 0])
    coloured.save(tmp_path / "a.png")
    row = labelled_row("a.png", value=None, kind="labels", code="", codes="0= 1=UR-AXON")
    masks = read_annotation(AnnotationRow.model_validate(row), tmp_path / "a.png", SizePx(2, 1))
    assert masks["UR-AXON"].tolist() == [[False, True]]


def test_a_label_outside_the_table_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(LabelCodeUnknown, match="holds 7") as refused:
        picture(tmp_path, np.array([[1, 7]], np.uint8), kind="labels", code="", codes="1=UR-AXON")
    assert "`7=`" in refused.value.remedy


def test_labels_in_colour_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelsRefused, match="one channel"):
        picture(tmp_path, np.zeros((2, 2, 3), np.uint8), kind="labels", code="", codes="0=UR-AXON")


def test_instances_are_one_class_together(tmp_path: Path) -> None:
    matlab = pytest.importorskip("scipy.io")
    planes = np.zeros((30, 40, 3), np.uint8)
    planes[2, 3, 0], planes[4, 5, 2] = 1, 3
    matlab.savemat(tmp_path / "a.mat", {"groundTruthM": planes})
    row = AnnotationRow.model_validate(labelled_row("a.png", value=None, kind="instances"))
    mask = read_annotation(row, tmp_path / "a.mat", SIZE)["UR-MITO"]
    np.testing.assert_array_equal(mask, planes.max(axis=2) > 0)
    with pytest.raises(MaskSizeMismatch):
        read_annotation(row, tmp_path / "a.mat", SizePx(30, 40))


def test_a_matlab_file_without_instances_is_refused(tmp_path: Path) -> None:
    matlab = pytest.importorskip("scipy.io")
    matlab.savemat(tmp_path / "a.mat", {"other": np.zeros(3)})
    row = AnnotationRow.model_validate(labelled_row("a.png", value=None, kind="instances"))
    for content in ((tmp_path / "a.mat").read_bytes(), b"no matlab"):
        (tmp_path / "a.mat").write_bytes(content)
        with pytest.raises(LabelsRefused, match="groundTruthM"):
            read_annotation(row, tmp_path / "a.mat", SIZE)
