"""A real database for each test, SQLite and PostgreSQL alike, freshly migrated."""

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


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ultraread.db"
    used: UsedDatabase = request.getfixturevalue("used_postgres")
    used.clear()
    return used.url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = open_store(database_url)
    yield opened
    opened.close()


@pytest.fixture
def jobs(store: Store) -> Jobs:
    """A lease that outlasts every test; those about lost leases end it with `end_lease`."""
    return Jobs(store, lease_s=60, max_attempts=3)
