"""A provider of logins for all tests of access, and applications of two sites."""

from collections.abc import Iterator

import pytest
from oidc_provider import ProviderProcess, provider_process


@pytest.fixture(scope="session")
def provider() -> Iterator[ProviderProcess]:
    """It takes a second to start, and keeps nothing between browsers."""
    with provider_process() as process:
        yield process
