"""`ultraread models`: the registry as an engineer meets it on the command line."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import Ended, ultraread
from versions import POLICY, evaluation_of, with_evaluation, write_version

from ultraread.models.registry import ModelFolder
from ultraread.serving.mlflow_log import mlflow_client


@pytest.fixture(scope="module")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real MLflow store; its first migration takes seconds, so the tests of this file copy it."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow_client(f"sqlite:///{database}").search_registered_models()
    return database


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that every command finds by itself, and sets that the tiny evaluations have."""
    monkeypatch.setenv("ULTRAREAD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ULTRAREAD_PROMOTION_SETS", json.dumps(POLICY.sets))
    return tmp_path / "data"


@pytest.fixture
def first(tmp_path: Path, data_dir: Path, empty_mlflow: Path) -> ModelFolder:
    data_dir.mkdir(mode=0o700)
    shutil.copyfile(empty_mlflow, data_dir / "mlflow.db")
    model = write_version(tmp_path / "first", "1.0.0")
    return with_evaluation(model, evaluation_of(model))


def models(*words: object) -> Ended:
    return ultraread("models", *words)


def standing(ref: str) -> dict[str, object]:
    name, _, version = ref.partition("/")
    listed = models("ls", "--json").printed
    return next(one for one in listed if (one["name"], one["version"]) == (name, version))


def test_listing_makes_no_registry_where_there_is_none(data_dir: Path) -> None:
    assert standing("ultrastructure-vnc/2.0.0")["registered"] is False
    assert not data_dir.exists()


def test_a_version_goes_from_candidate_to_champion_and_back(first: ModelFolder, tmp_path: Path) -> None:
    second = write_version(tmp_path / "second", "2.0.0", bias=0.0)
    evaluation = tmp_path / "second-evaluation.json"
    with_evaluation(second, evaluation_of(second, first)).path.joinpath("evaluation.json").rename(evaluation)
    assert models("register", first.path).status == 0
    assert models("promote", "tiny@candidate", "champion", "--reason", "the first").status == 0
    assert models("register", second.path, "--evaluation", evaluation).status == 0
    promoted = models("promote", "tiny/2.0.0", "champion", "--reason", "as good", "--json")
    assert (promoted.status, {gate["passed"] for gate in promoted.printed["gates"]}) == (0, {True})
    assert standing("tiny/2.0.0")["aliases"] == ["candidate", "champion"]
    assert models("rollback", "champion").out == "tiny@champion is tiny/1.0.0 again\n"
    assert "champion" in models("ls").out
    assert models("card", "tiny@champion", "--json").printed["version"] == "1.0.0"


def test_a_refused_promotion_shows_the_gates_and_exits_with_the_status_of_a_refused_model(
    first: ModelFolder, tmp_path: Path
) -> None:
    worse = write_version(tmp_path / "worse", "2.0.0", bias=0.0)
    models("register", first.path)
    models("promote", "tiny/1.0.0", "champion", "--reason", "the first")
    models("register", with_evaluation(worse, evaluation_of(worse, first, difference=-0.1)).path)
    refused = models("promote", "tiny/2.0.0", "champion", "--reason", "hope")
    assert refused.status == 5
    assert refused.err.startswith(
        "error[promotion_refused]: tiny/2.0.0 does not become champion: T-BRIGHT on"
    )
    assert "FAILED" in refused.out
    told = models("promote", "tiny/2.0.0", "champion", "--reason", "hope", "--json")
    assert (told.status, told.problem["code"]) == (5, "promotion_refused")
    assert standing("tiny/1.0.0")["aliases"] == ["champion"]


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (("promote", "tiny/9.9.9", "champion", "--reason", "x"), "model_unknown", 5),
        (("promote", "tiny/1.0.0", "boss", "--reason", "x"), "request_invalid", 2),
        (("rollback", "champion"), "request_invalid", 2),
        (("rollback", "candidate"), "promotion_refused", 5),
        (("withdraw", "nobody/1.0.0", "--reason", "x"), "model_unknown", 5),
        (("register", "/no/such/folder"), "model_unknown", 5),
        (("card", "tiny@champion"), "model_unknown", 5),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_code(
    words: tuple[str, ...], code: str, status: int, first: ModelFolder
) -> None:
    models("register", first.path)
    ended = models(*words, "--json")
    assert (ended.problem["code"], ended.status) == (code, status)
    assert standing("tiny/1.0.0")["aliases"] == ["candidate"]


def test_a_withdrawn_version_shows_why_and_is_read_with_no_more(first: ModelFolder, tmp_path: Path) -> None:
    models("register", first.path)
    withdrawn = models("withdraw", "tiny/1.0.0", "--reason", "wrong labels", "--json").printed
    assert (withdrawn["reads"], withdrawn["reason"]) == ([], "wrong labels")
    assert standing("tiny/1.0.0")["withdrawn_reason"] == "wrong labels"
    assert "tiny/1.0.0 is withdrawn: wrong labels" in models("ls").out
    ended = ultraread("read", tmp_path / "none.tif", "--out", tmp_path / "out", "--model", "tiny/1.0.0")
    assert (ended.status, ended.err[:22]) == (5, "error[model_withdrawn]")


def test_a_damaged_version_is_listed_as_such(first: ModelFolder, data_dir: Path) -> None:
    models("register", first.path)
    shutil.rmtree(data_dir / "models/tiny/1.0.0")
    assert standing("tiny/1.0.0")["damaged"] == "integrity_failed"
    listed = models("ls")
    assert listed.status == 0
    assert "damaged" in listed.out
