"""A real database for each test, SQLite and PostgreSQL alike, freshly migrated."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Postgres
from used_postgres import UsedDatabase, migrated

from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.jobs import Jobs

BOTH = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def used_postgres(postgres: Postgres) -> Iterator[UsedDatabase]:
    with postgres.database() as url:
        yield migrated(url)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database, to be copied."""
    file = tmp_path_factory.mktemp("migrated") / "ultraread.db"
    open_store(f"sqlite:///{file}").close()
    return file


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database that is migrated, and holds nothing else."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "ultraread.db")
        return f"sqlite:///{tmp_path}/ultraread.db"
    used: UsedDatabase = request.getfixturevalue("used_postgres")
    used.clear()
    return used.url


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database that is yet to be migrated."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = open_store(database_url)
    yield opened
    opened.close()


@pytest.fixture
def jobs(store: Store) -> Jobs:
    """A lease that outlasts every test; those about lost leases end it with `end_lease`."""
    return Jobs(store, lease_s=60, max_attempts=3)
