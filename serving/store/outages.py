"""What a database's errors mean to whoever asked."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from ultraread.errors import DatabaseUnreachable, StorageFull, UltraReadError

_SQLITE_FULL = "SQLITE_FULL"
_SQLITE_OUTAGES = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_READONLY")
_POSTGRES_FULL = "53100"
_POSTGRES_OUTAGES = (
    "08",  # the connection broke
    "25006",  # read-only: a standby, or a server that is being handed over
    "25P03",  # the session slept in a transaction and was ended
    "28",  # the server does not take this user or password
    "3D000",  # no such database
    "40",  # serialization failure, deadlock
    "53",  # no connections or memory left
    "55P03",  # a lock was waited for too long
    "57",  # the server stops, starts, or ended the statement
    "58",  # the server's disk or files
)
"""SQLSTATEs, or what they begin with (PostgreSQL's documentation, appendix A)."""


@contextmanager
def outages_coded() -> Iterator[None]:
    """Raise StorageFull where there is no room, DatabaseUnreachable where the database does not answer."""
    try:
        yield
    except DBAPIError as failure:
        coded = _coded(failure)
        if coded is None:
            raise
        raise coded from failure
    except NoConnectionFree as failure:
        raise _unreachable("all connections are in use") from failure


def _coded(failure: DBAPIError) -> UltraReadError | None:
    sqlite_error: str = getattr(failure.orig, "sqlite_errorname", "")
    state: str | None = getattr(failure.orig, "sqlstate", None)
    if sqlite_error == _SQLITE_FULL or state == _POSTGRES_FULL:
        return StorageFull("the database has no room to write")
    if isinstance(failure.orig, sqlite3.Error):  # text that is no UTF-8 has no name: damage, not an outage
        return _unreachable(sqlite_error) if sqlite_error.startswith(_SQLITE_OUTAGES) else None
    if state:
        return _unreachable(state) if state.startswith(_POSTGRES_OUTAGES) else None
    lost = failure.connection_invalidated or isinstance(failure, OperationalError | InterfaceError)
    return _unreachable("no connection") if lost else None


def _unreachable(why: str) -> DatabaseUnreachable:
    return DatabaseUnreachable(f"the database does not answer ({why})")
