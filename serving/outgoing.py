"""What leaves the service by itself when reads have ended, and what is thrown away."""

import time
from collections.abc import Callable

from ultraread.serving.ingest.deliver import ResultCopier
from ultraread.serving.settings import Settings
from ultraread.serving.storage.places import target_at
from ultraread.serving.store.engine import Store
from ultraread.serving.store.uploads import open_uploads
from ultraread.serving.webhooks.sender import webhook_sender

WEBHOOK_SENDERS = 4
"""A receiver that does not answer holds one of them up for ten seconds, one that drips for thirty."""
EXPIRY_S = 600.0

Step = Callable[[], bool]
"""Says whether it found something to do."""


def outgoing(settings: Settings, store: Store) -> list[Step]:
    """Webhooks, copies of results and uploads that expire. Raises ConfigInsecure, UrlNotAllowed."""
    steps: list[Step] = [webhook_sender(settings, store).send_next] * WEBHOOK_SENDERS
    if settings.deliver_url is not None:
        target_at(settings.deliver_url)
        steps.append(ResultCopier(settings, store).copy_next)
    uploads = open_uploads(settings, store)
    return [*steps, _now_and_then(lambda: uploads.expire() > 0, EXPIRY_S)]


def _now_and_then(step: Step, every_s: float) -> Step:
    last = [-every_s]

    def look() -> bool:
        if time.monotonic() - last[0] < every_s:
            return False
        last[0] = time.monotonic()
        step()
        return False

    return look
