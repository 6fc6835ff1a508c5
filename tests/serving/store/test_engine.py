"""The database is what the tables say, however it came to be."""

import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgres import Postgres
from sqlalchemy import func, select, text

from ultraread.errors import DatabaseUnreachable, RequestInvalid, Unavailable
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.tables import MAIN_SITE, CaseRow, ModelRow, Table


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


def test_processes_that_start_at_once_migrate_once(empty_url: str) -> None:
    opened: list[Store] = []
    starts = [threading.Thread(target=lambda: opened.append(open_store(empty_url))) for _ in range(4)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert len(opened) == 4
    for store in opened:
        store.close()


def test_commits_of_sqlite_survive_power_loss_and_readers_do_not_wait_for_writers(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/ultraread.db")
    names = ("journal_mode", "synchronous", "foreign_keys")
    with store.reading() as session:
        pragmas = [session.scalar(text(f"PRAGMA {name}")) for name in names]
    full = 2
    assert pragmas == ["wal", full, 1]
    store.close()


def test_files_of_sqlite_are_for_their_owner_alone_those_of_before_too(tmp_path: Path) -> None:
    file = tmp_path / "ultraread.db"
    file.touch(0o644)
    store = open_store(f"sqlite:///{file}")
    with store.writing() as session:
        session.add(CaseRow(id="case-1"))
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
    assert modes == {"ultraread.db": 0o600, "ultraread.db-shm": 0o600, "ultraread.db-wal": 0o600}
    store.close()


def test_who_reads_sees_one_moment_while_others_write(store: Store) -> None:
    cases = select(func.count()).select_from(CaseRow)
    with store.reading() as session:
        assert session.scalar(cases) == 0
        with store.writing() as other:
            other.add(CaseRow(id="case-1"))
        assert session.scalar(cases) == 0


def test_writers_wait_for_each_other_and_lose_nothing(store: Store) -> None:
    with store.writing() as session:
        session.add(ModelRow(name="vnc"))

    def count_up() -> None:
        for _ in range(10):
            with store.writing() as session:
                row = session.get_one(ModelRow, "vnc")
                row.revision = row.revision + 1

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as session:
        assert session.get_one(ModelRow, "vnc").revision == 40


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


def test_a_writer_of_sqlite_that_has_to_wait_too_long_is_told_so(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/ultraread.db")
    with store.reading() as session:
        session.execute(text("PRAGMA busy_timeout = 10"))  # stays with the pooled connection
    other = sqlite3.connect(tmp_path / "ultraread.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnreachable, match="SQLITE_BUSY"), store.writing() as session:
        session.execute(text("DELETE FROM cases"))
    other.close()
    store.close()


def test_a_writer_of_postgresql_that_has_to_wait_too_long_is_told_so(postgres_url: str) -> None:
    patient, hasty = open_store(postgres_url), open_store(postgres_url + "?options=-c%20lock_timeout%3D20")
    with patient.writing() as session:
        session.add(CaseRow(id="case-1"))
        session.flush()
        with pytest.raises(DatabaseUnreachable, match="55P03"), hasty.writing() as other:
            other.add(CaseRow(id="case-2"))
    patient.close()
    hasty.close()


def test_a_server_that_stops_is_an_outage_with_a_code_and_is_found_again(
    postgres: Postgres, postgres_url: str
) -> None:
    store = open_store(postgres_url)
    with store.writing() as session:
        session.add(CaseRow(id="case-1"))
    postgres.stop()
    try:
        for _ in range(2):  # with a connection that was open, and with a new one
            with pytest.raises(DatabaseUnreachable) as outage, store.writing() as session:
                session.add(CaseRow(id="case-2"))
            assert (outage.value.code, outage.value.http_status) == ("database_unreachable", 503)
    finally:
        postgres.start()
    with store.reading() as session:
        assert session.scalars(select(CaseRow.id)).all() == ["case-1"]
    store.close()


@pytest.mark.parametrize("address", ["mysql://me:secret@host/reads", "secret", ""])
def test_an_address_of_another_database_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        open_store(address)
    assert "secret" not in f"{refused.value}{refused.value.remedy}"


def test_text_compares_by_its_bytes_whatever_language_the_database_speaks(postgres: Postgres) -> None:
    """Of ids and times the order counts; German would put `a` before `B`."""
    made = "CREATE DATABASE german TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-DE'"
    with postgres.connect() as session:
        session.execute(made)
    try:
        store = open_store(postgres.url("german"))
        with store.writing() as session:
            session.add_all(CaseRow(id=name) for name in ("a", "B", "ä", "C"))
        with store.reading() as session:
            assert session.scalars(select(CaseRow.id).order_by(CaseRow.id)).all() == ["B", "C", "a", "ä"]
            other = select(func.count()).select_from(text(_NOT_BYTEWISE))
            assert session.scalar(other) == 0
        store.close()
    finally:
        with postgres.connect() as session:
            session.execute("DROP DATABASE german WITH (FORCE)")


_NOT_BYTEWISE = """
    (SELECT 1 FROM information_schema.columns WHERE table_schema = 'public'
     AND (data_type = 'integer' OR (data_type = 'character varying' AND collation_name IS DISTINCT FROM 'C'))
    ) AS found
"""
