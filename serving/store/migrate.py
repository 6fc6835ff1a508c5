"""Bring a database up to this version's tables."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

from ultraread.errors import IntegrityFailed, RequestInvalid
from ultraread.serving.store.schema import SCRIPTS, is_newer

MIGRATES = "migrates"
"""Option of a connection that may wait as long as it takes."""
WRITER_LOCK = 7_385_204_181
"""Of PostgreSQL's advisory locks the one that whoever writes, or migrates, holds alone."""


def migrate(engine: Engine) -> None:
    """Run the missing migrations in one transaction; processes that start at once wait for each other.

    Tables of a newer version are left as they are. Raises SchemaTooNew where they need that version.
    """
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    with _without_foreign_keys(engine) as connection, connection.begin():
        if is_newer(connection):
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if connection.dialect.name == "sqlite":
            _refuse_dangling(connection)
        else:
            _as_on_sqlite(connection)


@contextmanager
def _without_foreign_keys(engine: Engine) -> Iterator[Connection]:
    """SQLite makes a table anew to change it; while it is away, nothing may miss it."""
    with engine.execution_options(writes=True, **{MIGRATES: True}).connect() as connection:
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
    dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if dangling:
        raise IntegrityFailed(f"table {dangling[0][0]} refers to rows that are not there")


def _as_on_sqlite(connection: Connection) -> None:
    """Text compares by its bytes, whatever the database's language, and numbers have 64 bits.

    Ids and times are text whose order counts; sizes of slides need more than 32 bits.
    """
    if connection.exec_driver_sql("SHOW server_encoding").scalar_one() != "UTF8":
        raise RequestInvalid("the database does not keep text as UTF-8", "CREATE DATABASE ... ENCODING 'UTF8'.")
    for table, column, kind in connection.exec_driver_sql(_COLUMNS_TO_CHANGE).all():
        named = f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE'
        connection.exec_driver_sql(f'{named} {"bigint" if kind == "integer" else _BYTEWISE}')


_BYTEWISE = 'varchar COLLATE "C"'
_COLUMNS_TO_CHANGE = """
    SELECT table_name, column_name, data_type FROM information_schema.columns
    JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'
    AND (data_type = 'integer' OR (data_type = 'character varying' AND collation_name IS DISTINCT FROM 'C'))
    ORDER BY table_name, column_name
"""
