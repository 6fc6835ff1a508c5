"""What ended reads leave behind goes; what anybody still needs stays."""

from pathlib import Path

import pytest
from filed import end_lease, file_a_slide, new_read, read_of
from sqlalchemy import select, update

from ultraread.serving.queue_upkeep import QueueUpkeep, clear_leftovers, forget_old
from ultraread.serving.settings import Settings, prepare_folders
from ultraread.serving.store.clock import LONG_AGO
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.idempotency import Answer, begin, complete
from ultraread.serving.store.jobs import Jobs, ReadResult
from ultraread.serving.store.tables import IdempotencyRow, OutboxRow, ReadState


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(data_dir=tmp_path / "data")
    prepare_folders(made)
    return made


@pytest.fixture
def store(settings: Settings) -> Store:
    return open_store(settings.database_address)


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return Jobs(store, lease_s=60, max_attempts=3)


def test_old_answers_and_sent_rows_go_and_what_is_under_way_stays(store: Store, jobs: Jobs) -> None:
    for key in ("old", "new", "running"):
        begin(store, key, "a" * 64)
    for key in ("old", "new"):
        complete(store, key, Answer(201, "/v1/cases/C-1", {}))
    for name in ("sent", "given up", "waiting"):
        jobs.enqueue(new_read(file_a_slide(store)), name)
        claim = jobs.claim("a test")
        assert claim is not None
        jobs.finish(claim, ReadState.SUCCEEDED, ReadResult())
    with store.writing() as session:
        aged = update(IdempotencyRow).where(IdempotencyRow.key.in_(["old", "running"]))
        session.execute(aged.values(created=LONG_AGO))
        sent, given_up, _ = session.scalars(select(OutboxRow).order_by(OutboxRow.read_id))
        sent.sent, given_up.given_up = LONG_AGO, LONG_AGO
    assert forget_old(store, days=30) == 3
    with store.reading() as session:
        assert set(session.scalars(select(IdempotencyRow.key))) == {"new", "running"}
        assert session.scalars(select(OutboxRow.sent)).all() == [None]


def test_of_an_ended_read_the_published_result_alone_stays(
    settings: Settings, store: Store, jobs: Jobs
) -> None:
    slide = file_a_slide(store)
    done, failed, running = (jobs.enqueue(new_read(slide), "a test").id for _ in range(3))
    claims = [jobs.claim("a test") for _ in range(3)]
    for claim in claims:
        assert claim is not None
        folder = settings.reads_dir / claim.read.id
        for name in ("work", "result-0", "result-1"):
            (folder / name).mkdir(parents=True)
        if claim.read.id == done:
            jobs.finish(claim, ReadState.SUCCEEDED, ReadResult())
    jobs.request_cancel(failed, "a test")
    end_lease(store, failed)
    QueueUpkeep(settings, jobs, "upkeep").step()
    assert read_of(store, failed).state == "cancelled"
    left = {path.relative_to(settings.reads_dir).as_posix() for path in settings.reads_dir.glob("*/*")}
    assert left == {f"{done}/result-1", *(f"{running}/{name}" for name in ("work", "result-0", "result-1"))}


def test_folders_of_nothing_that_is_known_are_left_alone(settings: Settings, store: Store) -> None:
    (settings.reads_dir / "restored" / "result-1").mkdir(parents=True)
    clear_leftovers(settings, store)
    assert (settings.reads_dir / "restored" / "result-1").is_dir()
