"""One migrated database for many tests: emptied for each, which takes a tenth of making one."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from ultraread.serving.store.engine import open_store

_TRUNCATE = sql.SQL("TRUNCATE {} RESTART IDENTITY")
_PUT_BACK = sql.SQL("INSERT INTO {} TABLE {}")
_KEEP = sql.SQL("CREATE TABLE {} AS TABLE {}")


@dataclass(frozen=True, slots=True)
class UsedDatabase:
    """`kept` of its schemas holds the rows that migrations leave in some of the tables."""

    url: str
    tables: tuple[str, ...]
    with_rows: tuple[str, ...]

    def clear(self) -> None:
        """As it was migrated. The audit trail's triggers are passed by, as only a superuser can."""
        with psycopg.connect(self.url.replace("+psycopg", "")) as session:
            session.execute("SET session_replication_role = replica")
            session.execute(_TRUNCATE.format(sql.SQL(", ").join(map(sql.Identifier, self.tables))))
            for table in self.with_rows:
                session.execute(_PUT_BACK.format(sql.Identifier(table), sql.Identifier("kept", table)))


def migrated(url: str) -> UsedDatabase:
    """Bring an empty database up to this version's tables, and remember what stands in them."""
    open_store(url).close()
    with psycopg.connect(url.replace("+psycopg", "")) as session:
        found = session.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        tables = tuple(str(name) for (name,) in found)
        session.execute("CREATE SCHEMA kept")
        with_rows = tuple(table for table in tables if _keep(session, table))
    return UsedDatabase(url, tables, with_rows)


def _keep(session: "psycopg.Connection[tuple[object, ...]]", table: str) -> bool:
    return session.execute(_KEEP.format(sql.Identifier("kept", table), sql.Identifier(table))).rowcount > 0
