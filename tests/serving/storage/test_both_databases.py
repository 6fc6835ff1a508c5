"""A backup of either database comes back in either: every row, every chain, and it counts on."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from filed import Rows, rows_of
from postgres import Postgres
from sqlalchemy import select
from working_house import WorkingHouse, working_house

from ultraread.errors import OutputExists
from ultraread.serving.access.people import add_site
from ultraread.serving.audit.signing import load_public_key, make_key
from ultraread.serving.audit.trail import DatabaseTrail
from ultraread.serving.audit.verify import SiteReport, verify_trail
from ultraread.serving.settings import Settings, load_settings
from ultraread.serving.storage.backup import Backup, Note
from ultraread.serving.storage.house import House
from ultraread.serving.storage.places import target_at
from ultraread.serving.storage.restore import Restore
from ultraread.serving.storage.scrub import Scrubber, check_database
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.jobs import Jobs
from ultraread.serving.store.tables import AliasChangeRow, AuditRow, ModelRow

GROWN = {"audit_events", "audit_heads"}
"""By one event, `restored`."""
ENDED = {"reads", "outbox"}
"""Whose leases and waits end with the installation that was backed up."""


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def working(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkingHouse]:
    """Two sites with events, reads, a change that refers to another one, signed checkpoints; backed up."""
    folder = tmp_path_factory.mktemp("house")
    make_key(folder / "audit.key")
    stated: dict[str, object] = {"audit_key_file": folder / "audit.key"}
    with ExitStack() as stack:
        if request.param == "postgresql":
            server: Postgres = request.getfixturevalue("postgres")
            stated["database_url"] = stack.enter_context(server.database())
        working = stack.enter_context(working_house(folder, **stated))
        _work(working)
        Backup(working.house, target_at(str(folder / "backup"))).make(unseen)
        yield working


def _work(working: WorkingHouse) -> None:
    store = working.house.store
    with store.writing() as session:
        add_site(session, "north", "Hospital North", "a test")
        session.add(ModelRow(name="m"))
        session.flush()
        for before in (None, 1):
            session.add(AliasChangeRow(name="m", alias="champion", before=before, who="a test", reason=""))
            session.flush()
    with store.of_site("north").writing() as session:
        AuditLog(session).append("a test", "case_opened", "C-1", new={"Füllung": [1, 2.5, None]})
    working.read(working.file())
    working.request(working.file())
    assert working.jobs.claim("a runner that is no more") is not None


@pytest.fixture
def empty_url(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as url:
        yield url


def unseen(_total: int) -> Note:
    return lambda _bytes: None


def restored(working: WorkingHouse, folder: Path, database_url: str | None) -> Settings:
    settings = load_settings(data_dir=folder / "there", database_url=database_url)
    Restore(target_at(str(working.folder / "backup")), settings, "a test").run(None, unseen)
    return settings


def test_a_backup_comes_back_in_an_empty_postgresql(
    working: WorkingHouse, tmp_path: Path, empty_url: str
) -> None:
    settings = restored(working, tmp_path, empty_url)
    assert not settings.database_file.exists()
    with closing(open_store(empty_url)) as store:
        _compare(rows_of(working.house.store), rows_of(store))
        _trails_hold(working, store)
        found = Scrubber(House(settings, store)).scrub()
        assert (found.damages, found.unreached, check_database(store)) == ([], [], [])
        _goes_on(store)


def test_a_backup_of_postgresql_comes_back_in_a_file(working: WorkingHouse, tmp_path: Path) -> None:
    settings = restored(working, tmp_path, None)
    with closing(open_store(settings.database_address)) as store:
        _compare(rows_of(working.house.store), rows_of(store))
        _trails_hold(working, store)
        _goes_on(store)


def _compare(before: Rows, after: Rows) -> None:
    assert before.keys() == after.keys()
    counts = {name: len(rows) + (name == "audit_events") for name, rows in before.items()}
    assert {name: len(rows) for name, rows in after.items()} == counts
    same = before.keys() - GROWN - ENDED
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def _trails_hold(working: WorkingHouse, store: Store) -> None:
    public = load_public_key(working.folder / "audit.key.pub")
    for site, grown in (("main", 1), ("north", 0)):
        before, after = _report(working.house.store, site, public), _report(store, site, public)
        assert (after.fault, after.events) == (None, before.events + grown)
        assert after.signed_upto == before.signed_upto > 0


def _report(store: Store, site: str, public: str) -> SiteReport:
    with store.reading() as session:
        return verify_trail(DatabaseTrail(session, site), [public])


def _goes_on(store: Store) -> None:
    """Numbers go on after the largest one, and the read of the runner that is no more is taken at once."""
    with store.writing() as session:
        session.add(AliasChangeRow(name="m", alias="champion", before=2, who="a test", reason=""))
        AuditLog(session).append("a test", "model_promoted", "m")
    with store.reading() as session:
        assert session.scalars(select(AliasChangeRow.sequence).order_by(AliasChangeRow.sequence)).all() == [
            1, 2, 3,
        ]  # fmt: skip
        numbers = session.scalars(select(AuditRow.sequence).order_by(AuditRow.sequence)).all()
    assert list(numbers) == list(range(1, len(numbers) + 1))
    assert Jobs(store, lease_s=60, max_attempts=3).claim("another runner") is not None


def test_a_restore_that_died_after_it_filled_the_database_goes_on(
    working: WorkingHouse, tmp_path: Path, empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: Restore) -> None:
        raise InterruptedError

    with monkeypatch.context() as dying:
        dying.setattr(Restore, "_appear", die)
        with pytest.raises(InterruptedError):
            restored(working, tmp_path, empty_url)
    assert not (tmp_path / "there").exists()
    settings = restored(working, tmp_path, empty_url)
    assert settings.data_dir.is_dir()
    with closing(open_store(empty_url)) as store:
        _compare(rows_of(working.house.store), rows_of(store))


def test_nothing_is_restored_into_a_database_that_holds_anything(
    working: WorkingHouse, tmp_path: Path, empty_url: str
) -> None:
    with closing(open_store(empty_url)) as store, store.writing() as session:
        session.add(ModelRow(name="of somebody else"))
    with pytest.raises(OutputExists, match="not empty: "):
        restored(working, tmp_path, empty_url)
    assert list(tmp_path.iterdir()) == []
