"""Shadows repeat reads when nobody waits, show nothing, and leave their difference for MLflow."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from addresses import together
from hypothesis import given
from hypothesis import strategies as st
from simulated import simulated_tissue, write_tiff
from versions import POLICY, write_version

from ultraread.datasets.slide_digest import digest_slide
from ultraread.errors import ModelOutputInvalid
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.promotion import Alias
from ultraread.models.registry import ModelFolder
from ultraread.serving.conclusion import conclude_read
from ultraread.serving.discordance import discordance
from ultraread.serving.live_models import ServedModel
from ultraread.serving.mlflow_log import OutboxSender, entry_of, mlflow_client
from ultraread.serving.model_files import ModelFiles
from ultraread.serving.model_registry import ModelRegistry
from ultraread.serving.runner import ReadRunner
from ultraread.serving.score_tiles import RangeScorer, RangeScores, RangeTask
from ultraread.serving.settings import Settings, prepare_folders
from ultraread.serving.shadow import ShadowRunner
from ultraread.serving.store import outbox, shadows
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.jobs import Jobs, NewRead
from ultraread.serving.store.records import NewSlide, file_slide
from ultraread.serving.store.stored_name import stored_name
from ultraread.serving.store.tables import ReadRow, ShadowReadRow

SCALE = {"nm_per_px": 4.6, "tolerance": 0.05, "reason": "as Dr Example said"}
Score = Callable[[Iterable[RangeTask]], Iterator[RangeScores]]


class House:
    """Champion 1.0.0 and shadow 2.0.0 over a real store, scored in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(data_dir=folder / "data", range_tiles=4, shadow_fraction=1.0)
        prepare_folders(self.settings)
        self.store = open_store(self.settings.database_address)
        registry = ModelRegistry(self.store, ModelFiles(self.settings.models_dir), POLICY)
        self.models = {bias: write_version(folder / f"m{bias}", f"{bias}.0.0", bias - 2) for bias in (1, 2)}
        registry.serve(self.models[1], registry.prove)
        registry.register(self.models[2], None, "a test")
        self.registry = registry
        self.point("2.0.0")
        self.jobs = Jobs(self.store, 60, 3, shadow_fraction=1.0)
        self.scorers = {
            f"{bias}.0.0": RangeScorer(OnnxClassifier(model, 1)) for bias, model in self.models.items()
        }

    def point(self, version: str) -> None:
        self.registry.promote(self.registry.judge(f"tiny/{version}", Alias.SHADOW), "a test", "a test")

    def take(self, name: str, version: str, score: Score | None = None) -> ServedModel:
        scorer = self.scorers[version]
        return ServedModel(
            self.registry.find(f"{name}/{version}"), score or (lambda tasks: map(scorer, tasks))
        )

    def ask(self) -> str:
        """File a field and ask for its read by the champion."""
        path = write_tiff(self.folder / "field.tif", simulated_tissue(256, 256))
        digest, slide_id = digest_slide(together(path)), new_id()
        (self.settings.slides_dir / slide_id).mkdir()
        (self.settings.slides_dir / slide_id / stored_name(0, path.name)).write_bytes(path.read_bytes())
        files = tuple({"name": f.name, "sha256": f.sha256, "bytes": f.bytes} for f in digest.files)
        with self.store.writing() as session:
            file_slide(session, NewSlide(slide_id, digest.sha256, "tiff", files, ({"index": 0},)), "a test")
        model = self.registry.find("tiny")
        read = NewRead(
            id=new_id(), case_id=None, slide_ids=(slide_id,), slide_sha256s=(digest.sha256,),
            model_name="tiny", model_version=model.card.version, model_onnx_sha256=model.card.sha256,
            model_card_sha256=model.card_sha256, request={"region": None, "scale": SCALE},
        )  # fmt: skip
        return self.jobs.enqueue(read, "a test").id

    def read_all(self) -> None:
        runner = ReadRunner(self.settings, self.jobs, self.take, conclude_read, "a runner")
        while runner.run_next():
            pass

    def shadow(self, score: Score | None = None) -> ShadowRunner:
        return ShadowRunner(self.settings, self.store, lambda name, version: self.take(name, version, score))

    def row(self, read_id: str) -> ShadowReadRow | None:
        with self.store.reading() as session:
            return session.get(ShadowReadRow, read_id)

    def state(self, read_id: str) -> str:
        row = self.row(read_id)
        assert row is not None
        return row.state

    def told(self) -> list[outbox.PendingRun]:
        taken = []
        while (one := outbox.take_due(self.store)) is not None:
            taken.append(one)
        return [one for one in taken if one.kind == outbox.SHADOW_RUN]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    for scorer in house.scorers.values():
        scorer.close()
    house.store.close()


def test_a_shadow_leaves_the_difference_by_class_and_nothing_else(house: House) -> None:
    read_id = house.ask()
    house.read_all()
    before = _files(house.settings.data_dir)
    assert house.shadow().run_next()
    assert not house.shadow().run_next()
    assert house.state(read_id) == "done"
    assert _files(house.settings.data_dir) == before, "the work of the shadow is gone"
    (told,) = house.told()
    figures = told.body["metrics"]
    assert figures["slides"] == 1
    assert figures["T-BRIGHT.score_difference"] > 0.05, "the shadow scores higher"
    assert figures["T-DARK.area_fraction_difference"] > 5
    assert figures["T-BRIGHT.assertion_differs"] in {0.0, 1.0}
    assert str(SCALE["reason"]) not in json.dumps(told.body)


