"""Logging in with a real provider: who gets in, with which roles, and what is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from oidc_provider import CLIENT_ID, CLIENT_SECRET, ProviderProcess
from serving_api import served

from ultraread.serving.access.people import add_site
from ultraread.serving.api.app import create_api
from ultraread.serving.settings import Settings
from ultraread.serving.store.engine import Store


@contextmanager
def service(folder: Path, issuer: str, **stated: object) -> Iterator[httpx.Client]:
    """A service that knows the provider, with a second site; its client keeps cookies and no token."""
    settings = Settings(
        data_dir=folder / "data",
        oidc_issuer=issuer,
        **{
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": CLIENT_SECRET,
            "oidc_roles_claim": "roles",
            "oidc_site_claim": "site",
            "oidc_new_users": True,
            **stated,
        },
    )
    app = create_api(settings)
    store: Store = app.state.service.store
    with store.writing() as session:
        add_site(session, "north", "Hospital North", "test")
    with served(app) as address, httpx.Client(base_url=address, timeout=30) as http:
        yield http


@pytest.fixture(scope="module")
def running(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with service(tmp_path_factory.mktemp("login"), provider.issuer) as http:
        yield http


@pytest.fixture
def http(running: httpx.Client) -> httpx.Client:
    running.cookies.clear()
    return running


def login_address(http: httpx.Client, **query: str) -> str:
    answer = http.get("/login", params=query)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def log_in(provider: ProviderProcess, http: httpx.Client, account: str) -> httpx.Response:
    return provider.log_in(http, login_address(http), account)


def test_a_new_user_is_let_in_with_the_site_and_the_roles_that_the_provider_vouches_for(
    provider: ProviderProcess, http: httpx.Client
) -> None:
    answer = log_in(provider, http, "a.meyer/north/pathologist+auditor+cook")
    assert (answer.status_code, answer.headers["location"]) == (303, "/v1/session")
    shown = http.get("/v1/session").json()
    assert (shown["who"], shown["site"], shown["roles"]) == ("a.meyer", "north", ["auditor", "pathologist"])
