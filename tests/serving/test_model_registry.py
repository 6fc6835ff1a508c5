"""The registry: whole registrations, gates before aliases, a way back, withdrawals that find their reads."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from filed import file_a_slide, new_read
from mlflow import MlflowClient
from tiny_model import change_card
from versions import POLICY, evaluation_of, with_evaluation, write_version

from ultraread.errors import (
    EvaluationInvalid,
    IntegrityFailed,
    ModelGoldenMismatch,
    ModelUnknown,
    ModelVersionTaken,
    ModelWithdrawn,
    PromotionRefused,
)
from ultraread.models.evaluation import EVALUATION_FILE, write_evaluation
from ultraread.models.promotion import Alias
from ultraread.models.registry import ModelFolder, find_model
from ultraread.serving.mlflow_log import register_model
from ultraread.serving.model_files import ModelFiles
from ultraread.serving.model_mirror import ModelMirror
from ultraread.serving.model_registry import ModelRegistry
from ultraread.serving.store import versions as rows
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.jobs import Jobs

WHO = "a test"


class House:
    """A registry of its own data folder, and models that wait outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = open_store(f"sqlite:///{folder}/ultraread.db")
        self.registry = ModelRegistry(self.store, ModelFiles(folder / "models"), POLICY)

    def make(self, version: str, bias: float = -1.0) -> ModelFolder:
        return write_version(self.folder / "outside" / version, version, bias)

    def crown(self, model: ModelFolder, champion: ModelFolder | None = None) -> None:
        """Register and promote, with an evaluation that allows it."""
        self.registry.register(with_evaluation(model, evaluation_of(model, champion)), None, WHO)
        self.promote(model.card.ref)

    def promote(self, ref: str, alias: Alias = Alias.CHAMPION) -> None:
        self.registry.promote(self.registry.judge(ref, alias), WHO, "a test")

    def at(self, alias: Alias = Alias.CHAMPION) -> str | None:
        with self.store.reading() as session:
            return rows.version_at(session, "tiny", alias)

    def trail(self) -> list[tuple[str, str]]:
        with self.store.reading() as session:
            return [(event.what, event.subject) for event in AuditLog(session).list()]

    def read_with(self, version: str) -> str:
        row = self.registry.judge(f"tiny/{version}", Alias.SHADOW).row
        asked = replace(
            new_read(file_a_slide(self.store)),
            model_name=row.name,
            model_version=row.version,
            model_card_sha256=row.card_sha256,
        )
        return Jobs(self.store, 60, 3).enqueue(asked, WHO).id


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.store.close()


def registered(house: House) -> list[str]:
    return sorted(
        str(path.relative_to(house.folder / "models")) for path in (house.folder / "models").glob("*/*")
    )


def test_a_registered_model_is_a_copy_that_outlives_its_origin(house: House) -> None:
    model = house.make("1.0.0")
    house.registry.register(model, None, WHO)
    (model.path / "model.onnx").unlink()
    kept = house.registry.find("tiny@candidate")
    assert kept.path == house.folder / "models/tiny/1.0.0"
    assert house.registry.prove(kept) == 0
    assert house.trail() == [("model_registered", "tiny/1.0.0"), ("model_promoted", "tiny/1.0.0")]


def test_registering_again_changes_nothing_and_other_content_is_refused(house: House) -> None:
    model = house.make("1.0.0")
    house.registry.register(model, None, WHO)
    before = house.trail()
    house.registry.register(model, None, WHO)
    assert house.trail() == before
    with pytest.raises(ModelVersionTaken, match=r"tiny/1\.0\.0"):
        house.registry.register(write_version(house.folder / "other", "1.0.0", bias=0.5), None, WHO)
    change_card(model.path, limitations=["another word"])
    with pytest.raises(ModelVersionTaken):
        house.registry.register(find_model(str(model.path)), None, WHO)
    assert house.trail() == before


def test_a_model_that_does_not_load_here_leaves_nothing(house: House) -> None:
    model = house.make("1.0.0")
    (model.path / "model.onnx").write_bytes(b"\x08")
    with pytest.raises(Exception, match="not the file that the card"):
        house.registry.register(model, None, WHO)
    assert registered(house) == []
    assert house.trail() == []


def test_an_evaluation_of_another_model_registers_nothing(house: House) -> None:
    model, other = house.make("1.0.0"), house.make("2.0.0", bias=0.0)
    file = house.folder / EVALUATION_FILE
    write_evaluation(evaluation_of(other), file)
    with pytest.raises(EvaluationInvalid, match=r"tiny/2\.0\.0"):
        house.registry.register(model, file, WHO)
    assert registered(house) == []


