"""A store that is kept to a site neither finds, nor changes, nor adds what belongs to another one."""

from pathlib import Path

import pytest
from sqlalchemy import (
    Executable,
    column,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    table,
    text,
    union_all,
    update,
)
from sqlalchemy.orm import aliased

from ultraread.errors import NotFound
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.records import file_case, find, page
from ultraread.serving.store.tables import MAIN_SITE, CaseRow, SlideRow, UploadRow


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


TABLE = UploadRow.__table__
OTHER = aliased(UploadRow)
SEEN: dict[str, Executable] = {
    "a column": select(UploadRow.id),
    "a count": select(func.count()).select_from(UploadRow),
    "an alias": select(OTHER.id),
    "a subquery": select(SlideRow.id).where(SlideRow.id.in_(select(UploadRow.id))),
    "another subquery": select(select(func.count()).select_from(UploadRow).scalar_subquery()),
    "EXISTS": select(CaseRow.id).where(exists().where(UploadRow.id == "one")),
    "a join": select(CaseRow.id).join(UploadRow, UploadRow.id != CaseRow.id),
    "a common table expression": select(select(UploadRow.id).cte("uploaded").c.id),
    "a union": union_all(select(UploadRow.id), select(OTHER.id)),
}
REFUSED: dict[str, Executable] = {
    "text": text("SELECT id FROM uploads"),
    "text that gives rows": select(UploadRow).from_statement(text("SELECT * FROM uploads")),
    "a literal": select(literal_column("(SELECT count(*) FROM uploads)")),
    "a table by name": select(table("uploads", column("id"))),
    "a bare table": select(TABLE),
    "a bare column": select(TABLE.c.id),
    "a bare count": select(func.count()).select_from(TABLE),
    "a bare alias": select(TABLE.alias("other").c.id),
    "a bare subquery": select(CaseRow.id).where(exists(select(TABLE.c.id))),
    "a bare join": select(CaseRow.id).join(TABLE, TABLE.c.id != CaseRow.id),
    "a bare change": update(TABLE).values(bytes=9),
    "a bare removal": delete(TABLE),
    "an insertion": insert(UploadRow).values(id="two", site="north", file_name="a", bytes=1),
    "a move": update(UploadRow).values(site="south"),
}


@pytest.mark.parametrize("way", SEEN)
def test_no_way_of_asking_shows_what_the_other_site_has(store: Store, way: str) -> None:
    _announce(store.of_site("north"), "one")
    file_case_of(store, "south")
    with store.of_site("south").reading() as session:
        assert [row for row in session.execute(SEEN[way]) if tuple(row) != (0,)] == []


@pytest.mark.parametrize("way", REFUSED)
def test_a_statement_that_the_wall_cannot_hold_is_refused(store: Store, way: str) -> None:
    _announce(store.of_site("north"), "one")
    with store.of_site("south").writing() as session, pytest.raises(RuntimeError):
        session.execute(REFUSED[way])
    with store.reading() as session:
        assert session.get_one(UploadRow, "one").site == "north"


def test_a_row_cannot_be_moved_to_another_site(store: Store) -> None:
    _announce(store.of_site("north"), "one")
    with pytest.raises(RuntimeError), store.of_site("north").writing() as session:
        session.get_one(UploadRow, "one").site = "south"


def test_a_row_that_somebody_else_loaded_is_not_taken_over(store: Store) -> None:
    _announce(store.of_site("north"), "one")
    with store.reading() as session:
        theirs = session.get_one(UploadRow, "one")
    with store.of_site("south").reading() as session:
        assert session.get(UploadRow, "one", populate_existing=True) is None
        assert session.scalars(select(UploadRow).where(UploadRow.id == theirs.id)).all() == []


def file_case_of(store: Store, site: str) -> None:
    with store.of_site(site).writing() as session:
        file_case(session, "S26-1", site)
