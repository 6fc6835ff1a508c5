"""A store that is kept to a site neither finds, nor changes, nor adds what belongs to another one."""

from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update

from ultraread.errors import NotFound
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.records import file_case, find, page
from ultraread.serving.store.tables import MAIN_SITE, CaseRow, UploadRow


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"sqlite:///{tmp_path}/store.db")


def _announce(store: Store, upload_id: str) -> None:
    with store.writing() as session:
        session.add(UploadRow(id=upload_id, file_name="a.tif", bytes=1))


def test_each_site_finds_what_it_filed_and_nothing_else(store: Store) -> None:
    north, south = store.of_site("north"), store.of_site("south")
    _announce(north, "one")
    with south.reading() as session:
        assert session.get(UploadRow, "one") is None
        assert session.scalar(select(func.count()).select_from(UploadRow)) == 0
    with north.reading() as session:
        assert session.get_one(UploadRow, "one").site == "north"


def test_what_a_site_changes_or_deletes_is_its_own(store: Store) -> None:
    _announce(store.of_site("north"), "one")
    with store.of_site("south").writing() as session:
        session.execute(update(UploadRow).where(UploadRow.id == "one").values(bytes=9))
        session.execute(delete(UploadRow).where(UploadRow.id == "one"))
    with store.reading() as session:
        assert session.get_one(UploadRow, "one").bytes == 1


def test_two_sites_may_call_their_cases_the_same(store: Store) -> None:
    for site in ("north", "south"):
        with store.of_site(site).writing() as session:
            file_case(session, "S26-1", site)
    for site in ("north", "south"):
        with store.of_site(site).reading() as session:
            assert [row.site for row in page(session, CaseRow, None, 9).rows] == [site]
    with store.of_site("west").reading() as session, pytest.raises(NotFound):
        find(session, CaseRow, "S26-1")


def test_the_service_itself_sees_all_and_files_under_the_main_site(store: Store) -> None:
    _announce(store.of_site("north"), "one")
    _announce(store, "two")
    with store.reading() as session:
        found = {row.id: row.site for row in session.scalars(select(UploadRow))}
    assert found == {"one": "north", "two": MAIN_SITE}


def test_a_transaction_of_one_site_cannot_be_talked_into_another(store: Store) -> None:
    with store.of_site("south").writing() as session:
        session.add(UploadRow(site="north", id="one", file_name="a.tif", bytes=1))
    with store.reading() as session:
        assert session.get_one(UploadRow, "one").site == "south"
