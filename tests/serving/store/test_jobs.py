"""A read is worked on by one owner at a time, ends once, and is never lost."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from filed import end_lease, file_a_slide, new_read, read_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ultraread.errors import InputChanged, ReadCancelled, SlideTruncated
from ultraread.serving.store import outbox
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.jobs import ClaimedRead, Jobs, LostLease, Progress, ReadResult
from ultraread.serving.store.tables import ReadState, ScanRecordRow

RESULT = ReadResult({"plan": "128"}, {"coverage_fraction": 1.0})


def enqueued(jobs: Jobs) -> str:
    return jobs.enqueue(new_read(file_a_slide(jobs.store)), "a test").id


def claimed(jobs: Jobs, owner: str = "one") -> ClaimedRead:
    claim = jobs.claim(owner)
    assert claim is not None
    return claim


def events_of(store: Store, read_id: str) -> list[str]:
    with store.reading() as session:
        return [event.what for event in AuditLog(session).list(subject=read_id)]


def test_reads_are_claimed_oldest_first_and_each_by_one_owner(jobs: Jobs) -> None:
    first, second = enqueued(jobs), enqueued(jobs)
    assert [claimed(jobs, "one").read.id, claimed(jobs, "two").read.id] == [first, second]
    assert jobs.claim("three") is None


def test_owners_that_claim_at_once_never_get_the_same_read(jobs: Jobs) -> None:
    ids = {enqueued(jobs) for _ in range(12)}
    got: list[str] = []

    def work() -> None:
        while claim := jobs.claim(threading.current_thread().name):
            got.append(claim.read.id)

    owners = [threading.Thread(target=work) for _ in range(4)]
    for owner in owners:
        owner.start()
    for owner in owners:
        owner.join()
    assert sorted(got) == sorted(ids)


def test_finishing_ends_the_read_links_the_scan_record_and_fills_outbox_and_audit_trail(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    jobs.finish(claimed(jobs), ReadState.SUCCEEDED, RESULT)
    row = read_of(jobs.store, read_id)
    assert (row.state, row.lease) == ("succeeded", None)
    assert row.created <= (row.started or "") <= (row.ended or "")
    assert [told.body for told in outbox.pending(jobs.store)] == [
        {"params": {"plan": "128"}, "metrics": {"coverage_fraction": 1.0}}
    ]
    assert events_of(jobs.store, read_id) == ["read_requested", "read_ended"]
    with jobs.store.reading() as session:
        record = session.query(ScanRecordRow).one()
    assert (record.read_id, record.model_name, record.model_version) == (
        read_id,
        "ultrastructure-vnc",
        "1.0.0",
    )


def test_a_read_ends_once(jobs: Jobs) -> None:
    enqueued(jobs)
    claim = claimed(jobs)
    jobs.finish(claim, ReadState.PARTIAL, RESULT)
    with pytest.raises(LostLease):
        jobs.finish(claim, ReadState.SUCCEEDED, RESULT)
    assert len(outbox.pending(jobs.store)) == 1
    assert jobs.claim("two") is None


@pytest.mark.parametrize(
    "write",
    [
        lambda jobs, claim: jobs.beat(claim, Progress(10, 10, 1)),
        lambda jobs, claim: jobs.bind(claim, {"plan": "another"}),
        lambda jobs, claim: jobs.finish(claim, ReadState.SUCCEEDED, RESULT),
        lambda jobs, claim: jobs.fail(claim, SlideTruncated("cut")),
    ],
    ids=["beat", "bind", "finish", "fail"],
)
def test_an_owner_who_slept_past_the_lease_changes_nothing(
    jobs: Jobs, write: Callable[[Jobs, ClaimedRead], None]
) -> None:
    read_id = enqueued(jobs)
    zombie = claimed(jobs, "zombie")
    end_lease(jobs.store, read_id)
    taken_over = claimed(jobs, "heir")
    with pytest.raises(LostLease):
        write(jobs, zombie)
    row = read_of(jobs.store, read_id)
    assert (row.state, row.owner, row.epoch, row.tiles_done, row.binding) == ("running", "heir", 2, 0, None)
    jobs.finish(taken_over, ReadState.SUCCEEDED, RESULT)


def test_a_late_owner_whom_nobody_replaced_goes_on(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    claim = claimed(jobs)
    end_lease(jobs.store, read_id)
    assert jobs.beat(claim) is False
    assert jobs.claim("two") is None


def test_a_read_that_never_makes_progress_is_failed_and_the_queue_behind_it_flows(jobs: Jobs) -> None:
    poison, behind = enqueued(jobs), enqueued(jobs)
    for _ in range(jobs.max_attempts):
        assert claimed(jobs).read.id == poison
        end_lease(jobs.store, poison)
    assert claimed(jobs).read.id == behind
    row = read_of(jobs.store, poison)
    assert (row.state, row.error_code) == ("failed", "read_attempts_exhausted")
    assert events_of(jobs.store, poison) == ["read_requested", "read_ended"]


def test_a_read_that_makes_progress_survives_any_number_of_losses(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    for done in range(1, 10):
        jobs.beat(claimed(jobs), Progress(tiles_total=10, tiles_done=done, ranges_done=done))
        end_lease(jobs.store, read_id)
    jobs.finish(claimed(jobs), ReadState.SUCCEEDED, RESULT)
    assert read_of(jobs.store, read_id).state == "succeeded"


def test_a_pause_counts_as_no_attempt_and_only_the_owner_may(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    for _ in range(2 * jobs.max_attempts):
        claim = claimed(jobs)
        jobs.pause(claim)
        end_lease(jobs.store, read_id)
    assert read_of(jobs.store, read_id).state == ReadState.RUNNING
    claimed(jobs, "another")
    with pytest.raises(LostLease):
        jobs.pause(claim)


def test_counting_up_again_what_was_done_before_is_no_progress(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    for _ in range(1 + jobs.max_attempts):
        claim = claimed(jobs)
        for done in (1, 2, 3):
            jobs.beat(claim, Progress(tiles_total=10, tiles_done=done, ranges_done=done))
        end_lease(jobs.store, read_id)
    assert jobs.claim("one") is None
    row = read_of(jobs.store, read_id)
    assert (row.error_code, row.tiles_done) == ("read_attempts_exhausted", 3)


def test_a_queued_read_is_cancelled_at_once(jobs: Jobs) -> None:
    row = jobs.request_cancel(enqueued(jobs), "a person")
    assert (row.state, row.error_code) == ("cancelled", "read_cancelled")
    assert row.ended is not None
    assert jobs.claim("one") is None


def test_the_owner_of_a_running_read_learns_of_the_cancel_with_the_next_beat(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    claim = claimed(jobs)
    assert jobs.request_cancel(read_id, "a person").state == "running"
    assert jobs.beat(claim) is True
    jobs.fail(claim, ReadCancelled("cancelled"))
    assert read_of(jobs.store, read_id).state == "cancelled"
    assert events_of(jobs.store, read_id) == ["read_requested", "read_cancel_requested", "read_ended"]


def test_a_cancelled_read_whose_owner_died_is_not_tried_again(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    claimed(jobs)
    jobs.request_cancel(read_id, "a person")
    end_lease(jobs.store, read_id)
    assert jobs.claim("two") is None
    assert read_of(jobs.store, read_id).state == "cancelled"


def test_cancelling_an_ended_read_leaves_it_as_it_is(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    jobs.finish(claimed(jobs), ReadState.SUCCEEDED, RESULT)
    assert jobs.request_cancel(read_id, "a person").state == "succeeded"


def test_a_failed_read_tells_code_and_remedy(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    jobs.fail(claimed(jobs), SlideTruncated("the file ends early"))
    row = read_of(jobs.store, read_id)
    assert (row.state, row.error_code, row.error_what) == ("failed", "slide_truncated", "the file ends early")
    assert row.error_remedy == SlideTruncated.remedy


def test_checkpoints_of_another_plan_are_never_mixed_in(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    jobs.bind(claimed(jobs), {"slide": "a", "tile_px": 256})
    end_lease(jobs.store, read_id)
    resumed = claimed(jobs)
    jobs.bind(resumed, {"tile_px": 256, "slide": "a"})
    with pytest.raises(InputChanged):
        jobs.bind(resumed, {"slide": "b", "tile_px": 256})


def test_the_same_id_is_enqueued_once(jobs: Jobs) -> None:
    read = new_read(file_a_slide(jobs.store))
    jobs.enqueue(read, "a test")
    jobs.finish(claimed(jobs), ReadState.SUCCEEDED, RESULT)
    assert jobs.enqueue(read, "a test").state == "succeeded"
    assert events_of(jobs.store, read.id).count("read_requested") == 1


class OwnersThatComeAndGo(RuleBasedStateMachine):
    """Whatever happens in whatever order: every read ends once, and only its present owner moves it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = open_store(f"sqlite:///{Path(self.folder.name)}/ultraread.db")
        self.jobs = Jobs(self.store, lease_s=600, max_attempts=3)
        self.slide = file_a_slide(self.store)
        self.reads: list[str] = []
        self.claims: list[ClaimedRead] = []
        self.owner_of: dict[str, int] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule()
    def enqueue(self) -> None:
        self.reads.append(self.jobs.enqueue(new_read(self.slide), "a test").id)

    @rule()
    def claim(self) -> None:
        if claim := self.jobs.claim("owner"):
            assert claim.read.id not in self.owner_of
            self.claims.append(claim)
            self.owner_of[claim.read.id] = claim.epoch

    @precondition(lambda self: self.owner_of)
    @rule(data=st.data())
    def lease_ends(self, data: st.DataObject) -> None:
        read_id = data.draw(st.sampled_from(sorted(self.owner_of)))
        end_lease(self.store, read_id)
        del self.owner_of[read_id]

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), state=st.sampled_from([ReadState.SUCCEEDED, ReadState.PARTIAL]))
    def finish(self, data: st.DataObject, state: ReadState) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        row = read_of(self.store, claim.read.id)
        is_owner = row.epoch == claim.epoch and row.state == "running"
        try:
            self.jobs.finish(claim, state, RESULT)  # type: ignore[arg-type]  # drawn from the two
        except LostLease:
            assert not is_owner
        else:
            assert is_owner
            self.owner_of.pop(claim.read.id, None)

    @precondition(lambda self: self.reads)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.jobs.request_cancel(data.draw(st.sampled_from(self.reads)), "a person")

    @invariant()
    def every_ended_read_is_told_once_and_every_other_never(self) -> None:
        ended = [read for read in self.reads if ReadState(read_of(self.store, read).state).has_ended]
        assert sorted(told.read_id for told in outbox.pending(self.store)) == sorted(ended)
        for read in self.reads:
            assert events_of(self.store, read).count("read_ended") == (read in ended)


TestOwnersThatComeAndGo = OwnersThatComeAndGo.TestCase
TestOwnersThatComeAndGo.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
