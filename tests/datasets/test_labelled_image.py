"""A labelled field comes as grey values of 0 to 1 and one mask a class, or is refused by its fact."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from labelled import filed_row, save_picture, texture, write_manifest
from numpy.typing import NDArray

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.labelled_image import LabelledImage, load_labelled, require_classes
from ultraread.datasets.manifest import load_manifest
from ultraread.errors import (
    ClassEmpty,
    CorpusUnreachable,
    IntegrityFailed,
    LabelsRefused,
    ManifestInvalid,
    MaskSizeMismatch,
    NonFinitePixels,
)

MANIFESTS = Path(__file__).resolve().parents[2] / "datasets" / "manifests"


def half(side_px: int = 64) -> NDArray[np.uint8]:
    """White on the left."""
    mask = np.zeros((side_px, side_px), np.uint8)
    mask[:, : side_px // 2] = 255
    return mask


def load(folder: Path, *rows: dict[str, Any], codes: tuple[str, ...] = ("UR-MITO",)) -> LabelledImage:
    (field,) = load_manifest(write_manifest(folder, rows)).fields
    return load_labelled(field, codes)


def load_corpus(name: str, section: int, codes: tuple[str, ...]) -> LabelledImage:
    fields = load_manifest(MANIFESTS / f"{name}.csv").fields
    try:
        return load_labelled(next(field for field in fields if field.section == section), codes)
    except CorpusUnreachable as missing:
        pytest.skip(missing.what)


def test_grey_is_linear_from_0_to_1_and_masks_follow_the_asked_order(tmp_path: Path) -> None:
    grey = texture(1) // 2 + 40
    row = filed_row(tmp_path, "a", grey, half())
    image = load(tmp_path, row, codes=("UR-SYN", "UR-MITO"))
    assert image.grey.dtype == np.float32
    np.testing.assert_allclose(image.grey, (grey - grey.min()) / np.ptp(grey.astype(float)), atol=1e-6)
    np.testing.assert_array_equal(image.masks, [np.zeros((64, 64)), half() // 255])
    assert image.known.tolist() == [False, True]
    assert np.isnan(image.tile_values).all()


def test_a_constant_image_is_all_zero(tmp_path: Path) -> None:
    image = load(tmp_path, filed_row(tmp_path, "a", np.full((64, 64), 9, np.uint8), half()))
    assert not image.grey.any()


@pytest.mark.parametrize(
    ("dtype", "span"),
    [(np.uint8, (10 / 255, 50 / 255)), (np.uint16, (10 / 65535, 50 / 65535)), (np.float32, None)],
)
def test_the_span_tells_which_part_of_its_bit_depth_an_image_uses(
    tmp_path: Path, dtype: type[np.generic], span: tuple[float, float] | None
) -> None:
    grey = np.linspace(10, 50, 64 * 64).reshape(64, 64).astype(dtype)
    tifffile.imwrite(tmp_path / "image.tif", grey, photometric="minisblack")
    row = filed_row(tmp_path, "a", texture(1), None, image="image.tif")
    row["image_sha256"] = sha256_of_file(tmp_path / "image.tif")
    assert load(tmp_path, row).span == (span if span is None else pytest.approx(span))


def test_grey_coded_as_rgb_is_grey(tmp_path: Path) -> None:
    grey = texture(1)
    image = load(tmp_path, filed_row(tmp_path, "a", np.repeat(grey[..., None], 3, axis=2), half()))
    assert image.grey.shape == (64, 64)


def test_two_masks_of_one_class_add_up(tmp_path: Path) -> None:
    left = filed_row(tmp_path, "a", texture(1), half())
    right = save_picture(tmp_path / "right.png", half()[:, ::-1])
    other = {**left, "annotation": right.name, "annotation_sha256": sha256_of_file(right)}
    assert load(tmp_path, left, other).masks.all()


def test_an_image_without_annotation_knows_nothing(tmp_path: Path) -> None:
    image = load(tmp_path, filed_row(tmp_path, "a", texture(1), None))
    assert not image.known.any()
    assert not image.masks.any()


def test_a_tile_states_its_fraction_without_a_mask(tmp_path: Path) -> None:
    row = filed_row(tmp_path, "a", texture(1), None, kind="tile", code="UR-MITO", value=0.25)
    image = load(tmp_path, row, codes=("UR-MITO", "UR-SYN"))
    assert image.known.tolist() == [True, False]
    np.testing.assert_array_equal(image.tile_values, np.array([0.25, np.nan], np.float32))
    assert not image.masks.any()


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(MaskSizeMismatch, match="32 x 32 px, its image 64 x 64 px"):
        load(tmp_path, filed_row(tmp_path, "a", texture(1), half(32)))


@pytest.mark.parametrize("name", ["a.png", "a-mask.png"])
def test_bytes_that_changed_since_are_refused(tmp_path: Path, name: str) -> None:
    row = filed_row(tmp_path, "a", texture(1), half())
    save_picture(tmp_path / name, texture(2))
    with pytest.raises(IntegrityFailed, match=name):
        load(tmp_path, row)


def test_an_image_that_is_not_there_is_refused(tmp_path: Path) -> None:
    row = filed_row(tmp_path, "a", texture(1), half())
    (tmp_path / "a.png").unlink()
    with pytest.raises(ManifestInvalid, match=r"no file a\.png"):
        load(tmp_path, row)


def test_nan_pixels_are_refused(tmp_path: Path) -> None:
    grey = texture(1).astype(np.float32)
    grey[3, 3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", grey)
    row = filed_row(tmp_path, "b", texture(1), half())
    with pytest.raises(NonFinitePixels):
        load(tmp_path, {**row, "image": "a.tif", "image_sha256": sha256_of_file(tmp_path / "a.tif")})


def test_a_class_that_is_nowhere_is_refused_by_name(tmp_path: Path) -> None:
    images = [load(tmp_path, filed_row(tmp_path, "a", texture(1), half()), codes=("UR-MITO", "UR-SYN"))]
    require_classes(images, ("UR-MITO",))
    with pytest.raises(ClassEmpty, match="UR-SYN"):
        require_classes(images, ("UR-MITO", "UR-SYN"))


def test_a_stated_fraction_shows_its_class(tmp_path: Path) -> None:
    row = filed_row(tmp_path, "a", texture(1), None, kind="tile", code="UR-MITO", value=0.25)
    require_classes([load(tmp_path, row)], ("UR-MITO",))


def test_a_damaged_mask_is_refused(tmp_path: Path) -> None:
    row = filed_row(tmp_path, "a", texture(1), half())
    (tmp_path / "a-mask.png").write_bytes(b"no picture")
    with pytest.raises(LabelsRefused, match="cannot be decoded"):
        load(tmp_path, {**row, "annotation_sha256": sha256_of_file(tmp_path / "a-mask.png")})


@pytest.mark.parametrize(
    ("name", "section", "fractions"),
    [
        ("drosophila_vnc", 1, {"UR-MITO": 0.071, "UR-SYN": 0.004, "UR-MEM": 0.207}),
        ("hela_sbfsem", 1, {"UR-MITO": 0.017}),
        ("isbi2012", 0, {"UR-MEM": 0.219}),
        ("nerve_myelin", 1, {"UR-AXON": 0.385, "UR-MYELIN": 0.372}),
    ],
)
def test_the_corpora_show_their_classes(name: str, section: int, fractions: dict[str, float]) -> None:
    image = load_corpus(name, section, tuple(fractions))
    assert image.known.all()
    np.testing.assert_allclose(image.masks.mean(axis=(1, 2)), list(fractions.values()), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "section", "code"),
    [
        ("drosophila_vnc", 7, "UR-MITO"),
        ("drosophila_vnc", 7, "UR-SYN"),
        ("drosophila_vnc", 7, "UR-MEM"),
        ("hela_sbfsem", 1, "UR-MITO"),
        ("hela_sbfsem", 30, "UR-MITO"),
        ("hela_sbfsem", 60, "UR-MITO"),
        ("isbi2012", 5, "UR-MEM"),
        ("nerve_myelin", 7, "UR-MYELIN"),
    ],
)
def test_masks_lie_on_their_own_image(name: str, section: int, code: str) -> None:
    """All these classes are darker than what the same mask covers a little further away, in any direction."""
    image = load_corpus(name, section, (code,))
    mask = image.masks[0].astype(bool)
    away = [image.grey[np.roll(mask, 24 * step, axis)].mean() for step in (-1, 1) for axis in (0, 1)]
    assert image.grey[mask].mean() < min(away) - 0.02
