"""Versions come with an alias or a read and go when none needs them, whatever happens at the same time."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filed import file_a_slide, new_read
from versions import POLICY, evaluation_of, with_evaluation, write_version, write_version_with_twin

from ultraread.errors import ModelGoldenMismatch, ModelWithdrawn, Unavailable
from ultraread.models.promotion import Alias
from ultraread.models.registry import ModelFolder
from ultraread.serving.live_models import LiveModels, application_of, ref_of
from ultraread.serving.model_files import ModelFiles
from ultraread.serving.model_registry import ModelRegistry
from ultraread.serving.score_tiles import ScoreRanges
from ultraread.serving.store import versions as rows
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.jobs import ClaimedRead, Jobs

WHO = "a test"


class Noted:
    """Classifiers that only note what was asked of them."""

    def __init__(self) -> None:
        self.live: list[str] = []

    def there(self) -> list[str]:
        return self.live

    def start(self, model: ModelFolder) -> ScoreRanges:
        if model.card.ref not in self.live:
            self.live.append(model.card.ref)
        return lambda _tasks: ()

    def stop(self, ref: str) -> None:
        self.live.remove(ref)


class House:
    """Versions 1.0.0 (champion), 2.0.0 and 3.0.0 of one model, and a queue."""

    def __init__(self, folder: Path) -> None:
        self.store = open_store(f"sqlite:///{folder}/ultraread.db")
        self.registry = ModelRegistry(self.store, ModelFiles(folder / "models"), POLICY, lambda _: 0.0)
        self.jobs = Jobs(self.store, lease_s=60, max_attempts=3)
        self.classifiers = Noted()
        for number in (1, 2, 3):
            model = write_version(folder / "outside" / f"{number}", f"{number}.0.0", number / 10)
            self.registry.register(with_evaluation(model, evaluation_of(model)), None, WHO)
        self.point("1.0.0")
        self.live = LiveModels(self.registry, self.classifiers, places=2)

    def point(self, version: str, alias: Alias = Alias.CHAMPION) -> None:
        with self.store.writing() as session:
            now = rows.change_of(session, "tiny", alias)
            rows.point(session, "tiny", alias, version, now.sequence if now else None, WHO, "a test")

    def ask(self, version: str) -> str:
        row = self.registry.usable("tiny", version)
        asked = replace(
            new_read(file_a_slide(self.store)),
            model_name="tiny",
            model_version=version,
            model_onnx_sha256=row.onnx_sha256,
        )
        return self.jobs.enqueue(asked, WHO).id

    def claim(self) -> ClaimedRead:
        claim = self.jobs.claim("a runner")
        assert claim is not None
        return claim

    def follow(self) -> list[str]:
        while self.live.follow():
            pass
        return sorted(self.classifiers.live)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.store.close()


@pytest.mark.parametrize("ref", ["tiny/1.0.0", "ultrastructure-vnc/10.2.0", "a-model/0.0.1"])
def test_the_name_of_an_application_tells_its_version(ref: str) -> None:
    assert ref_of(application_of(ref)) == ref


def test_the_champion_is_live_and_a_promoted_one_takes_its_place(house: House) -> None:
    assert house.follow() == ["tiny/1.0.0"]
    house.point("2.0.0")
    assert house.follow() == ["tiny/2.0.0"]


def test_the_old_one_stays_until_its_last_read_has_ended(house: House) -> None:
    house.follow()
    house.ask("1.0.0")
    house.point("2.0.0")
    assert house.follow() == ["tiny/1.0.0", "tiny/2.0.0"]
    claim = house.claim()
    assert house.follow() == ["tiny/1.0.0", "tiny/2.0.0"]
    house.jobs.fail(claim, ModelWithdrawn("a test"))
    assert house.follow() == ["tiny/2.0.0"]


def test_a_read_of_a_version_that_is_not_live_gets_it_started(house: House) -> None:
    house.follow()
    house.ask("2.0.0")
    house.claim()
    assert house.live.take("tiny", "2.0.0").model.card.version == "2.0.0"
    assert house.live.take("tiny", "2.0.0").model.card.version == "2.0.0"
    assert sorted(house.classifiers.live) == ["tiny/1.0.0", "tiny/2.0.0"]


def test_where_all_places_are_taken_one_that_no_running_read_holds_goes(house: House) -> None:
    house.point("2.0.0", Alias.SHADOW)
    assert house.follow() == ["tiny/1.0.0", "tiny/2.0.0"]
    house.ask("3.0.0")
    house.claim()
    house.live.take("tiny", "3.0.0")
    assert sorted(house.classifiers.live) == ["tiny/1.0.0", "tiny/3.0.0"], "the shadow gave way"


def test_a_running_read_never_loses_its_place(house: House) -> None:
    for version in ("1.0.0", "2.0.0"):
        house.ask(version)
        house.claim()
        house.live.take("tiny", version)
    house.ask("3.0.0")
    house.claim()
    with pytest.raises(Unavailable, match="every place"):
        house.live.take("tiny", "3.0.0")
    assert sorted(house.classifiers.live) == ["tiny/1.0.0", "tiny/2.0.0"]


def test_a_runner_that_follows_another_counts_and_retires_what_that_one_started(house: House) -> None:
    house.follow()
    house.ask("2.0.0")
    house.claim()
    house.live.take("tiny", "2.0.0")
    house.classifiers.live.append("tiny/9.9.9")
    house.live = LiveModels(house.registry, house.classifiers, places=2)
    assert house.follow() == ["tiny/1.0.0", "tiny/2.0.0"]
    house.point("2.0.0")
    assert house.follow() == ["tiny/2.0.0"]


def test_a_withdrawn_version_is_not_taken_although_it_is_live(house: House) -> None:
    house.follow()
    house.ask("1.0.0")
    house.claim()
    house.registry.withdraw("tiny/1.0.0", WHO, "wrong labels")
    with pytest.raises(ModelWithdrawn, match="wrong labels"):
        house.live.take("tiny", "1.0.0")


def test_an_int8_version_that_misses_its_golden_pair_is_live_with_its_twin(
    house: House, tmp_path: Path
) -> None:
    int8 = write_version_with_twin(tmp_path / "int8", "4.0.0")
    house.registry.register(int8, None, WHO)
    served = house.live.take("tiny", "4.0.0")
    assert served.model.uses_twin
    assert served.model.onnx_sha256 != int8.card.sha256


def test_a_version_that_does_not_load_never_becomes_live_and_its_alias_goes_back(house: House) -> None:
    house.follow()

    def refuse_second(model: ModelFolder) -> float:
        if model.card.version == "2.0.0":
            raise ModelGoldenMismatch(f"{model.card.ref} is off")
        return 0.0

    house.live = LiveModels(replace(house.registry, prove=refuse_second), house.classifiers, places=2)
    house.point("2.0.0")
    assert house.follow() == ["tiny/1.0.0"]
    with house.store.reading() as session:
        assert rows.version_at(session, "tiny", Alias.CHAMPION) == "1.0.0"
        assert "model_take_up_failed" in [event.what for event in AuditLog(session).list()]


def test_a_damaged_champion_stops_no_other_version_from_coming_and_going(house: House) -> None:
    house.follow()
    house.point("2.0.0")
    house.point("3.0.0", Alias.SHADOW)
    shutil.rmtree(house.registry.files.path("tiny", "2.0.0"))
    house.live = LiveModels(house.registry, house.classifiers, places=3)
    assert house.follow() == ["tiny/1.0.0", "tiny/3.0.0"]
    with house.store.reading() as session:
        assert rows.version_at(session, "tiny", Alias.CHAMPION) == "1.0.0"
        assert "model_take_up_failed" in [event.what for event in AuditLog(session).list()]


def test_a_damaged_version_that_has_replicas_already_is_stopped(house: House) -> None:
    house.classifiers.live.append("tiny/2.0.0")
    shutil.rmtree(house.registry.files.path("tiny", "2.0.0"))
    assert house.follow() == ["tiny/1.0.0"]
