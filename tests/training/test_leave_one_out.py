"""Each data set is judged by a model of the others, on classes that they label."""

from pathlib import Path

import pytest
from made_run import silent
from made_tissue import write_recipe, write_tissue

from ultraread.errors import RequestInvalid
from ultraread.training.config import config_sha256
from ultraread.training.leave_one_out import LeaveOneOut, leave_one_out
from ultraread.training.train import OnStep


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two laboratories that both label mitochondria, and one class more each."""
    base = tmp_path_factory.mktemp("laboratories")
    one = write_tissue(base / "one", range(2), ("UR-MITO", "UR-SYN"), "one")
    other = write_tissue(base / "other", range(10, 13), ("UR-MITO", "UR-MEM"), "other", laboratory="theirs")
    return write_recipe(base / "both.toml", one, other, steps=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def table(recipe: Path, runs: Path) -> LeaveOneOut:
    return leave_one_out(recipe, runs, lambda name: silent)


def test_each_data_set_is_left_out_once(table: LeaveOneOut, recipe: Path) -> None:
    assert [(row.learned_from, row.left_out.dataset, row.left_out.fields) for row in table.rows] == [
        (("other",), "one", 2),
        (("one",), "other", 3),
    ]
    assert table.config_sha256 == config_sha256(recipe)
    assert table.steps == 2
    assert not any(row.left_out.seen_in_training for row in table.rows)


def test_classes_that_nobody_else_labels_have_no_figures(table: LeaveOneOut) -> None:
    for row in table.rows:
        assert {one.code for one in row.left_out.figures} == {"UR-MITO"}
        assert "auc_patch" in {one.metric for one in row.left_out.figures}


def test_trainings_that_are_done_are_not_done_again(table: LeaveOneOut, recipe: Path, runs: Path) -> None:
    asked: list[str] = []
    steps: list[int] = []

    def on_set(name: str) -> OnStep:
        asked.append(name)
        return lambda done, loss: steps.append(done)

    assert leave_one_out(recipe, runs, on_set) == table
    assert asked == ["one", "other"]
    assert steps == []


def test_one_data_set_alone_is_refused(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid) as refused:
        leave_one_out(write_recipe(tmp_path / "alone.toml", manifest), tmp_path, lambda name: silent)
    assert "alone.toml learns from one data set" in refused.value.what
    assert "[[data]]" in refused.value.remedy


def test_data_sets_without_a_common_class_are_refused(tmp_path: Path) -> None:
    """Without the one, nothing labels what the recipe is left with."""
    one = write_tissue(tmp_path / "one", range(1), name="one")
    unlabelled = write_tissue(tmp_path / "other", range(1), ("T-OTHER",), "other")
    with pytest.raises(RequestInvalid, match="without one nothing labels a class of the recipe"):
        leave_one_out(
            write_recipe(tmp_path / "both.toml", one, unlabelled), tmp_path / "runs", lambda name: silent
        )
