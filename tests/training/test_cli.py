"""The commands are thin: they say what is missing, go stage by stage, and print what they wrote."""

import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import ultraread
from typer.testing import CliRunner

from ultraread import cli as commands
from ultraread.errors import ExtraMissing
from ultraread.training import cli

if TYPE_CHECKING:
    from made_run import Ran

RECIPE_COMMANDS = ("train", "cross-validate", "calibrate", "export", "leave-one-out")
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="the train extra is not installed")


def test_importing_the_commands_does_not_import_torch() -> None:
    code = "import sys, ultraread.training.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", [*RECIPE_COMMANDS, "evaluate"])
def test_without_torch_the_message_says_what_to_install(
    command: str, committed_recipe: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_nothing(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(cli, "find_spec", find_nothing)
    words = ["tiny", "--manifest", str(manifest)] if command == "evaluate" else [str(committed_recipe)]
    with pytest.raises(ExtraMissing) as refused:
        commands.app([command, *words], standalone_mode=False)
    assert 'pip install "ultraread[train]"' in refused.value.remedy


@pytest.mark.parametrize("command", [*RECIPE_COMMANDS, "evaluate"])
def test_help_shows_an_example(command: str) -> None:
    said = CliRunner().invoke(commands.app, [command, "--help"])
    assert said.exit_code == 0
    assert f"Example: ultraread {command} " in said.output


@pytest.mark.parametrize("command", RECIPE_COMMANDS)
def test_a_missing_recipe_ends_with_a_sentence_and_its_status(command: str) -> None:
    ended = ultraread(command, "no-such-recipe.toml")
    assert ended.status == 2
    assert "no-such-recipe.toml" in ended.err


@needs_torch
def test_one_fold_is_trained_where_one_is_asked_for(tiny_recipe: Path, tmp_path: Path) -> None:
    ended = ultraread("cross-validate", tiny_recipe, "--runs", tmp_path, "--fold", 1)
    assert ended.status == 0, ended.err
    assert sorted(file.name for file in tmp_path.glob("*/*")) == ["fold-1.npz", "fold-1.pt"]
    refused = ultraread("calibrate", tiny_recipe, "--runs", tmp_path, "--results", tmp_path / "results")
    assert refused.status == 2
    assert "ultraread cross-validate" in refused.err
    assert not (tmp_path / "results").exists()


@needs_torch
def test_calibrate_prints_the_record_that_it_wrote(ran: "Ran", tmp_path: Path) -> None:
    ended = ultraread("calibrate", ran.recipe, "--runs", ran.runs, "--results", tmp_path, "--json")
    assert ended.status == 0, ended.err
    assert ended.printed == ran.record.model_dump(mode="json")
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "tiny-calibration.json",
        "tiny-calibration.md",
        "tiny-calibration.png",
    ]


@needs_torch
def test_train_and_export_make_a_model_folder(ran: "Ran", tmp_path: Path) -> None:
    """The weights are there already, so training goes on to its end at once."""
    trained = ultraread("train", ran.recipe, "--runs", ran.runs, "--mlflow-uri", "")
    assert trained.status == 0, trained.err
    out = tmp_path / "model"
    ended = ultraread("export", ran.recipe, "--runs", ran.runs, "--results", ran.results, "--out", out)
    assert ended.status == 0, ended.err
    assert (out / "model.onnx").read_bytes() == (ran.folder / "model.onnx").read_bytes()


@needs_torch
def test_evaluate_writes_figures_and_a_page(ran: "Ran", left_out: Path, tmp_path: Path) -> None:
    asked = ["--manifest", left_out, "--split", "test", "--out", tmp_path / "found.json"]
    ended = ultraread("evaluate", ran.folder, *asked, "--against", ran.folder, "--no-robustness", "--json")
    assert ended.status == 0, ended.err
    assert ended.printed["sets"][0]["dataset"] == "elsewhere"
    assert {one["verdict"] for one in ended.printed["comparisons"]} == {"cannot tell"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["found.json", "found.md"]
    missing = ultraread("evaluate", ran.folder, "--manifest", left_out, "--split", "train")
    assert missing.status != 0
    assert "no field of split train" in missing.err


@needs_torch
def test_leave_one_out_of_one_data_set_is_refused(tiny_recipe: Path, tmp_path: Path) -> None:
    ended = ultraread("leave-one-out", tiny_recipe, "--runs", tmp_path, "--results", tmp_path)
    assert ended.status == 2
    assert "learns from one data set" in ended.err
