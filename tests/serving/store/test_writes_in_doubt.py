"""The connection is cut between COMMIT and its answer: the write is repeated, and counts once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from cutting_proxy import CutReply, CuttingProxy, cutting
from filed import A_DIGEST, end_lease, file_a_slide, new_read, read_of
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from used_postgres import UsedDatabase

from ultraread.errors import DatabaseUnreachable, SlideTruncated
from ultraread.serving.store import outbox
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.jobs import ClaimedRead, Jobs, NewRead, Progress, ReadResult
from ultraread.serving.store.tables import AuditRow, ReadState

COMMIT = b"COMMIT\0"
"""As the driver sends it, unlike `READ COMMITTED`."""


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A queue behind a proxy, and the same database past it."""

    proxy: CuttingProxy
    jobs: Jobs
    store: Store

    def twice(self, write: Callable[[], object]) -> object:
        """The answer to the first try is lost."""
        self.proxy.fault = CutReply(COMMIT)
        with pytest.raises(DatabaseUnreachable):
            write()
        self.proxy.heal()
        return write()


@pytest.fixture
def doubtful(used_postgres: UsedDatabase) -> Iterator[Doubtful]:
    used_postgres.clear()
    with cutting(used_postgres.url) as proxy:
        through = make_url(used_postgres.url).set(port=proxy.port)
        store = open_store(used_postgres.url)
        behind = open_store(through.render_as_string(hide_password=False))
        yield Doubtful(proxy, Jobs(behind, 600, 3), store)
        behind.close()
        store.close()


@pytest.fixture
def asked(doubtful: Doubtful) -> NewRead:
    read = new_read(file_a_slide(doubtful.store))
    Jobs(doubtful.store, 600, 3).enqueue(read, "a test")
    return read


@pytest.fixture
def claim(doubtful: Doubtful, asked: NewRead) -> ClaimedRead:
    claimed = doubtful.jobs.claim("the owner")
    assert claimed is not None
    assert claimed.read.id == asked.id
    return claimed


def test_a_request_makes_one_read(doubtful: Doubtful) -> None:
    read = new_read(file_a_slide(doubtful.store))
    doubtful.twice(lambda: doubtful.jobs.enqueue(read, "a test"))
    with doubtful.store.reading() as session:
        events = select(func.count()).where(AuditRow.what == "read_requested")
        assert session.scalar(events) == 1


def test_a_claim_that_nobody_heard_of_ends_with_its_lease(doubtful: Doubtful, asked: NewRead) -> None:
    assert doubtful.twice(lambda: doubtful.jobs.claim("the owner")) is None
    assert read_of(doubtful.store, asked.id).owner == "the owner"
    end_lease(doubtful.store, asked.id)
    assert doubtful.jobs.claim("another") is not None


def test_a_scored_range_counts_once(doubtful: Doubtful, claim: ClaimedRead) -> None:
    scored = ("slide", 0, 3, A_DIGEST, 4)
    progress = Progress(8, 4, 1)
    doubtful.twice(lambda: doubtful.jobs.checkpointed(claim, *scored, progress))
    assert doubtful.jobs.checkpoints_of(claim) == {"slide": {(0, 3): A_DIGEST}}
    assert read_of(doubtful.store, claim.read.id).ranges_scored == 1


def test_a_read_ends_once_with_a_result(doubtful: Doubtful, claim: ClaimedRead) -> None:
    doubtful.twice(lambda: doubtful.jobs.finish(claim, ReadState.SUCCEEDED, ReadResult()))
    _refuse_unless_ended_once(doubtful, claim, "succeeded")


def test_a_read_ends_once_without_a_result(doubtful: Doubtful, claim: ClaimedRead) -> None:
    doubtful.twice(lambda: doubtful.jobs.fail(claim, SlideTruncated("cut")))
    _refuse_unless_ended_once(doubtful, claim, "failed")


def test_a_read_is_given_back(doubtful: Doubtful, claim: ClaimedRead) -> None:
    doubtful.twice(lambda: doubtful.jobs.release(claim))
    assert replace(doubtful.jobs, store=doubtful.store).claim("another") is not None


def _refuse_unless_ended_once(doubtful: Doubtful, claim: ClaimedRead, state: str) -> None:
    assert read_of(doubtful.store, claim.read.id).state == state
    assert [row.read_id for row in outbox.pending(doubtful.store)] == [claim.read.id]
    with doubtful.store.reading() as session:
        ended = select(func.count()).where(AuditRow.what == "read_ended")
        assert session.scalar(ended) == 1
