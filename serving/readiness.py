"""Whether the service can do its work now, and if not, what keeps it: for load balancers and people.

Anybody may ask, so nothing here names a path, a host, a site or a person.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from ultraread.errors import UltraReadError, Unavailable
from ultraread.serving.audit.checkpoint_file import lacks_newest, refuse_unwritable
from ultraread.serving.decoding.pool import DecodingPool
from ultraread.serving.draining import draining_of
from ultraread.serving.live_models import versions_to_start_with
from ultraread.serving.model_registry import open_registry
from ultraread.serving.settings import Settings
from ultraread.serving.storage.places import target_at
from ultraread.serving.store import workers
from ultraread.serving.store.engine import Store
from ultraread.serving.store.facts import clock_of, waiting
from ultraread.serving.store.schema import head, revision

BELIEVED_S = 2.0
"""An answer holds that long: whoever may ask may ask often."""
COSTLY_BELIEVED_S = 15.0
"""Of what costs a request elsewhere, or a process."""
PATIENCE_S = 5.0
"""Who asks while others look waits no longer: what hangs must not take every thread of the service."""
LOOKS = (
    "draining", "database", "schema", "clock", "disk", "storage", "decoding", "runners", "models", "outbox",
    "audit",
)  # fmt: skip
APPENDED_WITHIN_S = 60.0
"""From a signature to the line of the file that tells of it, replicas that take turns included."""
SEE_LOG = "Wait a minute; then see the service's log."
ASK_DOCTOR = "Run `ultraread doctor` on the machine."
SIGN_AGAIN = "Run `ultraread audit sign` on the machine."


class NotReady(Exception):
    """What is wrong, and what to do."""

    def __init__(self, told: str, remedy: str) -> None:
        super().__init__(told)
        self.told, self.remedy = told, remedy


@dataclass(frozen=True, slots=True)
class Look:
    """One thing that was looked at."""

    name: str
    ok: bool
    told: str = ""
    remedy: str = ""


class Readiness:
    """Looks at everything, at most every BELIEVED_S; threads share one."""

    def __init__(self, settings: Settings, store: Store, decoding: DecodingPool) -> None:
        self._settings, self._store = settings, store
        self._lock = threading.Lock()
        self._looking_at = LOOKS[0]
        self._last: tuple[float, list[Look]] = (-BELIEVED_S, [])
        self._storage = _Remembered(lambda: target_at(settings.slides_place).check(), COSTLY_BELIEVED_S)
        self._decoding = _Remembered(decoding.check, COSTLY_BELIEVED_S)

    def looks(self) -> list[Look]:
        """Every check, in an order in which a failing one explains what follows; one that hangs, alone."""
        if not self._lock.acquire(timeout=PATIENCE_S):
            return [Look(self._looking_at, False, f"no answer in {PATIENCE_S:g} s", ASK_DOCTOR)]
        try:
            if time.monotonic() - self._last[0] >= BELIEVED_S or self._draining():
                self._last = (time.monotonic(), list(self._all()))
            return self._last[1]
        finally:
            self._lock.release()

    def _draining(self) -> bool:
        return draining_of(self._settings).is_on

    def _all(self) -> Iterator[Look]:
        checks: tuple[Callable[[], None], ...] = (
            self._refuse_draining, self._database, self._schema, self._clock, self._disk, self._storage,
            self._decoding, self._runners, self._models, self._outbox, self._audit,
        )  # fmt: skip
        for name, check in zip(LOOKS, checks, strict=True):
            self._looking_at = name
            yield _look(name, check)

    def _refuse_draining(self) -> None:
        if self._draining():
            raise NotReady("the service is stopping", "Wait for the next start.")

    def _database(self) -> None:
        with self._store.reading() as session:
            clock_of(session)

    def _schema(self) -> None:
        with self._store.reading() as session:
            there = revision(session)
        if there < head():
            raise NotReady(
                "the tables are older than this version", "Run `ultraread db upgrade`, or restart."
            )

    def _clock(self) -> None:
        with self._store.reading() as session:
            skew_s = abs((clock_of(session) - datetime.now(UTC)).total_seconds())
        if skew_s > self._settings.largest_clock_skew_s:
            raise NotReady(
                f"this clock and the database's differ by {skew_s:.0f} s", "Let both follow one time server."
            )

    def _disk(self) -> None:
        free = shutil.disk_usage(self._settings.data_dir).free
        if free < self._settings.least_free_bytes:
            raise NotReady(f"{free >> 20} MiB of disk are free", "Free some, or lower least_free_bytes.")

    def _runners(self) -> None:
        with self._store.reading() as session:
            if not any(row.deployment == "Runner" for row in workers.there(session)):
                raise NotReady("nobody takes reads from the queue", SEE_LOG)

    def _models(self) -> None:
        with self._store.reading() as session:
            live = {ref for row in workers.there(session) for ref in row.body.get("live", [])}
        wanted = {row.ref for row in versions_to_start_with(open_registry(self._settings, self._store))}
        if missing := wanted - live:
            raise NotReady(f"{len(missing)} model versions are not up", SEE_LOG)

    def _outbox(self) -> None:
        with self._store.reading() as session:
            behind = waiting(session, clock_of(session))
        late = [kind for kind, one in behind.items() if one.oldest_s > self._settings.oldest_outbox_s]
        if late:
            raise NotReady(
                f"not told for long: {', '.join(sorted(late))}", "See whether the other side answers."
            )

    def _audit(self) -> None:
        if self._settings.audit_key_file is None:
            return
        file = self._settings.checkpoint_file
        try:
            refuse_unwritable(file)
        except Unavailable as failure:
            raise NotReady("audit_checkpoint_file cannot be written", ASK_DOCTOR) from failure
        with self._store.reading() as session:
            if lacks_newest(file, session, APPENDED_WITHIN_S):
                raise NotReady("audit_checkpoint_file lacks what was signed last", SIGN_AGAIN)


class _Remembered:
    """A check that costs much: its answer holds for a while."""

    def __init__(self, check: Callable[[], object], believed_s: float) -> None:
        self._check, self._believed_s = check, believed_s
        self._asked = -believed_s
        self._failure: UltraReadError | None = None

    def __call__(self) -> None:
        if time.monotonic() - self._asked >= self._believed_s:
            self._failure = None
            try:
                self._check()
            except UltraReadError as failure:
                self._failure = failure
            self._asked = time.monotonic()
        if self._failure is not None:
            raise self._failure


def _look(name: str, check: Callable[[], None]) -> Look:
    """Errors of other rooms may name a place: their code tells enough."""
    try:
        check()
    except NotReady as not_ready:
        return Look(name, False, not_ready.told, not_ready.remedy)
    except UltraReadError as error:
        return Look(name, False, error.code, ASK_DOCTOR)
    except Exception as failure:  # of a driver or a library: its name tells enough, too
        return Look(name, False, type(failure).__name__, ASK_DOCTOR)
    return Look(name, True)
