"""Tell webhooks what the outbox holds: again and again, further and further apart, and one day no more."""

import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from ultraread.errors import UltraReadError
from ultraread.serving.limits.urls import UrlGuard, guarded_client
from ultraread.serving.settings import Settings
from ultraread.serving.store import deliveries
from ultraread.serving.store.clock import doubled_s
from ultraread.serving.store.deliveries import Delivery
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import StoredKind, StoredRow
from ultraread.serving.store.webhook_tables import WebhookRow
from ultraread.serving.webhooks import message
from ultraread.serving.webhooks.secret import WebhookKey, webhook_key
from ultraread.serving.webhooks.signature import DELIVERY, SIGNATURE, signature

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 3600.0
ANSWER_S, EXCHANGE_S = 10.0, 30.0
"""Seconds that a receiver may be silent for, and that it may take in all, less than SENDING_S."""

log = logging.getLogger(__name__)


class NotTold(Exception):
    """The receiver did not say that it has it; the text names no address. `is_final`: it wants no more."""

    def __init__(self, why: str, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """Sends one delivery at a time; several may share an outbox."""

    store: Store
    settings: Settings
    key: WebhookKey
    first_wait_s: float = FIRST_WAIT_S
    answer_s: float = ANSWER_S
    exchange_s: float = EXCHANGE_S
    chance: random.Random = field(default_factory=random.SystemRandom)

    def send_next(self) -> bool:
        """Tell what is due longest; False where nothing is due."""
        taken = deliveries.take(self.store, deliveries.of_webhooks())
        if taken is None:
            return False
        try:
            self._send(taken)
        except NotTold as failure:
            self._put_off(taken, failure)
        else:
            deliveries.mark_sent(self.store, taken)
        return True

    def test(self, webhook: WebhookRow, delivery_id: str) -> None:
        """Send a message of type `test` at once. Raises NotTold."""
        self._post(webhook, delivery_id, message.of_test(delivery_id))

    def _send(self, taken: Delivery) -> None:
        webhook_id = taken.kind.removeprefix(deliveries.WEBHOOK)
        with self.store.reading() as session:
            webhook = session.get(WebhookRow, webhook_id)
            stored = session.get(StoredRow, (StoredKind.RESULT.value, taken.read.id))
        if webhook is None or webhook.removed is not None:
            raise NotTold("the subscription is removed", is_final=True)
        delivery_id, files = f"{taken.read.id}.{webhook_id}", stored.files if stored else []
        body = message.of_read(delivery_id, taken.read, files, with_case=webhook.with_case)
        self._post(webhook, delivery_id, body)

    def _post(self, webhook: WebhookRow, delivery_id: str, body: bytes) -> None:
        """Only the status of the answer is looked at."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "UltraRead",
            DELIVERY: delivery_id,
            SIGNATURE: signature(self.key.secret(webhook.id), body, int(time.time())),
        }
        try:
            with (
                guarded_client(guard_of(self.settings, webhook.url), self.answer_s) as client,
                _closed_after(client, self.exchange_s),
                client.stream("POST", webhook.url, content=body, headers=headers) as answer,
            ):
                status = answer.status_code
        except UltraReadError as refused:
            raise NotTold(refused.code) from refused
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as failure:
            raise NotTold(type(failure).__name__) from failure
        if not httpx.codes.is_success(status):
            raise NotTold(f"status {status}", is_final=status == httpx.codes.GONE)

    def _put_off(self, taken: Delivery, failure: NotTold) -> None:
        log.warning("%s was not told of read %s: %s", taken.kind, taken.read.id, failure)
        if failure.is_final or taken.attempt >= self.settings.webhook_attempts:
            deliveries.give_up(self.store, taken, str(failure))
        else:
            wait_s = doubled_s(taken.attempt, self.first_wait_s, LONGEST_WAIT_S)
            deliveries.mark_failed(self.store, taken, str(failure), wait_s * self.chance.uniform(0.5, 1.5))


def webhook_sender(settings: Settings, store: Store) -> WebhookSender:
    """Raises ConfigInsecure where there is no key to sign with."""
    return WebhookSender(store, settings, webhook_key(settings))


@contextmanager
def _closed_after(client: httpx.Client, seconds: float) -> Iterator[None]:
    """Close its connections in the middle of an exchange that goes on drop by drop; reading then fails."""
    timer = threading.Timer(seconds, client.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def guard_of(settings: Settings, url: str) -> UrlGuard:
    """What of the settings holds for an address of this scheme."""
    plain = url.lower().startswith("http:")
    hosts = settings.webhook_http_hosts if plain else settings.webhook_hosts
    return UrlGuard(hosts, settings.webhook_networks, ("http",) if plain else ("https",))
