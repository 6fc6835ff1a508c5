"""`ultraread tokens`, `users` and `sites` on a database of their own."""

from pathlib import Path

import pytest
from command_line import Ended, ultraread

from ultraread.serving.settings import Settings, prepare_folders
from ultraread.serving.store.engine import open_store

ALL_COMMANDS = (
    ("tokens", "create", "scanner", "--role", "submitter"),
    ("tokens", "ls"),
    ("tokens", "revoke", "01"),
    ("users", "add", "ann", "--role", "auditor"),
    ("users", "ls"),
    ("users", "set-roles", "ann", "--role", "auditor"),
    ("users", "remove", "ann"),
    ("sites", "add", "north"),
    ("sites", "ls"),
)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    settings = Settings(data_dir=tmp_path / "data")
    prepare_folders(settings)
    open_store(settings.database_address).close()
    return settings.data_dir


@pytest.mark.parametrize("words", ALL_COMMANDS, ids=" ".join)
def test_a_mistyped_data_folder_is_told_and_nothing_is_made(tmp_path: Path, words: tuple[str, ...]) -> None:
    ended = ultraread(*words, "--data-dir", tmp_path / "dta")
    told = f"error[not_found]: there is no installation in {tmp_path / 'dta'}. "
    assert (ended.status, ended.err[: len(told)]) == (2, told)
    assert not (tmp_path / "dta").exists()


@pytest.mark.parametrize("days", ["0", "-1", "nan", "3651"])
def test_a_token_that_is_over_at_once_is_not_made(data_dir: Path, days: str) -> None:
    ended = _made(data_dir, "--days", days)
    assert (ended.status, ended.err[:22]) == (2, "error[request_invalid]")
    assert _made(data_dir, "--days", "0.5").status == 0


def test_a_token_takes_no_role_that_its_user_does_not_have(data_dir: Path) -> None:
    ultraread("users", "add", "ann", "--role", "auditor", "--data-dir", data_dir)
    ended = _made(data_dir, "--role", "auditor", "--user", "ann")
    told = (
        "error[request_invalid]: user ann has no role submitter. Leave it out, or give it to the user first"
    )
    assert (ended.status, ended.err[: len(told)]) == (2, told)
    ultraread("users", "set-roles", "ann", "--role", "auditor", "--role", "submitter", "--data-dir", data_dir)
    assert _made(data_dir, "--role", "auditor", "--user", "ann").status == 0


def _made(data_dir: Path, *words: str) -> Ended:
    return ultraread("tokens", "create", "scanner", "--role", "submitter", *words, "--data-dir", data_dir)
