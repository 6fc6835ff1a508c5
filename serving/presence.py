"""A process of the service says that it is there, and adds what it counted to the sums in the store."""

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress

import psutil

from ultraread.errors import StorageFull, Unavailable
from ultraread.serving import metrics
from ultraread.serving.store import counts, workers
from ultraread.serving.store.engine import Store
from ultraread.serving.store.ids import new_id

log = logging.getLogger(__name__)


class Presence:
    """Beats from a thread of its own until `leave`; `live` are the model versions that the process holds."""

    def __init__(
        self,
        store: Store,
        deployment: str,
        live: Callable[[], list[str]] | None = None,
        every_s: float = workers.BEAT_S,
    ) -> None:
        self.id = f"{deployment.lower()}-{new_id()}"
        self._store, self._deployment, self._live = store, deployment, live or list
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(every_s,), name="presence", daemon=True)

    def begin(self) -> "Presence":
        """The first beat is made when this returns, unless the store is away."""
        self._beat()
        self._thread.start()
        return self

    def leave(self) -> None:
        """Add what is left to the sums, and say goodbye."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._beat()
        with suppress(Unavailable, StorageFull):
            workers.leave(self._store, self.id)

    def _run(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            self._beat()

    def _beat(self) -> None:
        taken = metrics.PENDING.take()
        try:
            counts.add(self._store, taken)
            taken = {}
            workers.beat(self._store, self.id, self._deployment, self._body())
        except (
            Exception
        ) as failure:  # an outage, whatever its kind: nothing counted is lost, it is added later
            metrics.PENDING.give_back(taken)
            metrics.STORE_OUTAGES.add(deployment=self._deployment)
            log.warning("the store does not take a beat: %s", type(failure).__name__)

    def _body(self) -> dict[str, object]:
        process = psutil.Process(os.getpid())
        return {
            "resident_bytes": process.memory_info().rss,
            "open_files": process.num_fds(),
            "live": self._live(),
        }
