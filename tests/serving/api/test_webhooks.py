"""Subscriptions over HTTP: the secret is shown once, addresses are the operator's to list."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from command_line import ultraread
from fastapi import FastAPI
from filed import file_a_slide, new_read
from webhook_receiver import Receiver, receiving

from ultraread.errors import ConfigInsecure
from ultraread.serving.settings import Settings
from ultraread.serving.store import deliveries
from ultraread.serving.store.jobs import Jobs, ReadResult
from ultraread.serving.store.tables import ReadState
from ultraread.serving.webhooks.secret import webhook_key
from ultraread.serving.webhooks.signature import SIGNATURE, is_signed


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", poll_s=0.02, webhook_http_hosts=("127.0.0.1",))


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path) as started:
        yield started


def test_a_webhook_is_added_tested_listed_and_removed(
    http: httpx.Client, receiver: Receiver, settings: Settings
) -> None:
    key = {"Idempotency-Key": "once"}
    made = http.post("/v1/webhooks", json={"url": receiver.url}, headers=key)
    assert made.status_code == 201
    webhook, secret = made.json()["id"], made.json()["secret"]
    assert http.post("/v1/webhooks", json={"url": receiver.url}, headers=key).json() == made.json()
    assert http.post(f"/v1/webhooks/{webhook}/test").status_code == 200
    (got,) = receiver.got()
    assert is_signed(secret, got["headers"][SIGNATURE], got["body"].encode())
    listed = http.get("/v1/webhooks")
    assert [one["id"] for one in listed.json()["items"]] == [webhook]
    assert secret not in listed.text
    assert not any(secret.encode() in file.read_bytes() for file in settings.data_dir.glob("ultraread.db*"))
    receiver.answers(500)
    answer = http.post(f"/v1/webhooks/{webhook}/test")
    assert (answer.status_code, answer.json()["code"]) == (502, "webhook_not_told")
    assert http.delete(f"/v1/webhooks/{webhook}").status_code == 204
    assert http.get("/v1/webhooks").json()["items"] == []
    assert http.delete(f"/v1/webhooks/{webhook}").json()["code"] == "not_found"


def test_what_was_given_up_is_asked_for_again(api: FastAPI, http: httpx.Client, receiver: Receiver) -> None:
    """By the command line, as its user would."""
    address, store = str(http.base_url), api.state.service.store
    webhook = http.post("/v1/webhooks", json={"url": receiver.url}).json()["id"]
    jobs = Jobs(store, lease_s=60, max_attempts=3)
    jobs.enqueue(new_read(file_a_slide(store)), "a test")
    claim = jobs.claim("a test")
    assert claim is not None
    jobs.finish(claim, ReadState.SUCCEEDED, ReadResult())
    taken = deliveries.take(store, deliveries.of_webhooks())
    assert taken is not None
    deliveries.give_up(store, taken, "status 503")
    assert http.get("/v1/webhooks").json()["items"][0]["given_up"] == 1
    assert ultraread("webhooks", "retry", "--url", address).status == 2
    assert ultraread("webhooks", "retry", "01hzz", "--url", address, "--json").problem["code"] == "not_found"
    assert ultraread("webhooks", "retry", webhook, "--url", address).out == "1 are sent again\n"
    assert ultraread("webhooks", "retry", "--all", "--url", address, "--json").printed == {"again": 0}
    assert http.get("/v1/webhooks").json()["items"][0]["pending"] == 1


NOT_LISTED = (
    "http://169.254.169.254/latest/meta-data",
    "https://127.0.0.1/",
    "http://localhost/",
    "http://127.0.0.1@evil.example/",
    "file:///etc/passwd",
    "http://2130706433/",
)


def test_an_address_that_is_not_listed_is_refused(http: httpx.Client) -> None:
    for url in NOT_LISTED:
        answer = http.post("/v1/webhooks", json={"url": url})
        assert (answer.status_code, answer.json()["code"]) == (422, "url_not_allowed")
    remedy = http.post("/v1/webhooks", json={"url": "https://lis.example/done"}).json()["remedy"]
    assert "webhook_hosts" in remedy


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 64)
    key.chmod(0o644)
    with pytest.raises(ConfigInsecure):
        webhook_key(Settings(data_dir=tmp_path, webhook_key_file=key))
    key.chmod(0o600)
    assert webhook_key(Settings(data_dir=tmp_path, webhook_key_file=key)).secret("w").startswith("whsec_")
    key.write_text("short")
    with pytest.raises(ConfigInsecure):
        webhook_key(Settings(data_dir=tmp_path, webhook_key_file=key))
