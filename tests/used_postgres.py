"""One migrated database for many tests: emptied for each, which takes a tenth of making one."""

from dataclasses import dataclass

import psycopg

from ultraread.serving.store.engine import open_store


@dataclass(frozen=True, slots=True)
class UsedDatabase:
    """`kept` of its schemas holds the rows that migrations leave."""

    url: str
    tables: tuple[str, ...]

    def clear(self) -> None:
        """As it was migrated. The audit trail's triggers are passed by, as only a superuser can."""
        with psycopg.connect(self.url.replace("+psycopg", "")) as session:
            session.execute("SET session_replication_role = replica")
            session.execute(f"TRUNCATE {', '.join(self.tables)} RESTART IDENTITY".encode())
            for table in self.tables:
                session.execute(f"INSERT INTO {table} SELECT * FROM kept.{table}".encode())


def migrated(url: str) -> UsedDatabase:
    """Bring an empty database up to this version's tables, and remember what stands in them."""
    open_store(url).close()
    with psycopg.connect(url.replace("+psycopg", "")) as session:
        found = session.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        tables = tuple(f"{name}" for (name,) in found)
        session.execute("CREATE SCHEMA kept")
        for table in tables:
            session.execute(f"CREATE TABLE kept.{table} AS TABLE public.{table}".encode())
    return UsedDatabase(url, tables)
