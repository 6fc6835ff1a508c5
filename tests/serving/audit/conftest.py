"""A store of each dialect: what the trail promises, it promises on both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ultraread.serving.store.engine import Store, open_store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    is_postgres = request.param == "postgresql"
    url = request.getfixturevalue("postgres_url") if is_postgres else f"sqlite:///{tmp_path}/ultraread.db"
    opened = open_store(url)
    yield opened
    opened.close()
