"""The database: how it is opened, and its two kinds of transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from sqlite3 import Connection as SqliteConnection

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from ultraread.errors import StorageFull, UltraReadError, Unavailable
from ultraread.serving.store.migrate import migrate
from ultraread.serving.store.scope import keep_to_site
from ultraread.serving.store.stored import keep_changed_records

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA busy_timeout = 10000",  # milliseconds
    "PRAGMA synchronous = FULL",  # NORMAL would be 0.6 ms faster and may lose the last commits with the power
    "PRAGMA foreign_keys = ON",
)
_OUT_OF_REACH = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_READONLY")


@dataclass(frozen=True, slots=True)
class Store:
    """Opens transactions. Threads may share one, processes open their own.

    With a `site`, its sessions see, change and add only what belongs to that site: see `store/scope.py`.
    """

    engine: Engine
    site: str | None = None

    def of_site(self, site: str) -> "Store":
        """The same database, seen by one site."""
        return replace(self, site=site)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view; what is changed in it is not kept."""
        with _outages_coded(), Session(self.engine, expire_on_commit=False) as session:
            keep_to_site(session, self.site)
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction, alone with the right to write from its first statement on.

        Raises StorageFull where there is no room, Unavailable where the database cannot be reached.
        """
        writer = self.engine.execution_options(writes=True)
        with _outages_coded(), Session(writer, expire_on_commit=False) as session, session.begin():
            keep_to_site(session, self.site)
            event.listen(session, "after_flush", keep_changed_records)
            yield session

    def close(self) -> None:
        self.engine.dispose()


def open_store(database_url: str) -> Store:
    """Open the database, make it where there is none, and bring its tables up to this version."""
    engine = create_engine(database_url, hide_parameters=True)  # of statements, in errors: those get logged
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin)
    with _outages_coded():
        migrate(engine)
    return Store(engine)


def _prepare_connection(connection: SqliteConnection, _record: object) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions by its own rules
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _outages_coded() -> Iterator[None]:
    try:
        yield
    except OperationalError as failure:
        coded = _coded(getattr(failure.orig, "sqlite_errorname", ""))
        raise coded or failure from failure


def _coded(sqlite_error: str) -> UltraReadError | None:
    if sqlite_error == "SQLITE_FULL":
        return StorageFull("the database has no room to write")
    if sqlite_error.startswith(_OUT_OF_REACH):
        return Unavailable(
            f"the database does not answer ({sqlite_error})", "Try again; see the service's log."
        )
    return None
