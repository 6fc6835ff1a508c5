"""A read is worked on by one owner at a time, ends once, and is never lost."""

import threading
from collections.abc import Callable

import pytest
from filed import A_DIGEST, end_lease, file_a_slide, new_read, read_of
from sqlalchemy import select, update

from ultraread.errors import InputChanged, ReadCancelled, ReadDeadlinePassed, SlideTruncated
from ultraread.serving.store import outbox
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.clock import LONG_AGO, utc_in
from ultraread.serving.store.engine import Store
from ultraread.serving.store.job_tables import ReadRangeRow
from ultraread.serving.store.jobs import ClaimedRead, Jobs, LostLease, Progress, ReadResult
from ultraread.serving.store.tables import ReadRow, ReadState, ScanRecordRow

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
    jobs.finish(claim, ReadState.PARTIAL, RESULT)  # whose first answer got lost
    assert len(outbox.pending(jobs.store)) == 1
    assert jobs.claim("two") is None


@pytest.mark.parametrize(
    "write",
    [
        lambda jobs, claim: jobs.beat(claim, Progress(10, 10, 1)),
        lambda jobs, claim: jobs.bind(claim, {"one": {"plan": "another"}}),
        lambda jobs, claim: jobs.finish(claim, ReadState.SUCCEEDED, RESULT),
        lambda jobs, claim: jobs.fail(claim, SlideTruncated("cut")),
        lambda jobs, claim: jobs.checkpointed(claim, "slide", 0, 0, A_DIGEST, 4, Progress(10, 10, 1)),
        lambda jobs, claim: jobs.release(claim),
    ],
    ids=["beat", "bind", "finish", "fail", "checkpointed", "release"],
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
        jobs.pause(claimed(jobs))
        end_lease(jobs.store, read_id)
    assert read_of(jobs.store, read_id).state == ReadState.RUNNING
    before = claimed(jobs)
    end_lease(jobs.store, read_id)
    claimed(jobs, "another")
    with pytest.raises(LostLease):
        jobs.pause(before)


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
    jobs.bind(claimed(jobs), {"one": {"slide": "a", "tile_px": 256}})
    end_lease(jobs.store, read_id)
    resumed = claimed(jobs)
    jobs.bind(resumed, {"one": {"tile_px": 256, "slide": "a"}})
    with pytest.raises(InputChanged):
        jobs.bind(resumed, {"one": {"slide": "b", "tile_px": 256}})


def test_checkpoints_of_files_that_were_written_to_since_are_forgotten(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    first = claimed(jobs)
    jobs.bind(first, {"one": {"slide": "a", "stamps_sha256": "then"}})
    jobs.checkpointed(first, "one", 0, 0, A_DIGEST, 4, Progress(8, 4, 1))
    end_lease(jobs.store, read_id)
    resumed = claimed(jobs)
    jobs.bind(resumed, {"one": {"slide": "a", "stamps_sha256": "then"}})
    assert jobs.checkpoints_of(resumed) == {"one": {(0, 0): A_DIGEST}}
    jobs.bind(resumed, {"one": {"slide": "a", "stamps_sha256": "now"}})
    assert jobs.checkpoints_of(resumed) == {}
    with pytest.raises(InputChanged):
        jobs.bind(resumed, {"one": {"slide": "b", "stamps_sha256": "now"}})


def test_the_same_id_is_enqueued_once(jobs: Jobs) -> None:
    read = new_read(file_a_slide(jobs.store))
    jobs.enqueue(read, "a test")
    jobs.finish(claimed(jobs), ReadState.SUCCEEDED, RESULT)
    assert jobs.enqueue(read, "a test").state == "succeeded"
    assert events_of(jobs.store, read.id).count("read_requested") == 1


def test_an_owner_that_is_asked_to_stop_gives_its_read_back_at_once_and_without_blame(jobs: Jobs) -> None:
    enqueued(jobs)
    for attempt in range(2 * jobs.max_attempts):
        claim = claimed(jobs, f"owner {attempt}")
        assert claim.read.attempts == 1
        jobs.release(claim)


def test_a_scored_range_is_kept_with_progress_and_lease_once_for_each_owner(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    first = claimed(jobs)
    for _ in range(2):  # the second time as if the first answer had got lost
        jobs.checkpointed(first, "slide", 0, 7, A_DIGEST, 4, Progress(40, 4, 1))
    end_lease(jobs.store, read_id)
    second = claimed(jobs)
    assert jobs.checkpoints_of(second) == {"slide": {(0, 7): A_DIGEST}}
    jobs.checkpointed(second, "slide", 0, 7, "b" * 64, 4, Progress(40, 4, 1))
    with jobs.store.reading() as session:
        row = session.scalars(select(ReadRangeRow)).one()
    assert (row.epoch, row.sha256, row.tiles, row.runs) == (2, "b" * 64, 4, 2)
    assert (read_of(jobs.store, read_id).ranges_scored, read_of(jobs.store, read_id).tiles_done) == (2, 4)


def test_the_ranges_of_an_ended_read_are_forgotten(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    claim = claimed(jobs)
    jobs.checkpointed(claim, "slide", 0, 0, A_DIGEST, 4, Progress(4, 4, 1))
    jobs.finish(claim, ReadState.SUCCEEDED, RESULT)
    assert jobs.checkpoints_of(claim) == {}
    assert read_of(jobs.store, read_id).ranges_scored == 1


def test_a_read_that_waits_past_its_deadline_is_never_begun(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    _set_deadline(jobs, read_id, past=True)
    assert jobs.sweep("a test") == [read_id]
    row = read_of(jobs.store, read_id)
    assert (row.state, row.error_code, row.epoch) == ("failed", "read_deadline_passed", 0)


def test_the_owner_of_a_read_learns_that_its_deadline_passed(jobs: Jobs) -> None:
    read_id = enqueued(jobs)
    _set_deadline(jobs, read_id, past=False)
    claim = claimed(jobs)
    assert jobs.beat(claim) is False
    _set_deadline(jobs, read_id, past=True)
    with pytest.raises(ReadDeadlinePassed):
        jobs.checkpointed(claim, "slide", 0, 0, A_DIGEST, 4, Progress(4, 4, 1))
    with pytest.raises(ReadDeadlinePassed) as passed:
        jobs.beat(claim)
    jobs.fail(claim, passed.value)
    assert read_of(jobs.store, read_id).error_code == "read_deadline_passed"
    assert events_of(jobs.store, read_id) == ["read_requested", "read_ended"]


def test_the_same_read_that_is_asked_for_many_times_at_once_is_one(jobs: Jobs) -> None:
    read = new_read(file_a_slide(jobs.store))
    threads = [threading.Thread(target=jobs.enqueue, args=(read, "a test")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert events_of(jobs.store, read.id) == ["read_requested"]


def _set_deadline(jobs: Jobs, read_id: str, past: bool) -> None:
    finish_by = LONG_AGO if past else utc_in(3600)
    with jobs.store.writing() as session:
        session.execute(update(ReadRow).where(ReadRow.id == read_id).values(finish_by=finish_by))
