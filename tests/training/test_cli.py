import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ultraread import cli as commands
from ultraread.errors import ExtraMissing
from ultraread.training import cli


def test_importing_the_commands_does_not_import_torch() -> None:
    code = "import sys, ultraread.training.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_torch_the_message_says_what_to_install(
    committed_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_nothing(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(cli, "find_spec", find_nothing)
    with pytest.raises(ExtraMissing) as refused:
        commands.app(["train", str(committed_recipe)], standalone_mode=False)
    assert 'pip install "ultraread[train]"' in refused.value.remedy


@pytest.mark.parametrize("command", ["train", "cross-validate"])
def test_help_shows_an_example(command: str) -> None:
    said = CliRunner().invoke(commands.app, [command, "--help"])
    assert said.exit_code == 0
    assert "Example:" in said.output


def test_a_missing_recipe_ends_with_a_sentence_and_its_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["cli", "train", "no-such-recipe.toml"])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 2
    assert "no-such-recipe.toml" in capsys.readouterr().err