def test_a_registration_that_died_before_its_row_is_completed_by_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    model = house.make("1.0.0")
    with monkeypatch.context() as patched:
        patched.setattr(ModelRegistry, "_enter", dies)
        with pytest.raises(KeyboardInterrupt):
            house.registry.register(model, None, WHO)
    with pytest.raises(ModelUnknown):
        house.registry.find("tiny/1.0.0")
    other = write_version(house.folder / "other", "1.0.0", bias=0.5)
    house.registry.register(other, None, WHO)
    assert house.registry.find("tiny/1.0.0").card.sha256 == other.card.sha256


def test_a_copy_that_died_half_way_is_never_seen_and_replaced(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> NoReturn:
        raise SystemExit

    model = house.make("1.0.0")
    with monkeypatch.context() as patched:
        patched.setattr("ultraread.serving.model_files.publish", dies)
        patched.setattr("ultraread.serving.model_files.clear", lambda _folder: None)
        with pytest.raises(SystemExit):
            house.registry.register(model, None, WHO)
    assert registered(house) == ["tiny/.1.0.0.unfinished"]
    house.registry.register(model, None, WHO)
    assert registered(house) == ["tiny/1.0.0"]


def test_what_was_changed_in_the_registry_is_not_used(house: House) -> None:
    house.crown(house.make("1.0.0"))
    change_card(house.folder / "models/tiny/1.0.0", limitations=["another word"])
    with pytest.raises(IntegrityFailed):
        house.registry.find("tiny")
    with pytest.raises(IntegrityFailed):
        house.registry.judge("tiny/1.0.0", Alias.SHADOW)


def test_a_model_made_worse_is_refused_with_its_gates_and_the_champion_stays(house: House) -> None:
    champion, worse = house.make("1.0.0"), house.make("2.0.0", bias=0.0)
    house.crown(champion)
    house.registry.register(
        with_evaluation(worse, evaluation_of(worse, champion, difference=-0.1)), None, WHO
    )
    with pytest.raises(PromotionRefused, match="T-DARK on dark_fields"):
        house.promote("tiny/2.0.0")
    assert (house.at(), house.at(Alias.CANDIDATE)) == ("1.0.0", "2.0.0")
    assert house.trail()[-1] == ("promotion_refused", "tiny/2.0.0")


def test_a_newer_evaluation_is_registered_by_registering_again(house: House) -> None:
    champion, better = house.make("1.0.0"), house.make("2.0.0", bias=0.0)
    house.crown(champion)
    house.registry.register(better, None, WHO)
    with pytest.raises(PromotionRefused, match="--evaluation FILE"):
        house.promote("tiny/2.0.0")
    file = house.folder / EVALUATION_FILE
    write_evaluation(evaluation_of(better, champion, difference=0.05), file)
    house.registry.register(better, file, WHO)
    house.promote("tiny@candidate")
    assert house.at() == "2.0.0"
    assert ("model_evaluated", "tiny/2.0.0") in house.trail()


def test_an_evaluation_that_was_edited_in_place_is_not_believed(house: House) -> None:
    champion, worse = house.make("1.0.0"), house.make("2.0.0", bias=0.0)
    house.crown(champion)
    house.registry.register(
        with_evaluation(worse, evaluation_of(worse, champion, difference=-0.1)), None, WHO
    )
    (worse.path / EVALUATION_FILE).unlink()
    kept = house.folder / "models/tiny/2.0.0" / EVALUATION_FILE
    write_evaluation(evaluation_of(worse, champion, difference=0.1), kept)
    house.registry.register(worse, None, WHO)
    with pytest.raises(PromotionRefused, match="evaluation: there is none"):
        house.promote("tiny/2.0.0")


@pytest.mark.parametrize("ref", ["tiny/9.9.9", "nobody", "tiny@champion", "/a/folder", "tiny@boss", ""])
def test_what_is_not_registered_is_unknown_and_nothing_happens(house: House, ref: str) -> None:
    house.registry.register(house.make("1.0.0"), None, WHO)
    before = house.trail()
    with pytest.raises(ModelUnknown):
        house.registry.judge(ref, Alias.CHAMPION)
    with pytest.raises(ModelUnknown):
        house.registry.withdraw(ref, WHO, "a test")
    assert house.trail() == before


def test_an_alias_that_was_moved_since_the_gates_were_judged_stays(house: House) -> None:
    first, second = house.make("1.0.0"), house.make("2.0.0", bias=0.0)
    for model in (first, second):
        house.registry.register(model, None, WHO)
    judged = house.registry.judge("tiny/1.0.0", Alias.SHADOW)
    house.promote("tiny/2.0.0", Alias.SHADOW)
    with pytest.raises(PromotionRefused, match="meanwhile"):
        house.registry.promote(judged, WHO, "a test")
    assert house.at(Alias.SHADOW) == "2.0.0"


def test_rolling_back_walks_down_the_history_and_promoting_grows_it_again(house: House) -> None:
    made = [house.make(f"{number}.0.0", bias=number / 10) for number in (1, 2, 3)]
    before: ModelFolder | None = None
    for model in made:
        house.crown(model, before)
        before = model
    back = []
    for _ in range(2):
        house.registry.rollback("tiny", Alias.CHAMPION, WHO, "a test")
        back.append(house.at())
    assert back == ["2.0.0", "1.0.0"]
    with pytest.raises(PromotionRefused, match="no version before"):
        house.registry.rollback("tiny", Alias.CHAMPION, WHO, "a test")
    house.registry.register(with_evaluation(made[2], evaluation_of(made[2], made[0])), None, WHO)
    house.promote("tiny/3.0.0")
    house.registry.rollback("tiny", Alias.CHAMPION, WHO, "a test")
    assert house.at() == "1.0.0"


def test_nothing_is_rolled_back_to_a_withdrawn_version_or_one_that_does_not_load(house: House) -> None:
    first, second = house.make("1.0.0"), house.make("2.0.0", bias=0.0)
    house.crown(first)
    house.crown(second, first)

    def does_not_load(model: ModelFolder) -> float:
        raise ModelGoldenMismatch(f"{model.card.ref} is off")

    with pytest.raises(ModelGoldenMismatch):
        replace(house.registry, prove=does_not_load).rollback("tiny", Alias.CHAMPION, WHO, "a test")
    house.registry.withdraw("tiny/1.0.0", WHO, "wrong labels")
    with pytest.raises(PromotionRefused, match="withdrawn: wrong labels"):
        house.registry.rollback("tiny", Alias.CHAMPION, WHO, "a test")
    assert house.at() == "2.0.0"


def test_a_withdrawal_names_the_reads_it_touched_takes_the_aliases_and_is_for_good(house: House) -> None:
    first, second = house.make("1.0.0"), house.make("2.0.0", bias=0.0)
    house.crown(first)
    house.crown(second, first)
    mine, others = house.read_with("2.0.0"), house.read_with("1.0.0")
    row, touched = house.registry.withdraw("tiny@champion", WHO, "wrong labels")
    assert (row.ref, [read.id for read in touched]) == ("tiny/2.0.0", [mine])
    assert others not in {read.id for read in touched}
    assert (house.at(), house.at(Alias.CANDIDATE)) == (None, None)
    with pytest.raises(ModelWithdrawn, match="wrong labels"):
        house.promote("tiny/2.0.0", Alias.SHADOW)
    with pytest.raises(ModelWithdrawn):
        house.registry.register(second, None, WHO)
    again, same = house.registry.withdraw("tiny/2.0.0", WHO, "another reason")
    assert (again.withdrawn_reason, len(same)) == ("wrong labels", 1)
    house.registry.rollback("tiny", Alias.CHAMPION, WHO, "the one before")
    assert house.at() == "1.0.0"
    assert [what for what, _ in house.trail()][-2:] == ["model_withdrawn", "model_rolled_back"]


def test_after_a_withdrawal_the_next_champion_is_held_against_the_one_before(house: House) -> None:
    first, second, third = (house.make(f"{n}.0.0", bias=n / 10) for n in (1, 2, 3))
    house.crown(first)
    house.crown(second, first)
    house.registry.withdraw("tiny/2.0.0", WHO, "wrong labels")
    house.registry.register(with_evaluation(third, evaluation_of(third, second)), None, WHO)
    with pytest.raises(PromotionRefused, match=r"champion tiny/1\.0\.0"):
        house.promote("tiny/3.0.0")


def test_a_served_model_becomes_champion_once_and_never_again_by_itself(house: House) -> None:
    first, second = house.make("1.0.0"), house.make("2.0.0", bias=0.0)
    house.registry.serve(first, house.registry.prove)
    house.registry.serve(second, house.registry.prove)
    assert house.at() == "1.0.0"
    house.registry.withdraw("tiny/1.0.0", WHO, "wrong labels")
    for _ in range(2):
        house.registry.serve(first, house.registry.prove)
    assert house.at() is None


def test_a_version_that_does_not_load_where_it_runs_gives_its_alias_back(house: House) -> None:
    first, second = house.make("1.0.0"), house.make("2.0.0", bias=0.0)
    house.crown(first)
    house.crown(second, first)
    row = house.registry.judge("tiny/2.0.0", Alias.SHADOW).row
    house.registry.give_up(row, ModelGoldenMismatch("0.5 off"))
    assert (house.at(), house.at(Alias.CANDIDATE)) == ("1.0.0", "2.0.0")
    assert [what for what, _ in house.trail()][-2:] == ["model_take_up_failed", "model_rolled_back"]
    house.registry.give_up(house.registry.judge("tiny/1.0.0", Alias.SHADOW).row, ModelGoldenMismatch("off"))
    assert house.at() is None, "there is none before"


def test_mlflow_shows_versions_aliases_and_withdrawals_and_catches_up_after_an_outage(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"sqlite:///{house.folder}/mlflow.db"
    down, up = (ModelMirror(house.store, house.registry.files, at) for at in ("http://127.0.0.1:9", uri))
    first, second = house.make("1.0.0"), house.make("2.0.0", bias=0.0)
    house.crown(first)
    house.crown(second, first)
    assert not down.try_to_tell()
    assert up.tell() == 1
    assert up.tell() == 0, "it knows all of it"
    client = MlflowClient(uri, uri)
    assert _shown(client) == {"candidate": "2.0.0", "champion": "2.0.0"}
    house.registry.withdraw("tiny/2.0.0", WHO, "wrong labels")
    house.registry.rollback("tiny", Alias.CHAMPION, WHO, "a test")
    assert up.try_to_tell()
    assert _shown(client) == {"champion": "1.0.0"}
    tags = [one.tags for one in client.search_model_versions("name = 'tiny'")]
    assert {one["card_version"]: one.get("withdrawn_reason") for one in tags} == {
        "1.0.0": None,
        "2.0.0": "wrong labels",
    }
    number = client.get_model_version_by_alias("tiny", "champion").version
    assert register_model(first.card, house.registry.find("tiny").path, uri) == str(number)


def _shown(client: MlflowClient) -> dict[str, str]:
    aliases = client.get_registered_model("tiny").aliases
    return {
        alias: client.get_model_version("tiny", number).tags["card_version"]
        for alias, number in aliases.items()
    }


def test_processes_that_register_the_same_model_at_once_register_it_once(
    house: House, store_url: str
) -> None:
    import threading

    model = house.make("1.0.0")
    stores: list[Store] = []

    def register() -> None:
        store = open_store(store_url)
        stores.append(store)
        ModelRegistry(store, house.registry.files, POLICY).register(model, None, WHO)

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert [what for what, _ in house.trail()] == ["model_registered", "model_promoted"]


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ultraread.db"


def test_the_damaged_files_of_one_version_hide_no_other(house: House) -> None:
    house.crown(house.make("1.0.0"))
    house.registry.register(house.make("2.0.0", bias=0.0), None, WHO)
    house.registry.withdraw("tiny/2.0.0", WHO, "wrong labels")
    shutil.rmtree(house.folder / "models/tiny/2.0.0")
    found = {one.row.version: (one.model is None, one.damaged) for one in house.registry.standings()}
    assert found == {"1.0.0": (False, None), "2.0.0": (True, "integrity_failed")}
    assert house.registry.standing("tiny", "1.0.0").aliases == (Alias.CHAMPION,)


def test_nothing_is_promoted_over_a_damaged_champion_before_it_is_withdrawn(house: House) -> None:
    first, second = house.make("1.0.0"), house.make("2.0.0", bias=0.0)
    house.crown(first)
    house.registry.register(with_evaluation(second, evaluation_of(second, first)), None, WHO)
    shutil.rmtree(house.folder / "models/tiny/1.0.0")
    with pytest.raises(PromotionRefused, match=r"cannot be compared: .*integrity_failed.*withdraw it"):
        house.promote("tiny/2.0.0")
    house.promote("tiny/2.0.0", Alias.SHADOW)
    house.registry.withdraw("tiny/1.0.0", WHO, "its files are gone")
    house.promote("tiny/2.0.0")
    assert house.at() == "2.0.0"


def test_a_damaged_champion_that_is_registered_again_is_compared_with(house: House) -> None:
    first, second = house.make("1.0.0"), house.make("2.0.0", bias=0.0)
    house.crown(first)
    house.registry.register(with_evaluation(second, evaluation_of(second, first)), None, WHO)
    shutil.rmtree(house.folder / "models/tiny/1.0.0")
    house.registry.register(first, None, WHO)
    house.promote("tiny/2.0.0")
    assert house.at() == "2.0.0"
