"""Labelled fields at the model's pixel size, with targets that hold every pixel of the masks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled import filed_row, labelled_row, texture, write_manifest
from made_tissue import tissue, write_recipe, write_tissue
from numpy.typing import NDArray

from ultraread.datasets.corpora import fetch
from ultraread.datasets.manifest import load_manifest
from ultraread.errors import (
    ClassEmpty,
    ContrastInverted,
    CorpusUnreachable,
    LabelsRefused,
    ManifestInvalid,
    RequestInvalid,
)
from ultraread.training.config import TrainingConfig, changed, load_config
from ultraread.training.fields import (
    Field,
    digest_of_fields,
    learned_sets,
    load_field,
    load_training_fields,
    normalise,
    soft_targets,
)
from ultraread.training.model_view import view_of_recipe

MITO = ("UR-MITO",)


def bright_left(side_px: int = 64) -> NDArray[np.uint8]:
    mask = np.zeros((side_px, side_px), np.uint8)
    mask[:, : side_px // 2] = 255
    return mask


def load(folder: Path, config: TrainingConfig, *rows: dict[str, Any]) -> list[Field]:
    """Load rows to learn from, for a recipe of mitochondria only."""
    fields = load_manifest(write_manifest(folder, rows)).fields
    return load_training_fields(fields, changed(config, classes=config.classes[:1]))


def test_a_field_has_a_mask_a_class_in_the_recipe_s_order(fields: list[Field]) -> None:
    grey, masks = tissue(0)
    first = fields[0]
    assert first.grey.shape == (1, 256, 256)
    assert (float(first.grey.min()), float(first.grey.max())) == (0, 1)
    for mask, code in zip(first.masks, ("UR-MITO", "UR-SYN", "UR-MEM"), strict=True):
        assert torch.equal(mask, torch.from_numpy(masks[code].astype(np.uint8)))
    assert first.known.tolist() == [True] * 3
    np.testing.assert_allclose(
        normalise(first.grey, None)[0].numpy(), (grey - grey.min()) / np.ptp(grey.astype(float)), atol=1e-6
    )


def test_a_field_of_another_scale_is_brought_to_the_model_s(tiny: TrainingConfig, tmp_path: Path) -> None:
    (field,) = load(
        tmp_path, tiny, filed_row(tmp_path, "a", 255 - bright_left(), bright_left(), nm_per_px=9.2)
    )
    assert field.grey.shape == (1, 128, 128)
    assert field.masks.shape == (1, 128, 128)
    assert field.masks[0, :, :64].all()
    assert not field.masks[0, :, 64:].any()


def test_a_field_smaller_than_a_patch_is_refused(tiny: TrainingConfig, tmp_path: Path) -> None:
    row = filed_row(tmp_path, "a", 255 - bright_left(64), bright_left(64), nm_per_px=1.0)
    with pytest.raises(LabelsRefused, match=r"a\.png is smaller than a patch of 16 px at 4\.6 nm/px"):
        load(tmp_path, tiny, row)


def test_a_class_that_nothing_labels_is_not_known(tiny: TrainingConfig, tmp_path: Path) -> None:
    (one,) = load_manifest(write_tissue(tmp_path, range(1), MITO)).fields
    field = load_field(one, view_of_recipe(tiny))
    assert field.known.tolist() == [True, False, False]
    assert not field.masks[1:].any()


def test_a_label_of_the_whole_image_is_a_value_and_no_mask(tiny: TrainingConfig, tmp_path: Path) -> None:
    row = filed_row(tmp_path, "a", texture(1), None, kind="tile", code="UR-MITO", value=0.25)
    (field,) = load(tmp_path, tiny, row)
    assert field.known.tolist() == [False]
    assert field.tile_values.tolist() == [0.25]
    assert not field.masks.any()


@pytest.mark.parametrize("name", ["a", "b"])
def test_inverted_contrast_is_refused_by_field_and_class(
    tiny: TrainingConfig, tmp_path: Path, name: str
) -> None:
    grey = texture(1) // 4 + bright_left() // 2
    with pytest.raises(ContrastInverted, match=rf"{name}\.png: mitochondria is brighter"):
        load(tmp_path, tiny, filed_row(tmp_path, name, grey, bright_left()))


def test_a_class_that_is_not_electron_dense_may_be_bright(tiny: TrainingConfig, tmp_path: Path) -> None:
    bright = changed(tiny, classes=(changed(tiny.classes[0], electron_dense=False),))
    grey = texture(1) // 4 + bright_left() // 2
    (field,) = load(tmp_path, bright, filed_row(tmp_path, "a", grey, bright_left()))
    assert field.grey[field.masks.bool()].mean() > field.grey[~field.masks.bool()].mean()


def test_a_class_that_no_field_shows_is_refused(tiny: TrainingConfig, tmp_path: Path) -> None:
    empty = np.zeros((64, 64), np.uint8)
    with pytest.raises(ClassEmpty, match="UR-MITO"):
        load(tmp_path, tiny, filed_row(tmp_path, "a", texture(1), empty))


def test_targets_hold_every_pixel_of_the_masks(fields: list[Field]) -> None:
    targets = soft_targets(fields[0].masks, 16)
    assert targets.shape == (3, 16, 16)
    assert ((targets.sum(dim=(1, 2)) * 16**2).round() == fields[0].masks.sum(dim=(1, 2))).all()


def test_normalising_gives_mean_0_and_deviation_1_whatever_offset_and_gain(fields: list[Field]) -> None:
    once = normalise(fields[0].grey, clip=10)
    assert abs(float(once.mean())) < 1e-4
    assert float(once.std(correction=0)) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(normalise(7 + 300 * fields[0].grey, clip=10), once, atol=1e-3, rtol=1e-3)


def test_normalising_clips(fields: list[Field]) -> None:
    assert float(normalise(fields[0].grey, clip=0.5).abs().max()) == 0.5


def test_a_blank_image_normalises_to_zero() -> None:
    assert (normalise(torch.zeros(1, 8, 8), clip=4) == 0).all()


def test_fields_are_named_by_the_bytes_of_images_and_masks(manifest: Path) -> None:
    fields = load_manifest(manifest).fields
    other = replace(fields[0], image_sha256="0" * 64)
    assert digest_of_fields(fields) == digest_of_fields(fields[::-1])
    assert digest_of_fields([other, *fields[1:]]) != digest_of_fields(fields)


def test_only_fields_of_the_recipe_s_split_are_learned_from(tmp_path: Path) -> None:
    rows = [labelled_row("a.png"), labelled_row("b.png", split="test")]
    recipe = write_recipe(tmp_path / "recipe.toml", write_manifest(tmp_path, rows))
    (learned,) = learned_sets(load_config(recipe))
    assert [one.name for one in learned.fields] == ["a.png"]


def test_a_data_set_without_fields_to_learn_from_is_refused(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, [labelled_row("a.png", split="test")])
    with pytest.raises(ManifestInvalid, match="no field of split train"):
        learned_sets(load_config(write_recipe(tmp_path / "recipe.toml", manifest)))


def test_two_data_sets_of_one_name_are_refused(tmp_path: Path, manifest: Path) -> None:
    other = write_tissue(tmp_path, range(1))
    with pytest.raises(RequestInvalid, match="two data sets are called tissue"):
        learned_sets(load_config(write_recipe(tmp_path / "recipe.toml", manifest, other)))


def test_masks_of_the_fly_agree_with_its_code_table(committed_recipe: Path) -> None:
    config = load_config(committed_recipe)
    try:
        labels = fetch("drosophila_vnc/stack1/labels/labels00000000.png")
        field = load_field(learned_sets(config)[0].fields[0], view_of_recipe(config))
    except CorpusUnreachable as unreachable:
        pytest.skip(unreachable.what)
    from PIL import Image

    with Image.open(labels) as image:
        codes = np.array(image)
    mitochondria, synapse, membrane = field.masks.numpy().astype(bool)
    assert (mitochondria != (codes == 191)).mean() < 1e-3
    assert (synapse == (codes == 223)).all()
    assert membrane[(codes <= 128) | (codes == 159)].all()
    assert not membrane[codes == 255].any()
