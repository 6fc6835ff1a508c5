"""Whatever owners, people and time do in whatever order: the database does what forty lines of Python do."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from filed import end_lease, file_a_slide, new_read
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from jobs_model import DONE, LATE, LOST, JobsModel, ModelRead
from sqlalchemy import select, update
from used_postgres import UsedDatabase

from ultraread.errors import ReadDeadlinePassed, SlideTruncated
from ultraread.serving.store import outbox
from ultraread.serving.store.clock import LONG_AGO
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.job_tables import ReadRangeRow
from ultraread.serving.store.jobs import ClaimedRead, Jobs, LostLease, NewRead, Progress, ReadResult
from ultraread.serving.store.tables import AuditRow, Priority, ReadRow, ReadState

SITES = ("main", "north", "south")
WRITES = ("beat", "checkpoint", "finish", "fail", "pause", "release")
RANGES = 4
Fresh = Callable[[], Store]


class Queue(RuleBasedStateMachine):
    """Both queues, side by side."""

    @classmethod
    def fresh(cls) -> Store:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.store = self.fresh()
        self.jobs = Jobs(self.store, lease_s=600, max_attempts=3)
        self.model = JobsModel(max_attempts=3)
        self.slides = {site: file_a_slide(self.store.of_site(site)) for site in SITES}
        self.asked: list[tuple[str, NewRead]] = []
        self.claims: list[ClaimedRead] = []

    def teardown(self) -> None:
        self.store.close()

    @rule(site=st.sampled_from(SITES), urgent=st.booleans())
    def enqueue(self, site: str, urgent: bool) -> None:
        priority = Priority.URGENT if urgent else Priority.ROUTINE
        read = replace(new_read(self.slides[site]), priority=priority)
        replace(self.jobs, store=self.store.of_site(site)).enqueue(read, "a test")
        self.asked.append((site, read))
        self.model.reads[read.id] = ModelRead(site, urgent)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def enqueue_again(self, data: st.DataObject) -> None:
        site, read = data.draw(st.sampled_from(self.asked))
        replace(self.jobs, store=self.store.of_site(site)).enqueue(read, "a test")

    @rule()
    def claim(self) -> None:
        claim = self.jobs.claim("an owner")
        assert (claim.read.id if claim else None) == self.model.claim()
        if claim:
            self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), what=st.sampled_from(WRITES), number=st.integers(0, RANGES - 1))
    def write(self, data: st.DataObject, what: str, number: int) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        expected = self.model.write(claim.read.id, claim.epoch, what, number)
        assert self._write(claim, what, number) == expected

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        _, read = data.draw(st.sampled_from(self.asked))
        self.jobs.request_cancel(read.id, "a person")
        self.model.cancel(read.id)

    @precondition(lambda self: any(read.leased for read in self.model.reads.values()))
    @rule(data=st.data())
    def lease_runs_out(self, data: st.DataObject) -> None:
        leased = sorted(name for name, read in self.model.reads.items() if read.leased)
        name = data.draw(st.sampled_from(leased))
        end_lease(self.store, name)
        self.model.reads[name].leased = False

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def deadline_passes(self, data: st.DataObject) -> None:
        _, read = data.draw(st.sampled_from(self.asked))
        with self.store.writing() as session:
            session.execute(update(ReadRow).where(ReadRow.id == read.id).values(finish_by=LONG_AGO))
        self.model.reads[read.id].late = True

    @invariant()
    def both_stand_where_the_other_does(self) -> None:
        with self.store.reading() as session:
            rows = {row.id: row for row in session.scalars(select(ReadRow))}
            ranges = {(r.read_id, r.number): r.runs for r in session.scalars(select(ReadRangeRow))}
            told = session.scalars(select(AuditRow.subject).where(AuditRow.what == "read_ended")).all()
        assert {name: _seen(row) for name, row in rows.items()} == {
            name: (read.state, read.error, read.epoch, read.attempts, read.done, sum(read.runs.values()))
            for name, read in self.model.reads.items()
        }
        ended = sorted(name for name, row in rows.items() if ReadState(row.state).has_ended)
        assert sorted(told) == ended
        assert sorted(row.read_id for row in outbox.pending(self.store)) == ended
        assert ranges == {
            (name, number): runs
            for name, read in self.model.reads.items()
            for number, runs in read.runs.items()
            if name not in ended
        }

    def _write(self, claim: ClaimedRead, what: str, number: int) -> str:
        progress = Progress(10 * RANGES, number + 1, number + 1)
        scored = (self.slides["main"], 0, number, "d" * 64, 10)
        write: dict[str, Callable[[], object]] = {
            "beat": lambda: self.jobs.beat(claim),
            "checkpoint": lambda: self.jobs.checkpointed(claim, *scored, progress),
            "finish": lambda: self.jobs.finish(claim, ReadState.SUCCEEDED, ReadResult()),
            "fail": lambda: self.jobs.fail(claim, SlideTruncated("cut")),
            "pause": lambda: self.jobs.pause(claim),
            "release": lambda: self.jobs.release(claim),
        }
        try:
            write[what]()
        except LostLease:
            return LOST
        except ReadDeadlinePassed:
            return LATE
        return DONE


def _seen(row: ReadRow) -> tuple[str, str | None, int, int, int, int]:
    return row.state, row.error_code, row.epoch, row.attempts, row.tiles_done, row.ranges_scored


@pytest.fixture(params=("sqlite", "postgresql"))
def fresh(request: pytest.FixtureRequest) -> Iterator[Fresh]:
    """A function that opens a database as it is after migrating."""
    if request.param == "postgresql":
        used: UsedDatabase = request.getfixturevalue("used_postgres")
        yield lambda: (used.clear(), open_store(used.url))[1]
        return
    with _in_memory() as folder:
        open_store(f"sqlite:///{folder}/migrated.db").close()
        yield lambda: _copied(folder)


@contextmanager
def _in_memory() -> Iterator[Path]:
    """Thousands of transactions need no disk."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of its own is made in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def _copied(folder: Path) -> Store:
    for used in folder.glob("used.db*"):
        used.unlink()
    shutil.copy(folder / "migrated.db", folder / "used.db")
    return open_store(f"sqlite:///{folder}/used.db")


def _compare(fresh: Fresh, examples: int, steps: int) -> None:
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    on_this_database = type("QueueOnThisDatabase", (Queue,), {"fresh": staticmethod(fresh)})
    run_state_machine_as_test(on_this_database, settings=how)


def test_the_queue_does_what_the_model_does(fresh: Fresh) -> None:
    _compare(fresh, examples=10, steps=25)


@pytest.mark.full
def test_the_queue_does_what_the_model_does_for_long(fresh: Fresh) -> None:
    _compare(fresh, examples=150, steps=50)
