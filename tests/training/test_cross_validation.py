"""Every field is predicted by a model that never saw it, and finished folds are not trained again."""

from pathlib import Path

import numpy as np
import pytest
from made_run import Ran, silent
from made_tissue import write_recipe, write_tissue

from ultraread.training.config import TrainingConfig, load_config
from ultraread.training.cross_validation import (
    cross_validate,
    load_predictions,
    sampling_weights,
    save_predictions,
    training_fields,
)
from ultraread.training.folds import Fold
from ultraread.training.release import run_folder
from ultraread.training.train import OnStep


def refuse(fold: Fold) -> OnStep:
    raise AssertionError(f"fold {fold.number} is trained again")


def test_every_field_is_predicted_once_in_the_order_of_the_manifest(ran: Ran, tiny: TrainingConfig) -> None:
    assert [one.field for one in ran.predictions] == training_fields(tiny)
    assert {one.predicted.shape for one in ran.predictions} == {(3, 16, 16)}
    assert {one.strangeness.shape for one in ran.predictions} == {(16,)}
    assert all((one.strangeness > 0).all() for one in ran.predictions)


def test_each_fold_has_a_network_of_its_own(ran: Ran) -> None:
    kept = sorted(file.name for file in run_folder(ran.recipe, ran.runs).glob("fold-*"))
    assert kept == ["fold-0.npz", "fold-0.pt", "fold-1.npz", "fold-1.pt"]
    first, last = ran.predictions[0], ran.predictions[-1]
    assert not np.array_equal(first.predicted, last.predicted)


def test_folds_that_are_done_are_read_and_not_trained_again(ran: Ran, tiny: TrainingConfig) -> None:
    again = cross_validate(tiny, run_folder(ran.recipe, ran.runs), refuse)
    for one, before in zip(again, ran.predictions, strict=True):
        assert one.field == before.field
        np.testing.assert_array_equal(one.predicted, before.predicted)


def test_one_fold_alone_gives_its_own_fields(ran: Ran, tiny: TrainingConfig) -> None:
    found = cross_validate(tiny, run_folder(ran.recipe, ran.runs), refuse, only=[1])
    assert [one.field.section for one in found] == [3, 4, 5]


def test_predictions_are_read_as_they_were_written(ran: Ran, tmp_path: Path) -> None:
    save_predictions(ran.predictions, tmp_path / "kept.npz")
    read = load_predictions(tmp_path / "kept.npz", [one.field for one in ran.predictions])
    for one, before in zip(read, ran.predictions, strict=True):
        for name in ("predicted", "true", "known", "strangeness"):
            np.testing.assert_array_equal(getattr(one, name), getattr(before, name))
    assert [file.name for file in tmp_path.iterdir()] == ["kept.npz"]


def test_a_manifest_s_weight_is_shared_out_among_its_fields_whatever_they_are_called(tmp_path: Path) -> None:
    """Both data sets call their first picture 00.png."""
    one = write_tissue(tmp_path / "one", range(2), name="one")
    other = write_tissue(tmp_path / "other", range(10, 14), name="other")
    recipe = write_recipe(tmp_path / "recipe.toml", one, other)
    recipe.write_text(recipe.read_text().replace(f'"{other}"', f'"{other}"\nweight = 8'))
    config = load_config(recipe)
    fields = training_fields(config)
    assert sampling_weights(config, fields) == [0.5, 0.5, 2, 2, 2, 2]
    assert sampling_weights(config, fields[::-2]) == [2, 2, 0.5]


def test_fields_of_one_name_in_two_data_sets_are_both_predicted(tmp_path: Path) -> None:
    one = write_tissue(tmp_path / "one", range(2), name="one", block="a")
    other = write_tissue(tmp_path / "other", range(10, 12), name="other", block="b")
    config = load_config(write_recipe(tmp_path / "recipe.toml", one, other, steps=1, gap_sections=0))
    found = cross_validate(config, tmp_path / "runs", lambda fold: silent)
    assert [one.field for one in found] == training_fields(config)


def test_sections_tested_need_not_show_every_class(tmp_path: Path) -> None:
    """Synapses are labelled in the first block only."""
    one = write_tissue(tmp_path / "one", range(4), name="one", block="a")
    other = write_tissue(tmp_path / "other", range(10, 11), ("UR-MITO",), "other", block="b")
    config = load_config(write_recipe(tmp_path / "recipe.toml", one, other, steps=1, folds=5, gap_sections=0))
    found = cross_validate(config, tmp_path / "runs", lambda fold: silent, only=[0])
    assert [one.known.tolist() for one in found] == [[True] * 3, [True, False, False]]


@pytest.mark.parametrize("left", ["fold-0.part", "fold-1.part"])
def test_what_a_kill_left_of_a_prediction_is_never_read(ran: Ran, tiny: TrainingConfig, left: str) -> None:
    folder = run_folder(ran.recipe, ran.runs)
    (folder / left).write_bytes(b"half a prediction")
    assert len(cross_validate(tiny, folder, refuse)) == len(ran.predictions)
    (folder / left).unlink()
