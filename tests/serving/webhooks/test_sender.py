"""What a receiver gets when a read ends, with a real one that fails in every way."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from filed import file_a_slide, new_read
from sqlalchemy import select, update
from webhook_receiver import Receiver, receiving

from ultraread.serving.settings import Settings
from ultraread.serving.store.clock import steady_now
from ultraread.serving.store.deliveries import WEBHOOK
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.facts import clock_of, waiting
from ultraread.serving.store.jobs import Jobs, ReadResult
from ultraread.serving.store.tables import OutboxRow, ReadRow, ReadState
from ultraread.serving.webhooks import subscriptions
from ultraread.serving.webhooks.secret import webhook_key
from ultraread.serving.webhooks.sender import WebhookSender
from ultraread.serving.webhooks.signature import DELIVERY, SIGNATURE, is_signed

FINDINGS = {"name": "r/result-1/s-1/findings.json", "sha256": "d" * 64, "bytes": 2}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{tmp_path}/ultraread.db")) as opened:
        yield opened


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path) as started:
        yield started


@pytest.fixture
def sender(store: Store, tmp_path: Path) -> WebhookSender:
    settings = Settings(data_dir=tmp_path, webhook_http_hosts=("127.0.0.1",), webhook_attempts=4)
    return WebhookSender(store, settings, webhook_key(settings), first_wait_s=0, answer_s=0.5)


def subscribe(store: Store, url: str, site: str = "main", *, with_case: bool = False) -> str:
    with store.of_site(site).writing() as session:
        return subscriptions.add(session, f"w-{site}-{with_case}", url, with_case, "an admin").id


def end_a_read(store: Store) -> str:
    jobs = Jobs(store, lease_s=60, max_attempts=3)
    jobs.enqueue(new_read(file_a_slide(store)), "a test")
    claim = jobs.claim("a test")
    assert claim is not None
    jobs.finish(claim, ReadState.SUCCEEDED, ReadResult(files=(FINDINGS,)))
    return claim.read.id


def rows(store: Store) -> list[OutboxRow]:
    with store.reading() as session:
        return list(session.scalars(select(OutboxRow).where(OutboxRow.kind.startswith(WEBHOOK))))


def test_a_receiver_is_told_once_with_a_signature_and_without_patient_data(
    store: Store, sender: WebhookSender, receiver: Receiver
) -> None:
    webhook = subscribe(store, receiver.url)
    subscribe(store, receiver.url, site="another")
    read_id = end_a_read(store)
    assert [sender.send_next(), sender.send_next()] == [True, False]
    (got,) = receiver.got()
    body = json.loads(got["body"])
    assert (body["read_id"], body["state"], body["code"]) == (read_id, "succeeded", None)
    assert body["findings"] == [{"slide_id": "s-1", "sha256": "d" * 64}]
    assert body["link"] == f"/v1/reads/{read_id}"
    assert "case_id" not in body
    assert got["headers"][DELIVERY] == body["delivery_id"] == f"{read_id}.{webhook}"
    secret = sender.key.secret(webhook)
    header, raw = got["headers"][SIGNATURE], got["body"].encode()
    assert is_signed(secret, header, raw)
    assert not is_signed(secret, header, raw + b" ")
    assert not is_signed(sender.key.secret("w-2"), header, raw)


def test_the_case_is_told_where_it_is_asked_for(
    store: Store, sender: WebhookSender, receiver: Receiver
) -> None:
    subscribe(store, receiver.url, with_case=True)
    end_a_read(store)
    sender.send_next()
    assert json.loads(receiver.got()[0]["body"])["case_id"] is None


def test_failures_are_tried_again_until_it_is_taken(
    store: Store, sender: WebhookSender, receiver: Receiver
) -> None:
    subscribe(store, receiver.url)
    end_a_read(store)
    receiver.answers(500, 302, "hang", 200)
    errors = []
    while sender.send_next():
        errors.append(rows(store)[0].error)
    assert errors == ["status 500", "status 302", "ReadTimeout", None]
    got = receiver.got()
    assert len({one["body"] for one in got}) == len({one["headers"][DELIVERY] for one in got}) == 1
    assert rows(store)[0].sent is not None


def test_an_answer_that_comes_drop_by_drop_holds_a_sender_for_so_long_and_no_longer(
    store: Store, sender: WebhookSender, receiver: Receiver
) -> None:
    subscribe(store, receiver.url)
    end_a_read(store)
    receiver.answers("drip", 200)
    assert replace(sender, exchange_s=1.0).send_next()
    assert (rows(store)[0].error, rows(store)[0].sent) == ("ReadError", None)
    assert sender.send_next()
    assert rows(store)[0].sent is not None


def test_an_outage_is_outlasted(store: Store, sender: WebhookSender, receiver: Receiver) -> None:
    subscribe(store, receiver.url)
    receiver.stop()
    end_a_read(store)
    assert sender.send_next()
    assert (rows(store)[0].error, rows(store)[0].sent) == ("ConnectError", None)
    receiver.start()
    assert [sender.send_next(), sender.send_next()] == [True, False]
    assert len(receiver.got()) == 1


def test_what_is_never_taken_is_given_up_and_counted(
    store: Store, sender: WebhookSender, receiver: Receiver
) -> None:
    webhook = subscribe(store, receiver.url)
    end_a_read(store)
    receiver.answers(503)
    assert [sender.send_next() for _ in range(5)] == [True] * 4 + [False]
    with store.reading() as session:
        told = subscriptions.told(session, webhook)
    assert (told.sent, told.pending, told.given_up, told.last_error) == (0, 0, 1, "status 503")


def test_what_was_given_up_is_told_after_all_when_somebody_asks_for_it(
    store: Store, sender: WebhookSender, receiver: Receiver
) -> None:
    webhook = subscribe(store, receiver.url)
    end_a_read(store)
    receiver.answers(503)
    while sender.send_next():
        """Until it is given up."""
    with store.writing() as session:
        session.execute(update(ReadRow).values(ended="2026-01-01T00:00:00.000Z"))
    receiver.answers(503, 200)
    with store.of_site("main").writing() as session:
        assert subscriptions.retry(session, "an admin", webhook) == 1
        assert waiting(session, clock_of(session))["webhook"].oldest_s < 3600, "from now on"
    assert [sender.send_next() for _ in range(3)] == [True, True, False]
    assert len({one["headers"][DELIVERY] for one in receiver.got()}) == 1
    with store.reading() as session:
        assert subscriptions.told(session, webhook) == subscriptions.Told(1, 0, 0, None)


@pytest.mark.parametrize("ending", ["removed", "gone"])
def test_who_wants_no_more_is_asked_no_more(
    store: Store, sender: WebhookSender, receiver: Receiver, ending: str
) -> None:
    webhook = subscribe(store, receiver.url)
    end_a_read(store)
    receiver.answers(410)
    if ending == "removed":
        with store.writing() as session:
            subscriptions.remove(session, webhook, "an admin")
    assert [sender.send_next(), sender.send_next()] == [True, False]
    assert len(receiver.got()) == (ending == "gone")
    assert rows(store)[0].given_up is not None
    with store.of_site("main").writing() as session:
        assert subscriptions.retry(session, "an admin") == (ending == "gone")


def test_an_address_that_the_operator_no_longer_lists_is_not_asked(
    store: Store, sender: WebhookSender, receiver: Receiver
) -> None:
    subscribe(store, receiver.url.replace("127.0.0.1", "localhost"))
    end_a_read(store)
    sender.send_next()
    assert (rows(store)[0].error, receiver.got()) == ("url_not_allowed", [])


def test_waits_grow(store: Store, sender: WebhookSender, receiver: Receiver) -> None:
    subscribe(store, receiver.url)
    end_a_read(store)
    receiver.answers(500)
    patient = WebhookSender(store, sender.settings, sender.key, first_wait_s=100)
    patient.send_next()
    with store.reading() as session:
        soon, due = session.execute(
            select(steady_now(), OutboxRow.due).where(OutboxRow.error.is_not(None))
        ).one()
    assert due > soon
    assert not patient.send_next()


def test_a_stale_or_broken_signature_is_none() -> None:
    from ultraread.serving.webhooks.signature import signature

    signed = signature("s", b"{}", 1000)
    assert is_signed("s", signed, b"{}", now=1299)
    for header, now in ((signed, 1301.0), (signed[:-1], 1000.0), ("", 1000.0), ("t=x,v1=é", 1000.0)):
        assert not is_signed("s", header, b"{}", now=now)
