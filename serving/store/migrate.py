"""Bring a database up to this version's tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

from ultraread.errors import IntegrityFailed

SCRIPTS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Run the missing migrations in one transaction; processes that start at once wait for each other."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    with _without_foreign_keys(engine) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        _refuse_dangling(connection)


@contextmanager
def _without_foreign_keys(engine: Engine) -> Iterator[Connection]:
    """SQLite makes a table anew to change it; while it is away, nothing may miss it."""
    with engine.execution_options(writes=True).connect() as connection:
        _pragma(connection, "PRAGMA foreign_keys = OFF")
        try:
            yield connection
        finally:
            _pragma(connection, "PRAGMA foreign_keys = ON")


def _pragma(connection: Connection, text: str) -> None:
    """Outside of any transaction, where alone SQLite heeds it."""
    if connection.dialect.name == "sqlite":
        cursor = connection.connection.cursor()
        cursor.execute(text)
        cursor.close()


def _refuse_dangling(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if dangling:
            raise IntegrityFailed(f"table {dangling[0][0]} refers to rows that are not there")
