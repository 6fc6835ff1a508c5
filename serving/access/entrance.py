"""Who comes in: proves tokens, and remembers what it proved, but not for long what it means."""

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TypeVar

from ultraread.errors import AuthInvalid, UltraReadError
from ultraread.serving.access.principal import Principal
from ultraread.serving.access.secret import is_proved, prefix_of
from ultraread.serving.access.tokens import find_by_prefix, note_use, principal_of
from ultraread.serving.store.engine import Store

Key = TypeVar("Key")
Value = TypeVar("Value")

NOT_VALID = "the token is unknown, over or revoked"
BELIEVED_S = 1.0
"""How long a principal holds without another look: what is revoked is out after that."""
USE_S = 60.0
"""Seconds between two notes of a token's use."""
REMEMBERED = 4096
PROOFS_AT_ONCE = 2
"""A proof takes a core and 19 MiB: whoever sends forged tokens gets no more than this."""


class Entrance:
    """One per process; shared by its threads. `store` is the service's own, of no site."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._proving = threading.Semaphore(PROOFS_AT_ONCE)
        self._proved = OrderedDict[bytes, str]()
        self._believed = OrderedDict[str, tuple[Principal, float]]()
        self._noted = OrderedDict[str, float]()

    def known(self, token: str) -> Principal | None:
        """Who it is, where that was looked up just now; touches neither database nor hash."""
        with self._lock:
            principal, until = self._believed.get(self._proved.get(self._digest(token), ""), (None, 0.0))
        return principal if time.monotonic() < until else None

    def admit(self, token: str) -> Principal:
        """Who it is. Raises AuthInvalid with the same words, after the same time, whatever is wrong."""
        token_id = self._proof(token)
        with self._store.reading() as session:
            principal = principal_of(session, token_id) if token_id else None
        if token_id is None or principal is None:
            self._forget(token)
            raise AuthInvalid(NOT_VALID)
        self._believe(token_id, principal)
        self._note(token_id)
        return principal

    def _proof(self, token: str) -> str | None:
        """The token's id; None where it is no token of ours."""
        digest = self._digest(token)
        with self._lock:
            if digest in self._proved:
                self._proved.move_to_end(digest)
                return self._proved[digest]
        with self._store.reading() as session:
            row = find_by_prefix(session, prefix_of(token))
        with self._proving:
            proved = is_proved(token, row.hash if row else None)
        if row is None or not proved:
            return None
        with self._lock:
            remember(self._proved, digest, row.id)
        return row.id

    def _forget(self, token: str) -> None:
        """So that a token which is over takes as long again as one that never was."""
        with self._lock:
            self._proved.pop(self._digest(token), None)

    def _note(self, token_id: str) -> None:
        """Keep that it was used; a note that cannot be kept is no reason to refuse."""
        with self._lock:
            is_due = time.monotonic() >= self._noted.get(token_id, 0.0)
            if is_due:
                remember(self._noted, token_id, time.monotonic() + USE_S)
        if is_due:
            with suppress(UltraReadError), self._store.writing() as session:
                note_use(session, token_id, USE_S)

    def _believe(self, token_id: str, principal: Principal) -> None:
        with self._lock:
            remember(self._believed, token_id, (principal, time.monotonic() + BELIEVED_S))

    def _digest(self, token: str) -> bytes:
        """What memory holds instead of the token."""
        return hmac.digest(self._key, token.encode(), hashlib.sha256)


def remember(kept: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    """Keep at most REMEMBERED, those that were kept last."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > REMEMBERED:
        kept.popitem(last=False)
