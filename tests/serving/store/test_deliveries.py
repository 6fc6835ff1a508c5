"""Rows of the outbox for webhooks and copied results."""

from filed import file_a_slide, new_read
from sqlalchemy import select, update

from ultraread.errors import InputChanged
from ultraread.serving.store import deliveries, outbox
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.clock import utc_in
from ultraread.serving.store.engine import Store
from ultraread.serving.store.jobs import Jobs, ReadResult
from ultraread.serving.store.tables import OutboxRow, ReadRow, ReadState
from ultraread.serving.webhooks import subscriptions


def ended_read(jobs: Jobs, *, failed: bool = False) -> str:
    jobs.enqueue(new_read(file_a_slide(jobs.store)), "a test")
    claim = jobs.claim("a test")
    assert claim is not None
    if failed:
        jobs.fail(claim, InputChanged("it changed"))
    else:
        jobs.finish(claim, ReadState.SUCCEEDED, ReadResult())
    return claim.read.id


def test_every_standing_webhook_of_the_site_gets_a_row_that_mlflow_s_sender_leaves_alone(jobs: Jobs) -> None:
    for site, webhook in (("main", "w-1"), ("main", "w-2"), ("other", "w-3")):
        with jobs.store.of_site(site).writing() as session:
            subscriptions.add(session, webhook, "https://lis.example", False, "an admin")
    with jobs.store.writing() as session:
        subscriptions.remove(session, "w-2", "an admin")
    read_id = ended_read(jobs, failed=True)
    assert outbox.take_due(jobs.store) is not None
    assert outbox.take_due(jobs.store) is None
    taken = deliveries.take(jobs.store, deliveries.of_webhooks())
    assert taken is not None
    assert (taken.read.id, taken.kind, taken.read.state, taken.attempt) == (
        read_id,
        "webhook:w-1",
        "failed",
        1,
    )
    assert deliveries.take(jobs.store, deliveries.of_webhooks()) is None
    deliveries.mark_failed(jobs.store, taken, "status 500", 0)
    taken = deliveries.take(jobs.store, deliveries.of_webhooks())
    assert taken is not None
    deliveries.give_up(jobs.store, taken, "status 500")
    assert deliveries.take(jobs.store, deliveries.of_webhooks()) is None
    with jobs.store.reading() as session:
        assert subscriptions.told(session, "w-1") == subscriptions.Told(0, 0, 1, "status 500")
    assert [row.kind for row in outbox.pending(jobs.store)] == [outbox.MLFLOW_RUN]


def test_results_of_late_are_noted_once(jobs: Jobs) -> None:
    first, old = ended_read(jobs), ended_read(jobs)
    ended_read(jobs, failed=True)
    with jobs.store.writing() as session:
        session.execute(update(ReadRow).where(ReadRow.id == old).values(ended=utc_in(-31 * deliveries.DAY_S)))
    assert [deliveries.want_result_copies(jobs.store, 30) for _ in range(2)] == [1, 0]
    taken = deliveries.take(jobs.store, deliveries.of_results())
    assert taken is not None
    assert taken.read.id == first
    deliveries.mark_sent(jobs.store, taken)
    assert deliveries.want_result_copies(jobs.store, 30) == 0


def test_what_was_given_up_is_sent_again_by_its_own_site(jobs: Jobs) -> None:
    with jobs.store.of_site("main").writing() as session:
        for webhook in ("w-1", "w-2"):
            subscriptions.add(session, webhook, "https://lis.example", False, "an admin")
    reads = {ended_read(jobs), ended_read(jobs)}
    deliveries.want_result_copies(jobs.store, 30)
    for wanted in (deliveries.of_webhooks(), deliveries.of_results()):
        while taken := deliveries.take(jobs.store, wanted):
            deliveries.give_up(jobs.store, taken, "status 503")
    with jobs.store.of_site("north").writing() as session:
        assert subscriptions.retry(session, "an admin") == 0
    with jobs.store.of_site("main").writing() as session:
        assert subscriptions.retry(session, "an admin", "w-1", min(reads)) == 1
        assert subscriptions.retry(session, "an admin", "w-1") == 1
        assert subscriptions.retry(session, "an admin") == 4
        assert subscriptions.retry(session, "an admin") == 0
    taken = deliveries.take(jobs.store, deliveries.of_results())
    assert taken is not None
    assert taken.attempt == 1
    with jobs.store.reading() as session:
        told = [event.detail["deliveries"] for event in AuditLog(session).list(what="deliveries_retried")]
    assert told == [1, 1, 4]


def test_another_site_s_webhook_is_nobody_s(store: Store) -> None:
    with store.of_site("north").writing() as session:
        subscriptions.add(session, "w-1", "https://lis.example", False, "an admin")
    with store.of_site("south").reading() as session:
        assert subscriptions.standing(session) == []


def test_who_was_overtaken_changes_nothing_in_what_another_one_has_sent(jobs: Jobs) -> None:
    with jobs.store.of_site("main").writing() as session:
        subscriptions.add(session, "w-1", "https://lis.example", False, "an admin")
    ended_read(jobs)
    taken = deliveries.take(jobs.store, deliveries.of_webhooks())
    assert taken is not None
    deliveries.mark_sent(jobs.store, taken)
    deliveries.mark_failed(jobs.store, taken, "ReadTimeout", 0)
    deliveries.give_up(jobs.store, taken, "ReadTimeout")
    with jobs.store.reading() as session:
        (row,) = session.scalars(select(OutboxRow).where(OutboxRow.kind == taken.kind))
    assert (row.error, row.given_up) == (None, None)
    assert row.sent is not None
