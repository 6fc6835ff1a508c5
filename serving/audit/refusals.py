"""Accesses that were refused, in the audit trail: each kind once a minute, then the number of the others."""

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from ultraread.errors import UltraReadError
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import MAIN_SITE

log = logging.getLogger(__name__)

EVERY_S = 60.0
REMEMBERED = 1000
NOBODY = "nobody"
"""Who asked without a token, or with one that proves nothing."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`route` is the template of the address: what a stranger writes into one does not get into the trail."""

    route: str
    method: str
    code: str
    who: str = NOBODY
    site: str = MAIN_SITE


@dataclass(slots=True)
class Refusals:
    """One per process; shared by its threads."""

    store: Store
    _until: OrderedDict[Refusal, float] = field(default_factory=OrderedDict)
    _others: dict[Refusal, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, refusal: Refusal) -> None:
        """Add an event, or count one: a flood of requests must not become one of events. Raises nothing."""
        with self._lock:
            due = [*self._over(), *self._counted(refusal)]
        for each, others in due:
            self._append(each, others)

    def close(self) -> None:
        """Write what was only counted so far. Raises nothing."""
        with self._lock:
            self._until.clear()
            due = self._over()
        for each, others in due:
            self._append(each, others)

    def _append(self, refusal: Refusal, others: int) -> None:
        detail = {"method": refusal.method, "code": refusal.code, "others_before": others}
        try:
            with self.store.writing() as session:
                AuditLog(session, refusal.site).append(refusal.who, "access_refused", refusal.route, detail)
        except UltraReadError as failure:
            log.error("a refused access is in no trail: %s (%s)", refusal, failure.code)

    def _over(self) -> list[tuple[Refusal, int]]:
        """Of kinds whose minute is over, the last one that was only counted, with the number before it."""
        over = [one for one in self._others if self._until.get(one, 0.0) <= time.monotonic()]
        return [(one, self._others.pop(one) - 1) for one in over]

    def _counted(self, refusal: Refusal) -> list[tuple[Refusal, int]]:
        """This one, where it is the first of its kind within the minute; else it is only counted."""
        if time.monotonic() < self._until.get(refusal, 0.0):
            self._others[refusal] = self._others.get(refusal, 0) + 1
            return []
        self._until[refusal] = time.monotonic() + EVERY_S
        while len(self._until) > REMEMBERED:
            self._until.popitem(last=False)
        return [(refusal, 0)]
