"""A provider of logins for all tests of access, and a database of each kind for applications of a module."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from oidc_provider import ProviderProcess, provider_process
from postgres import Postgres


@pytest.fixture(scope="session")
def provider() -> Iterator[ProviderProcess]:
    """It takes a second to start, and keeps nothing between browsers."""
    with provider_process() as process:
        yield process


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The setting that names a database of the module's own; none is SQLite's file."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield {}
            return
        server: Postgres = request.getfixturevalue("postgres")
        yield {"database_url": stack.enter_context(server.database())}