def test_mlflow_gets_a_run_of_its_own_beside_that_of_the_read(house: House) -> None:
    read_id = house.ask()
    house.read_all()
    house.shadow().run_next()
    uri = f"sqlite:///{house.folder}/mlflow.db"
    assert OutboxSender(house.store, uri).send_pending() == 2
    client = mlflow_client(uri)
    experiment = client.get_experiment_by_name("ultraread")
    found = client.search_runs([experiment.experiment_id], f"tags.read_id = '{read_id}'")
    runs = {run.data.tags["kind"]: run for run in found}
    assert (len(found), set(runs)) == (2, {"read", "shadow"})
    with house.store.reading() as session:
        assert session.get_one(ReadRow, read_id).mlflow_run_id == runs["read"].info.run_id
    tags = runs["shadow"].data.tags
    assert (tags["model_version"], tags["shadow_version"]) == ("1.0.0", "2.0.0")
    assert "T-BRIGHT.score_difference" in runs["shadow"].data.metrics


def test_a_shadow_gives_way_to_a_read_and_goes_on_where_it_was(house: House) -> None:
    read_id = house.ask()
    house.read_all()
    scored: list[int] = []
    later: list[str] = []

    def interrupted(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        for task in tasks:
            scored.append(task.number)
            yield house.scorers["2.0.0"](task)
            if len(scored) == 2:
                later.append(house.ask())

    for _ in range(2):
        assert not house.shadow(interrupted).run_next()
        assert house.state(read_id) == "waiting"
    house.read_all()
    assert house.shadow(interrupted).run_next()
    assert house.state(read_id) == "done"
    assert sorted(scored) == [0, 1, 2, 3], "no range was scored twice"


def test_checkpoints_of_other_weights_are_never_mixed_in_and_the_weights_that_ran_are_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The int8 model began; where the shadow goes on, its twin runs."""
    scored = _scored_in_two_tries(house, lambda: monkeypatch.setattr(ModelFolder, "onnx_sha256", "c" * 64))
    assert scored == [0, 1, 2, 0, 1, 2, 3], "the first ranges were scored again"
    (told,) = house.told()
    assert told.body["tags"]["shadow_onnx_sha256"] == "c" * 64


def test_checkpoints_of_a_slide_that_was_put_back_since_are_not_used(house: House) -> None:
    def put_back() -> None:
        for kept in house.settings.slides_dir.glob("*/*"):
            kept.write_bytes(kept.read_bytes())

    assert _scored_in_two_tries(house, put_back) == [0, 1, 2, 0, 1, 2, 3]


def _scored_in_two_tries(house: House, meanwhile: Callable[[], None]) -> list[int]:
    """The ranges that a shadow scored: a read that waits ends its first try after the third."""
    house.ask()
    house.read_all()
    scored: list[int] = []

    def interrupted(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        for task in tasks:
            scored.append(task.number)
            yield house.scorers["2.0.0"](task)
            if len(scored) == 2:
                house.ask()

    assert not house.shadow(interrupted).run_next()
    house.read_all()
    meanwhile()
    assert house.shadow(interrupted).run_next()
    return scored


def test_a_shadow_that_is_none_any_more_is_dropped(house: House) -> None:
    read_id = house.ask()
    house.read_all()
    house.registry.withdraw("tiny/2.0.0", "a test", "wrong labels")
    assert house.shadow().run_next()
    assert house.state(read_id) == "dropped"
    assert house.told() == []


def test_a_shadow_that_fails_never_touches_the_read_and_is_told_with_its_code(house: House) -> None:
    def fails(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        raise ModelOutputInvalid("NaN")

    read_id = house.ask()
    house.read_all()
    house.shadow(fails).run_next()
    with house.store.reading() as session:
        assert session.get_one(ReadRow, read_id).state == "succeeded"
    assert house.state(read_id) == "failed"
    (told,) = house.told()
    assert (entry_of(told).error_code, entry_of(told).state) == ("model_output_invalid", "failed")


def test_a_shadow_that_dies_again_and_again_ends(house: House) -> None:
    def dies(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        raise OSError("gone")

    read_id = house.ask()
    house.read_all()
    for _ in range(shadows.MAX_ATTEMPTS):
        assert house.shadow(dies).run_next()
    assert house.state(read_id) == "failed"
    assert not house.shadow(dies).run_next()


def test_without_shadow_or_lot_nothing_is_repeated(house: House) -> None:
    house.jobs = Jobs(house.store, 60, 3, shadow_fraction=0.0)
    first = house.ask()
    house.read_all()
    house.jobs = Jobs(house.store, 60, 3, shadow_fraction=1.0)
    house.point("1.0.0")
    second = house.ask()
    house.read_all()
    assert (house.row(first), house.row(second)) == (None, None)


@given(read_id=st.text(min_size=1), fraction=st.floats(0, 1))
def test_the_lot_is_the_same_whenever_it_is_drawn_and_grows_with_the_fraction(
    read_id: str, fraction: float
) -> None:
    assert shadows.is_sampled(read_id, fraction) == shadows.is_sampled(read_id, fraction)
    assert shadows.is_sampled(read_id, 1.0)
    assert not shadows.is_sampled(read_id, 0.0)
    if shadows.is_sampled(read_id, fraction):
        assert shadows.is_sampled(read_id, min(1.0, fraction + 0.1))


def test_the_lot_falls_on_about_the_fraction() -> None:
    drawn = sum(shadows.is_sampled(new_id(), 0.1) for _ in range(2000))
    assert 120 <= drawn <= 280


def test_without_a_slide_there_is_nothing_to_compare() -> None:
    assert discordance([]) == {"slides": 0.0}


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.name.startswith("ultraread.db")}
