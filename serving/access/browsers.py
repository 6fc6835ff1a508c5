"""Browsers that come with a cookie, as the gate sees them: who it is, locked or not."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy.orm import Session

from ultraread.errors import AuthInvalid, SessionLocked, UltraReadError
from ultraread.serving.access import sessions
from ultraread.serving.access.entrance import BELIEVED_S, remember
from ultraread.serving.access.principal import Principal
from ultraread.serving.access.sessions import SessionRules
from ultraread.serving.store.engine import Store


class Browsers:
    """One per process; shared by its threads. `store` is the service's own, of no site."""

    def __init__(self, store: Store, rules: SessionRules) -> None:
        self._store, self._rules = store, rules
        self._lock = threading.Lock()
        self._believed = OrderedDict[str, tuple[Principal, float]]()

    def known(self, cookie: str) -> Principal | None:
        """Who it is, where that was looked up within BELIEVED_S."""
        with self._lock:
            principal, until = self._believed.get(sessions.key_of(cookie), (None, 0.0))
        return principal if time.monotonic() < until else None

    def admit(self, cookie: str, is_person: bool) -> Principal:
        """Who it is; a person's request keeps the session awake, one of the page's own does not, and is not
        remembered: the next request of a person would go by unnoted.

        Raises AuthInvalid, SessionLocked.
        """
        key = sessions.key_of(cookie)
        try:
            with self._store.reading() as session:
                principal, is_due = sessions.look(session, key, self._rules)
        except SessionLocked:
            self._write(lambda session: sessions.lock(session, key))
            raise
        if is_person:
            if is_due:
                self._write(lambda session: sessions.note_use(session, key))
            with self._lock:
                remember(self._believed, key, (principal, time.monotonic() + BELIEVED_S))
        return principal

    def is_locked(self, cookie: str) -> bool:
        """Whether it is a session that waits for somebody to prove again who they are."""
        try:
            self.admit(cookie, is_person=False)
        except SessionLocked:
            return True
        except AuthInvalid:
            return False
        return False

    def forget(self, cookie: str) -> None:
        """It was ended or locked here."""
        with self._lock:
            self._believed.pop(sessions.key_of(cookie), None)

    def _write(self, change: Callable[[Session], None]) -> None:
        """A note that cannot be kept is no reason to refuse: what is idle stays so without it."""
        with suppress(UltraReadError), self._store.writing() as session:
            change(session)
