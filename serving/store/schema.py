"""Which revision a database is at, and whether this version may work with it.

Migrations only add. A version that meets newer tables, which a newer one has migrated, goes on beside it as
long as `schema_needs` does not ask for more than it knows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from ultraread.errors import SchemaTooNew
from ultraread.serving.store.operation_tables import SchemaRow
from ultraread.serving.store.outages import outages_coded

_OF_SERVER = """
    SELECT current_setting('server_version'), current_setting('server_encoding'), datcollate
    FROM pg_database WHERE datname = current_database()
"""
SCRIPTS = Path(__file__).parent / "migrations"


@cache
def known() -> tuple[str, ...]:
    """Revisions of this version, the newest first."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return tuple(one.revision for one in ScriptDirectory.from_config(config).walk_revisions())


def head() -> str:
    """The revision that this version's tables are."""
    return known()[0]


def revision(session: Session) -> str:
    """The revision that the database is at; empty where it has no tables."""
    return _revision(session.connection())


def revision_of(address: str) -> str:
    """The same of a database that is opened for it, and changed in nothing. Raises Unavailable."""
    with looking(address) as connection:
        return _revision(connection)


def refuse_too_new(address: str) -> str:
    """The same; raises SchemaTooNew where the tables ask for a newer version than this one."""
    with looking(address) as connection:
        is_newer(connection)
        return _revision(connection)


def facts_of_server(address: str) -> str:
    """Version, encoding and collation of a PostgreSQL server, for people. Raises Unavailable."""
    with looking(address) as connection:
        number, encoding, collation = connection.execute(text(_OF_SERVER)).one()
    return f"PostgreSQL {number}, {encoding}, {collation}; text compares by its bytes"


def clock_of_server(address: str) -> datetime:
    """Now, by a PostgreSQL server's clock. Raises Unavailable."""
    with looking(address) as connection:
        moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return moment


@contextmanager
def looking(address: str) -> Iterator[Connection]:
    """A connection of a database that is opened as it is: nothing is migrated. Raises Unavailable."""
    url = make_url(address)
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url, hide_parameters=True)
    try:
        with outages_coded(), engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def is_newer(connection: Connection) -> bool:
    """Whether a newer version migrated the tables. Raises SchemaTooNew where they ask for that version."""
    there = _revision(connection)
    if not there or there in known():
        return False
    oldest = connection.execute(select(SchemaRow.oldest)).scalar_one_or_none()
    if oldest not in known():
        raise SchemaTooNew(f"the tables ask for revision {oldest}; this version knows {head()}")
    return True


def _revision(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none() or "")
