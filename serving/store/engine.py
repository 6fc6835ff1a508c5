"""The database, SQLite or PostgreSQL: how it is opened, and its two kinds of transaction."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError as SqliteError
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from ultraread.errors import RequestInvalid
from ultraread.serving.store.boot_clock import BootClock
from ultraread.serving.store.migrate import MIGRATES, WRITER_LOCK, as_on_sqlite, migrate
from ultraread.serving.store.network_fs import refuse_network_fs
from ultraread.serving.store.outages import outages_coded
from ultraread.serving.store.scope import keep_to_site
from ultraread.serving.store.stored import keep_changed_records

_TO_WAL, _TO_WAL_S, _LOCKED_S = "PRAGMA journal_mode = WAL", 10.0, 0.02
_PRAGMAS = (
    "PRAGMA busy_timeout = 10000",  # milliseconds
    "PRAGMA synchronous = FULL",  # NORMAL would be 0.6 ms faster and may lose the last commits with the power
    "PRAGMA foreign_keys = ON",
)
_CONNECTIONS = {"pool_size": 5, "max_overflow": 45, "pool_timeout": 10}
"""More than the threads that a process answers requests with."""
_POSTGRES_CONNECTION = {
    "connect_timeout": 5,  # seconds, as are those of keepalives
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10000,  # milliseconds, as are the following: what was sent has to be received by then
    "options": "-c lock_timeout=10000 -c statement_timeout=60000 -c idle_in_transaction_session_timeout=30000"
    " -c timezone=UTC",
    "application_name": "ultraread",
}
_POSTGRES_DRIVERS = ("postgresql", "postgres", "postgresql+psycopg")


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
        viewer = self.engine if self._is_sqlite else self.engine.execution_options(**_ONE_VIEW)
        with outages_coded(), Session(viewer, expire_on_commit=False) as session:
            keep_to_site(session, self.site)
            yield session

    @contextmanager
    def writing(self, alone: bool = True) -> Iterator[Session]:
        """One transaction, alone with the right to write from its first statement on.

        On PostgreSQL others may write beside it where it is not `alone`: for transactions that lock the one
        row that they are about, and nothing else. SQLite has one writer anyway.
        Raises StorageFull where there is no room, DatabaseUnreachable where the database does not answer.
        """
        writer = self.engine.execution_options(writes=True, alone=alone)
        with outages_coded(), Session(writer, expire_on_commit=False) as session, session.begin():
            keep_to_site(session, self.site)
            event.listen(session, "after_flush", keep_changed_records)
            yield session

    def close(self) -> None:
        self.engine.dispose()

    @property
    def _is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"


_ONE_VIEW = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def open_store(address: str) -> Store:
    """Open the database, make a file where there is none, and bring its tables up to this version.

    Raises SqliteOnNetworkFs; RequestInvalid for an address that is neither SQLite's nor PostgreSQL's.
    """
    url = url_of(address)
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url)
    with outages_coded(), closing(Store(as_on_sqlite(_postgres(url)))) as made:
        migrate(made.engine)
    return Store(_postgres(url))


def _postgres(url: URL) -> Engine:
    connection: dict[str, Any] = {**_POSTGRES_CONNECTION, **url.query}
    engine = _engine(url.set(query={}), pool_pre_ping=True, connect_args=connection)
    event.listen(engine, "begin", _begin_on_postgres)
    return engine


def _open_sqlite(url: URL) -> Store:
    file = Path(url.database or ".").absolute()
    refuse_network_fs(file.parent)
    engine, clock = _engine(url), BootClock()

    def prepare(connection: SqliteConnection, _record: object) -> None:
        with suppress(PermissionError):  # it belongs to somebody else, who decides that
            file.chmod(0o600)  # before anything is in it; SQLite gives its other files the same
        connection.isolation_level = None  # sqlite3 would begin transactions by its own rules
        clock.install(connection)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        _switch_to_wal(connection)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin_on_sqlite)
    with outages_coded():
        migrate(engine)
    store = Store(engine)
    with store.writing() as session:
        clock.set_by(session)
    return store


def _switch_to_wal(connection: SqliteConnection) -> None:
    """Of several that switch a new file at once, SQLite refuses some without waiting: they ask again."""
    until = time.monotonic() + _TO_WAL_S
    while True:
        try:
            connection.execute(_TO_WAL)
        except SqliteError as locked:
            if not locked.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                raise
            time.sleep(_LOCKED_S)
        else:
            return


def _engine(url: URL, **options: Any) -> Engine:  # noqa: ANN401  # what SQLAlchemy takes
    """Parameters of statements stay out of errors: those get logged."""
    return create_engine(url, hide_parameters=True, **_CONNECTIONS, **options)


def url_of(address: str) -> URL:
    """Raises RequestInvalid, as `open_store` does."""
    try:
        url = make_url(address)
    except ArgumentError:
        url = URL.create("none")  # without its cause, which would show the address
    if url.drivername in _POSTGRES_DRIVERS:
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "sqlite":
        raise RequestInvalid(
            "the database's address is neither SQLite's nor PostgreSQL's",
            "Set database_url to postgresql://USER:PASSWORD@HOST/DATABASE.",
        )
    return url


def _begin_on_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_on_postgres(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get(MIGRATES, False):
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    if options.get("writes", False) and options.get("alone", True):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")
