"""Bring a database up to this version's tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Column, Connection, Engine, Integer, String
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler, PGTypeCompiler

from ultraread.errors import IntegrityFailed, RequestInvalid
from ultraread.serving.store.schema import SCRIPTS, is_newer

MIGRATES = "migrates"
"""Option of a connection that may wait as long as it takes."""
WRITER_LOCK = 7_385_204_181
"""Of PostgreSQL's advisory locks the one that whoever writes, or migrates, holds alone."""

_ONE_THREAD = Lock()
"""Alembic keeps what it migrates in a variable of its module."""


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
        if connection.dialect.name == "postgresql":
            _refuse_other_encodings(connection)
        with _ONE_THREAD:
            command.upgrade(config, "head")
        if connection.dialect.name == "sqlite":
            _refuse_dangling(connection)


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


def _refuse_other_encodings(connection: Connection) -> None:
    if connection.exec_driver_sql("SHOW server_encoding").scalar_one() != "UTF8":
        raise RequestInvalid(
            "the database does not keep text as UTF-8", "CREATE DATABASE ... ENCODING 'UTF8'."
        )


class _Ddl(PGDDLCompiler):
    """What counts itself up has 64 bits, too."""

    def get_column_specification(self, column: "Column[Any]", **options: Any) -> str:  # noqa: ANN401
        stated: Any = super()
        return str(stated.get_column_specification(column, **options)).replace(" SERIAL", " BIGSERIAL")


class _AsOnSqlite(PGTypeCompiler):
    """How columns are made: text compares by its bytes, whatever the database's language; 64 bits a number.

    Ids and times are text whose order counts; sizes of slides need more than 32 bits.
    """

    def visit_VARCHAR(self, type_: String, **options: Any) -> str:  # noqa: ANN401, N802  # SQLAlchemy's name
        return f'{super().visit_VARCHAR(type_, **options)} COLLATE "C"'

    def visit_INTEGER(self, type_: Integer, **options: Any) -> str:  # noqa: ANN401, N802  # SQLAlchemy's name
        return "BIGINT"


def as_on_sqlite(engine: Engine) -> Engine:
    """An engine of PostgreSQL from now on makes columns that behave as SQLite's do; for migrations alone."""
    engine.dialect.type_compiler_instance = _AsOnSqlite(engine.dialect)
    engine.dialect.ddl_compiler = _Ddl
    return engine
