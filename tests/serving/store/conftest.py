"""A real database, freshly migrated, for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.jobs import Jobs


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ultraread.db"


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = open_store(database_url)
    yield opened
    opened.close()


@pytest.fixture
def jobs(store: Store) -> Jobs:
    """A lease that outlasts every test; those about lost leases end it with `end_lease`."""
    return Jobs(store, lease_s=60, max_attempts=3)
