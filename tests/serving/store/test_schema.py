"""A version beside tables that a newer one migrated goes on where they only have more, else it refuses."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from ultraread.errors import SchemaTooNew
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.operation_tables import SchemaRow
from ultraread.serving.store.schema import head, known, refuse_too_new, revision, revision_of


@pytest.fixture
def store(empty_url: str) -> Iterator[Store]:
    """Of a database of the test's own: its tables get changed."""
    opened = open_store(empty_url)
    yield opened
    opened.close()


def _migrated_by_a_newer_version(store: Store, oldest: str) -> None:
    with store.writing() as session:
        session.execute(text("ALTER TABLE reads ADD COLUMN of_the_future VARCHAR"))
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        session.get_one(SchemaRow, 1).oldest = oldest


def _address(store: Store) -> str:
    return store.engine.url.render_as_string(hide_password=False)


def test_a_new_database_is_at_this_version_s_revision(store: Store) -> None:
    with store.reading() as session:
        assert revision(session) == head()
    assert revision_of(_address(store)) == head()


def test_newer_tables_that_only_have_more_are_worked_with(store: Store) -> None:
    _migrated_by_a_newer_version(store, oldest=known()[0])
    older = open_store(_address(store))
    with older.reading() as session:
        assert revision(session) == "9999"
    assert refuse_too_new(_address(older)) == "9999"
    older.close()


def test_tables_that_ask_for_a_newer_version_are_refused(store: Store) -> None:
    _migrated_by_a_newer_version(store, oldest="9998")
    with pytest.raises(SchemaTooNew):
        open_store(_address(store))
    with pytest.raises(SchemaTooNew):
        refuse_too_new(_address(store))
