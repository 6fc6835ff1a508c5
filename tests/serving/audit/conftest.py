"""A store of each dialect: what the trail promises, it promises on both."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from postgres import Postgres

from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.ids import new_id


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One for all tests of a file; each of them has a `site` of its own."""
    with ExitStack() as stack:
        if request.param == "postgresql":
            server: Postgres = request.getfixturevalue("postgres")
            url = stack.enter_context(server.database())
        else:
            url = f"sqlite:///{tmp_path_factory.mktemp('audit')}/ultraread.db"
        opened = open_store(url)
        stack.callback(opened.close)
        yield opened


@pytest.fixture
def site() -> str:
    return f"site-{new_id()}"
