"""What rows over HTTP share."""

from collections.abc import Iterator

import httpx
import pytest
from refusals import limited_service


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One service for all rows that it refuses; nobody is slowed down."""
    limits = {"rate_per_s": 10_000, "rate_burst": 10_000}
    with limited_service(tmp_path_factory.mktemp("service"), **limits) as (_, client):
        yield client
