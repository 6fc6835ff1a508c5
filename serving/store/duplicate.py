"""All rows of a database in another one, whichever kind either is."""

from contextlib import closing
from pathlib import Path

from sqlalchemy import (
    JSON,
    Connection,
    Exists,
    LargeBinary,
    MetaData,
    Table,
    cast,
    delete,
    exists,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import REGCLASS

from ultraread.errors import OutputExists
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.schema import looking

AT_ONCE = 1000
VERSION = "alembic_version"
FROM_MIGRATIONS = {"boots", "schema_needs", "sites"}
"""Tables in which an installation that was never used has rows."""


def copy_to_file(store: Store, file: Path) -> None:
    """Make a SQLite database of what stands in the store at one moment.

    Raises StorageFull, DatabaseUnreachable.
    """
    with closing(open_store(f"sqlite:///{file}")) as copy, store.reading() as here, copy.writing() as there:
        copy_rows(here.connection(), there.connection())


def copy_from_file(file: Path, address: str) -> None:
    """Fill an empty database with what stands in a SQLite one, in one transaction; it counts on from there.

    Raises OutputExists where rows are there, StorageFull, DatabaseUnreachable.
    """
    with (
        closing(open_store(f"sqlite:///{file}")) as copy,
        closing(open_store(address)) as store,
        copy.reading() as here,
        store.writing() as there,
    ):
        _refuse_rows(there.connection())
        copy_rows(here.connection(), there.connection())
        _count_on(there.connection())


def refuse_rows(address: str) -> None:
    """Raise OutputExists where anything but a migration has written rows; change nothing."""
    with looking(address) as connection:
        _refuse_rows(connection)


def copy_rows(source: Connection, target: Connection) -> None:
    """Put the rows of every table where those of a database that was just migrated stand."""
    if target.dialect.name == "sqlite":
        target.execute(text("PRAGMA defer_foreign_keys = ON"))
    theirs, ours = _tables(source), _tables(target)
    for table in reversed(ours.sorted_tables):
        target.execute(delete(table))
    for table in ours.sorted_tables:
        if table.name in theirs.tables:
            _copy(source, target, theirs.tables[table.name], table)


def _tables(connection: Connection) -> MetaData:
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name != VERSION and not name.startswith("sqlite_"))
    for table in found.tables.values():
        for column in table.columns:
            if isinstance(column.type, JSON):
                column.type.none_as_null = True
    return found


def _copy(source: Connection, target: Connection, their: Table, our: Table) -> None:
    """By their keys: a row of a table that refers to itself comes after the one that it refers to."""
    at_once = 1 if any(isinstance(column.type, LargeBinary) for column in our.columns) else AT_ONCE
    ordered = select(their).order_by(*their.primary_key.columns)
    with source.execute(ordered, execution_options={"yield_per": at_once}) as found:
        for rows in found.mappings().partitions():
            target.execute(insert(our), [dict(row) for row in rows])


def _refuse_rows(connection: Connection) -> None:
    tables = (table for name, table in _tables(connection).tables.items() if name not in FROM_MIGRATIONS)
    filled = [table.name for table in tables if connection.scalar(select(_has_rows(table)))]
    if filled:
        raise OutputExists(
            f"the database is not empty: {', '.join(sorted(filled)[:5])}",
            "Restore into one that was just created.",
        )


def _has_rows(table: Table) -> Exists:
    return exists(select(text("1")).select_from(table))


def _count_on(connection: Connection) -> None:
    """What PostgreSQL numbers by itself goes on after the largest number; SQLite sees to that alone."""
    if connection.dialect.name != "postgresql":
        return
    for table in _tables(connection).tables.values():
        for column in table.primary_key.columns:
            counter = connection.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
            if counter is not None:
                last = select(func.max(column)).scalar_subquery()
                put = func.setval(cast(counter, REGCLASS), func.coalesce(last, 1), last.is_not(None))
                connection.execute(select(put))
