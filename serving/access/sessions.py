"""Sessions of browsers: begun with a login or token, locked when nobody is there, ended."""

import dataclasses
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from ultraread.errors import AuthInvalid, SessionLocked
from ultraread.serving.access.principal import Principal
from ultraread.serving.access.tokens import principal_of, principal_of_user
from ultraread.serving.store.access_tables import BrowserSessionRow
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.clock import utc_in, utc_now

CSRF_HEADER = "X-CSRF-Token"
NO_SESSION = "the session is unknown, over or ended"
LOCKED = "the session is locked"
_KEPT_S = 30 * 86_400.0
"""Seconds that a session's row stays after its end."""


@dataclass(frozen=True, slots=True)
class SessionRules:
    """In seconds: after which silence a session is locked, and after how long it ends."""

    idle_s: float
    longest_s: float


class Look(NamedTuple):
    """Whose session it is, and whether it is time to note that somebody is there."""

    principal: Principal
    is_due: bool


def key_of(cookie: str) -> str:
    """By what a session is found."""
    return hashlib.sha256(cookie.encode()).hexdigest()


def csrf_token_of(cookie: str) -> str:
    """Bound to the session, and known to nobody who does not have its cookie."""
    return hmac.new(cookie.encode(), b"csrf", hashlib.sha256).hexdigest()


def is_csrf_token(cookie: str, stated: str) -> bool:
    """In the same time, whatever was stated."""
    return hmac.compare_digest(csrf_token_of(cookie).encode(), stated.encode())


def begin(session: Session, who: Principal, rules: SessionRules) -> str:
    """Begin a session; return its cookie, which is new at every login: nobody can have planted it."""
    session.execute(delete(BrowserSessionRow).where(BrowserSessionRow.expires < utc_in(-_KEPT_S)))
    cookie = secrets.token_urlsafe(32)
    row = BrowserSessionRow(
        id_hash=key_of(cookie),
        site=who.site,
        user_id=who.user_id,
        token_id=who.token_id,
        expires=session.scalar(select(utc_in(rules.longest_s))),
    )
    session.add(row)
    session.flush()
    AuditLog(session, site=who.site).append(who.who, "session_begun", _person(row))
    return cookie


def look(session: Session, key: str, rules: SessionRules) -> Look:
    """Whose session it is. Raises AuthInvalid, and SessionLocked: locking is not undone by looking again."""
    row, who = _standing(session, key)
    is_idle, is_old = session.execute(select(utc_in(-rules.idle_s), utc_in(-rules.idle_s / 4))).one()
    if row.locked or row.seen <= is_idle:
        raise SessionLocked(LOCKED)
    return Look(dataclasses.replace(who, session=key), row.seen <= is_old)


def is_still_in(session: Session, who: Principal, rules: SessionRules) -> bool:
    """Whether who was let in a while ago would be let in now, as the same."""
    if who.session is None:
        return who.token_id is not None and principal_of(session, who.token_id) == who
    try:
        return look(session, who.session, rules).principal == who
    except (AuthInvalid, SessionLocked):
        return False


def note_use(session: Session, key: str) -> None:
    """Somebody is there."""
    session.execute(update(BrowserSessionRow).where(BrowserSessionRow.id_hash == key).values(seen=utc_now()))


def lock(session: Session, key: str) -> None:
    """Until somebody proves again who they are."""
    session.execute(update(BrowserSessionRow).where(BrowserSessionRow.id_hash == key).values(locked=True))


def unlock(session: Session, key: str, proved: Principal, rules: SessionRules) -> str:
    """Go on in a new session, with a new cookie, and with what the proof allows: a token may allow less.

    Raises AuthInvalid where it is somebody else's.
    """
    row, who = _standing(session, key)
    if not _is_same_person(who, proved):
        raise AuthInvalid(NO_SESSION)
    row.ended = session.scalar(select(utc_now()))
    AuditLog(session, site=who.site).append(who.who, "session_unlocked", _person(row))
    return begin(session, proved, rules)


def replace(session: Session, key: str) -> None:
    """Another session of the same browser begins: this one is over, whosever it was."""
    is_there = (BrowserSessionRow.id_hash == key) & BrowserSessionRow.ended.is_(None)
    session.execute(update(BrowserSessionRow).where(is_there).values(ended=utc_now()))


def end(session: Session, key: str, everywhere: bool) -> None:
    """End it, also where it is locked; or all sessions of the same person. Raises AuthInvalid."""
    row, who = _standing(session, key)
    ended = _of_person(row) if everywhere else BrowserSessionRow.id_hash == key
    session.execute(
        update(BrowserSessionRow).where(ended, BrowserSessionRow.ended.is_(None)).values(ended=utc_now())
    )
    detail = {"everywhere": everywhere}
    AuditLog(session, site=who.site).append(who.who, "session_ended", _person(row), detail)


def _standing(session: Session, key: str) -> tuple[BrowserSessionRow, Principal]:
    row = session.scalar(
        select(BrowserSessionRow).where(
            BrowserSessionRow.id_hash == key,
            BrowserSessionRow.ended.is_(None),
            BrowserSessionRow.expires > utc_now(),
        )
    )
    who = _principal(session, row) if row else None
    if row is None or who is None:
        raise AuthInvalid(NO_SESSION)
    return row, who


def _principal(session: Session, row: BrowserSessionRow) -> Principal | None:
    """Of a session that a token began, the token's: less than its user's, and revoked by itself."""
    if row.token_id is not None:
        return principal_of(session, row.token_id)
    return principal_of_user(session, row.user_id or "")


def _is_same_person(one: Principal, other: Principal) -> bool:
    if one.user_id is not None:
        return one.user_id == other.user_id
    return one.token_id == other.token_id


def _of_person(row: BrowserSessionRow) -> ColumnElement[bool]:
    if row.user_id is not None:
        return BrowserSessionRow.user_id == row.user_id
    return BrowserSessionRow.token_id == row.token_id


def _person(row: BrowserSessionRow) -> str:
    return row.user_id or row.token_id or ""
