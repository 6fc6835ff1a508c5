"""The database is what the tables say, however it came to be."""

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from ultraread.errors import Unavailable
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.tables import MAIN_SITE, CaseRow, Table


def test_migrating_makes_exactly_the_declared_tables(store: Store) -> None:
    with store.engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), Table.metadata)
    assert difference == []


def test_a_database_is_opened_again_with_what_was_in_it(store: Store, database_url: str) -> None:
    with store.writing() as session:
        session.add(CaseRow(id="case-1"))
    again = open_store(database_url)
    with again.reading() as session:
        assert session.get_one(CaseRow, (MAIN_SITE, "case-1")).created.endswith("Z")
    again.close()


def test_processes_that_start_at_once_migrate_once(database_url: str) -> None:
    opened: list[Store] = []
    starts = [threading.Thread(target=lambda: opened.append(open_store(database_url))) for _ in range(4)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert len(opened) == 4
    for store in opened:
        store.close()


def test_commits_survive_power_loss_and_readers_do_not_wait_for_writers(store: Store) -> None:
    names = ("journal_mode", "synchronous", "foreign_keys")
    with store.reading() as session:
        pragmas = [session.scalar(text(f"PRAGMA {name}")) for name in names]
    full = 2
    assert pragmas == ["wal", full, 1]


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    def file_half() -> None:
        with store.writing() as session:
            session.add(CaseRow(id="half"))
            session.flush()
            raise InterruptedError

    with pytest.raises(InterruptedError):
        file_half()
    with store.reading() as session:
        assert session.get(CaseRow, (MAIN_SITE, "half")) is None


def test_a_database_that_cannot_be_opened_is_an_outage_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(Unavailable):
        open_store(f"sqlite:///{tmp_path}/folder.db")


def test_a_writer_that_has_to_wait_too_long_is_told_so(store: Store, tmp_path: Path) -> None:
    with store.reading() as session:
        session.execute(text("PRAGMA busy_timeout = 10"))  # stays with the pooled connection
    other = sqlite3.connect(tmp_path / "ultraread.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="SQLITE_BUSY"), store.writing() as session:
        session.execute(text("DELETE FROM cases"))
    other.close()
