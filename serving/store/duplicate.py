"""All rows of a database in another one, whichever kind either is."""

from pathlib import Path

from sqlalchemy import JSON, Connection, LargeBinary, MetaData, Table, delete, insert, select, text

from ultraread.serving.store.engine import Store, open_store

AT_ONCE = 1000
VERSION = "alembic_version"


def copy_to_file(store: Store, file: Path) -> None:
    """Make a SQLite database of what stands in the store at one moment.

    Raises StorageFull, DatabaseUnreachable.
    """
    copy = open_store(f"sqlite:///{file}")
    try:
        with store.reading() as here, copy.writing() as there:
            copy_rows(here.connection(), there.connection())
    finally:
        copy.close()


def copy_rows(source: Connection, target: Connection) -> None:
    """Put the rows of every table where those of a database that was just migrated stand."""
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
    at_once = 1 if any(isinstance(column.type, LargeBinary) for column in our.columns) else AT_ONCE
    for rows in source.execute(select(their)).mappings().partitions(at_once):
        target.execute(insert(our), [dict(row) for row in rows])
