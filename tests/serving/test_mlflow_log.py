"""Reads reach MLflow exactly once, and never suffer from it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filed import file_a_slide, new_read, read_of
from mlflow import MlflowClient
from mlflow.entities import Run
from sqlalchemy import select

from ultraread.errors import Unavailable
from ultraread.models.card import ModelCard
from ultraread.models.registry import DEFAULT_MODEL, find_model
from ultraread.serving.mlflow_log import (
    EXPERIMENT,
    OutboxSender,
    RunEntry,
    entry_of,
    log_read,
    mlflow_client,
    register_model,
)
from ultraread.serving.store import outbox
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.jobs import Jobs, ReadResult
from ultraread.serving.store.tables import ReadState, ScanRecordRow

NOBODY_LISTENS = "http://127.0.0.1:9"
pytestmark = pytest.mark.filterwarnings(
    # MLflow 3.17 declares its own tables with a loader strategy that SQLAlchemy 2.1 deprecates.
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
)


@pytest.fixture(scope="module")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real MLflow store; its first migration takes seconds, so the tests of this file share it."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/ultraread.db")
    yield opened
    opened.close()


def ended_read(store: Store) -> str:
    """A read that succeeded; return its id."""
    jobs = Jobs(store, lease_s=60, max_attempts=3)
    jobs.enqueue(new_read(file_a_slide(store)), "a test")
    claim = jobs.claim("a test")
    assert claim is not None
    result = ReadResult({"range_tiles": "128"}, {"coverage_fraction": 0.5})
    jobs.finish(claim, ReadState.SUCCEEDED, result)
    return claim.read.id


def runs_of(uri: str, read_id: str) -> list[Run]:
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return list(client.search_runs([experiment.experiment_id], f"tags.read_id = '{read_id}'"))


def test_a_read_is_filed_with_its_model_version_and_linked_both_ways(store: Store, mlflow_uri: str) -> None:
    read_id = ended_read(store)
    assert OutboxSender(store, mlflow_uri).send_pending() == 1
    (run,) = runs_of(mlflow_uri, read_id)
    with store.reading() as session:
        record = session.scalars(select(ScanRecordRow)).one()
    assert read_of(store, read_id).mlflow_run_id == record.mlflow_run_id == run.info.run_id
    assert run.data.tags["scan_record_ids"] == record.id
    assert run.data.tags["model_version"] == "1.0.0"
    assert run.data.tags["research_use_only"] == "true"
    assert run.data.params == {"range_tiles": "128"}
    assert run.data.metrics == {"coverage_fraction": 0.5}
    assert run.info.status == "FINISHED"


def test_what_is_sent_is_not_sent_again(store: Store, mlflow_uri: str) -> None:
    read_id = ended_read(store)
    sender = OutboxSender(store, mlflow_uri)
    assert [sender.send_pending(), sender.send_pending()] == [1, 0]
    assert len(runs_of(mlflow_uri, read_id)) == 1


def test_all_that_is_due_is_sent_at_once(store: Store, mlflow_uri: str) -> None:
    reads = [ended_read(store) for _ in range(3)]
    assert OutboxSender(store, mlflow_uri).send_pending() == 3
    assert [len(runs_of(mlflow_uri, read_id)) for read_id in reads] == [1, 1, 1]


def test_a_read_stays_succeeded_while_mlflow_is_down_and_is_filed_once_it_is_back(
    store: Store, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    read_id = ended_read(store)
    assert OutboxSender(store, NOBODY_LISTENS, first_wait_s=0).send_pending() == 0
    (waiting,) = outbox.pending(store)
    assert waiting.attempts == 1
    assert waiting.error is not None
    assert read_of(store, read_id).state == "succeeded"
    assert OutboxSender(store, mlflow_uri).send_pending() == 1
    assert len(runs_of(mlflow_uri, read_id)) == 1
    assert outbox.pending(store) == []


def test_while_mlflow_is_down_rows_that_wait_are_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    first, second = ended_read(store), ended_read(store)
    sender = OutboxSender(store, NOBODY_LISTENS, first_wait_s=600)
    assert [sender.send_pending() for _ in range(5)] == [0] * 5
    assert {row.read_id: row.attempts for row in outbox.pending(store)} == {first: 1, second: 1}


def test_a_sender_that_died_before_it_noted_the_run_leaves_one_run(store: Store, mlflow_uri: str) -> None:
    read_id = ended_read(store)
    taken = outbox.take_due(store)
    assert taken is not None
    run_id = log_read(entry_of(taken), mlflow_uri)
    outbox.mark_failed(store, taken, "died", first_wait_s=0)
    assert OutboxSender(store, mlflow_uri).send_pending() == 1
    assert read_of(store, read_id).mlflow_run_id == run_id
    assert len(runs_of(mlflow_uri, read_id)) == 1


def test_two_senders_never_hold_the_same_row(store: Store) -> None:
    ended_read(store)
    assert outbox.take_due(store) is not None
    assert outbox.take_due(store) is None


def test_a_run_that_was_left_half_written_is_completed(mlflow_uri: str) -> None:
    entry = RunEntry("r-half", (), "m", "1.0.0", "0" * 64, ReadState.FAILED, "slide_truncated", {"p": "1"})
    client = MlflowClient(mlflow_uri, mlflow_uri)
    log_read(entry, mlflow_uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    half = client.create_run(experiment.experiment_id, tags={"read_id": "r-half-2"})
    log_read(replace(entry, read_id="r-half-2"), mlflow_uri)
    (run,) = runs_of(mlflow_uri, "r-half-2")
    assert (run.info.run_id, run.info.status) == (half.info.run_id, "FAILED")
    assert run.data.params == {"p": "1"}


def test_of_two_runs_of_a_read_one_is_kept(mlflow_uri: str) -> None:
    entry = RunEntry("r-double", (), "m", "1.0.0", "0" * 64, ReadState.SUCCEEDED)
    first = log_read(entry, mlflow_uri)
    client = MlflowClient(mlflow_uri, mlflow_uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    client.create_run(experiment.experiment_id, tags={"read_id": "r-double", "kind": "read"})
    assert log_read(entry, mlflow_uri) == first
    assert [run.info.run_id for run in runs_of(mlflow_uri, "r-double")] == [first]


def test_a_model_version_is_registered_once_with_its_card(mlflow_uri: str) -> None:
    model = find_model(DEFAULT_MODEL)
    card = model.card
    number = register_model(card, model.path, mlflow_uri)
    assert register_model(card, model.path, mlflow_uri) == number
    (version,) = MlflowClient(mlflow_uri, mlflow_uri).search_model_versions(f"name = '{card.name}'")
    assert (version.tags["card_version"], version.tags["onnx_sha256"]) == (card.version, card.sha256)
    assert ModelCard.model_validate_json(version.tags["card"]) == card


def test_a_store_that_cannot_be_opened_is_told_at_once_and_not_tried_for_minutes(tmp_path: Path) -> None:
    blocked = tmp_path / "mlflow.db"
    blocked.mkdir()
    with pytest.raises(Unavailable, match="cannot be opened"):
        mlflow_client(f"sqlite:///{blocked}")
    blocked.rmdir()
    assert mlflow_client(f"sqlite:///{blocked}").search_experiments()
