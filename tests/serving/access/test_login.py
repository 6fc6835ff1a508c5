"""Logging in with a real provider: who gets in, with which roles, and what is refused."""

import base64
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey
from oidc_provider import CLIENT_ID, CLIENT_SECRET, ProviderProcess
from serving_api import bearer, served

from ultraread.errors import AuthInvalid
from ultraread.serving.access.id_tokens import IdTokens, NewLogin, new_login
from ultraread.serving.access.people import add_site
from ultraread.serving.api.app import create_api
from ultraread.serving.setting_groups.access import AccessSettings
from ultraread.serving.settings import Settings
from ultraread.serving.store.engine import Store

AT_NORTH: dict[str, Any] = {"site": "north", "roles": ["auditor"]}


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
def running(
    provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory, database: dict[str, str]
) -> Iterator[httpx.Client]:
    with service(tmp_path_factory.mktemp("login"), provider.issuer, **database) as http:
        yield http


@pytest.fixture
def http(running: httpx.Client) -> httpx.Client:
    running.cookies.clear()
    return running


def login_address(http: httpx.Client, **query: str) -> str:
    answer = http.get("/login", params=query)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def log_in(provider: ProviderProcess, http: httpx.Client, who: str, **claims: object) -> httpx.Response:
    return provider.log_in(http, login_address(http), who, **{**AT_NORTH, **claims})


def test_a_new_user_is_let_in_with_the_site_and_the_roles_that_the_provider_vouches_for(
    provider: ProviderProcess, http: httpx.Client
) -> None:
    answer = log_in(provider, http, "a.meyer", roles=["pathologist", "auditor", "cook"])
    assert (answer.status_code, answer.headers["location"]) == (303, "/v1/session")
    shown = http.get("/v1/session").json()
    assert (shown["who"], shown["site"], shown["roles"]) == ("a.meyer", "north", ["auditor", "pathologist"])


def test_roles_follow_the_provider_from_login_to_login(provider: ProviderProcess, http: httpx.Client) -> None:
    for role in ("pathologist", "submitter"):
        log_in(provider, http, "b.roe", roles=[role])
        assert http.get("/v1/session").json()["roles"] == [role]


def test_without_a_login_there_is_no_session(http: httpx.Client) -> None:
    assert http.get("/v1/session").json()["code"] == "auth_required"


@pytest.mark.parametrize("called", ["d.roe@north.example", "Local", "runner-7"])
def test_an_e_mail_address_or_the_service_s_own_is_no_name_for_the_audit_trail(
    provider: ProviderProcess, http: httpx.Client, called: str
) -> None:
    log_in(provider, http, called)
    who = http.get("/v1/session").json()["who"]
    assert who.startswith("user-")
    assert "@" not in http.get("/v1/audit").text


def test_who_changes_the_site_is_no_user_there_until_removed_here(
    provider: ProviderProcess, http: httpx.Client
) -> None:
    assert log_in(provider, http, "m.over", roles=["admin"]).status_code == 303
    (user,) = [one for one in http.get("/v1/users").json()["items"] if one["name"] == "m.over"]
    for site, status in (("main", 403), ("north", 303)):
        assert log_in(provider, http, "m.over", roles=["admin"], site=site).status_code == status
    csrf = {"X-CSRF-Token": http.get("/v1/session").json()["csrf_token"]}
    removed = http.delete(f"/v1/users/{user['id']}", headers=csrf)
    assert removed.status_code == 200, removed.text
    assert log_in(provider, http, "m.over", site="main").status_code == 303


@pytest.mark.parametrize("site", ["atlantis", None, ["north", "main"], {"north": 1}])
def test_somebody_of_no_site_is_let_into_none(
    provider: ProviderProcess, http: httpx.Client, site: object
) -> None:
    answer = log_in(provider, http, "e.roe", site=site)
    assert (answer.status_code, answer.json()["code"]) == (403, "auth_forbidden")
    assert "ultraread" not in http.cookies


def test_a_stranger_is_let_in_only_where_new_users_are_taken(
    provider: ProviderProcess, tmp_path: Path
) -> None:
    with service(tmp_path, provider.issuer, oidc_new_users=False) as http:
        assert log_in(provider, http, "f.roe").json()["code"] == "auth_forbidden"


def test_an_administrator_names_who_may_log_in_and_the_provider_no_roles(
    provider: ProviderProcess, tmp_path: Path
) -> None:
    stated = {"oidc_new_users": False, "oidc_roles_claim": None, "oidc_site_claim": None}
    with service(tmp_path, provider.issuer, **stated) as http:
        new = {"name": "grace", "roles": ["submitter"], "issuer": provider.issuer, "subject": "g.roe"}
        token = (tmp_path / "data/owner.token").read_text().strip()
        for refused in ({"name": "local"}, {"subject": None}):
            answer = http.post("/v1/users", json={**new, **refused}, headers=bearer(token))
            assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
        made = http.post("/v1/users", json=new, headers=bearer(token))
        assert made.status_code == 201, made.text
        answer = log_in(provider, http, "g.roe")
        assert answer.status_code == 303, answer.text
        shown = http.get("/v1/session").json()
        assert (shown["who"], shown["site"], shown["roles"]) == ("grace", "main", ["submitter"])


def test_a_client_without_a_secret_proves_itself_by_pkce_alone(
    provider: ProviderProcess, tmp_path: Path
) -> None:
    stated = {"oidc_client_id": "public", "oidc_client_secret": None}
    with service(tmp_path, provider.issuer, **stated) as http:
        assert log_in(provider, http, "h.roe").status_code == 303
        assert http.get("/v1/session").status_code == 200


def test_a_login_counts_once_and_in_the_browser_that_began_it(
    provider: ProviderProcess, http: httpx.Client
) -> None:
    with httpx.Client(timeout=10) as there:
        back = provider.way_back(there, login_address(http), "i.roe", **AT_NORTH)
    begun = dict(http.cookies)
    http.cookies.clear()
    assert http.get(back).json()["code"] == "auth_invalid", "a browser that did not begin it"
    http.cookies.update(begun)
    assert http.get(back.replace("iss=http", "iss=https")).json()["code"] == "auth_invalid", "another issuer"
    assert http.get(back).json()["code"] == "auth_invalid", "used up by the one before"
    assert "ultraread" not in http.cookies


def test_a_code_of_another_login_is_refused(provider: ProviderProcess, http: httpx.Client) -> None:
    """It is bound to the verifier of the login that it was given for."""
    with httpx.Client(timeout=10) as there:
        stolen = httpx.URL(provider.way_back(there, login_address(http), "j.roe", **AT_NORTH))
    begun = httpx.URL(login_address(http))
    forged = {"code": stolen.params["code"], "state": begun.params["state"], "iss": provider.issuer}
    answer = http.get("/login/callback", params=forged)
    assert (answer.status_code, answer.json()["code"]) == (401, "auth_invalid")


def test_the_browser_goes_where_it_was_sent_and_nowhere_outside(
    provider: ProviderProcess, http: httpx.Client
) -> None:
    for goes_to, expected in (
        ("/v1/docs", "/v1/docs"),
        ("//evil.example", None),
        ("https://evil.example", None),
    ):
        answer = provider.log_in(http, login_address(http, next=goes_to), "k.roe", **AT_NORTH)
        assert answer.headers["location"] == (expected or "/v1/session")


def test_a_provider_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    with service(tmp_path, "http://127.0.0.1:9") as http:
        assert http.get("/login").json()["code"] == "service_unavailable"


def test_nothing_that_is_deprecated_is_imported_where_the_service_is_installed_alone() -> None:
    """Without httpx2, which comes with what trains models."""
    start = "import sys; sys.modules['httpx2'] = None; import ultraread.serving.access.oidc"
    told = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True)
    assert told.stderr == ""


def test_without_a_provider_there_is_no_login(tmp_path: Path) -> None:
    app = create_api(Settings(data_dir=tmp_path / "data"))
    with served(app) as address, httpx.Client(base_url=address) as http:
        assert http.get("/login").json()["code"] == "login_not_offered"


CLAIMS_REFUSED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another issuer": lambda claims: {**claims, "iss": "https://evil.example"},
    "another audience": lambda claims: {**claims, "aud": "another"},
    "another party": lambda claims: {**claims, "aud": [CLIENT_ID, "another"], "azp": "another"},
    "another nonce": lambda claims: {**claims, "nonce": "another"},
    "no nonce": lambda claims: {key: value for key, value in claims.items() if key != "nonce"},
    "over": lambda claims: {**claims, "exp": int(time.time()) - 3600},
    "proved long ago": lambda claims: {**claims, "auth_time": int(time.time()) - 7200},
}


@pytest.mark.parametrize("fault", [*CLAIMS_REFUSED, "no signature", "signed with the secret", "another key"])
def test_an_id_token_with_a_fault_lets_nobody_in(fault: str) -> None:
    """A provider that errs, or somebody on the way: signed by hand, since a real one makes none of these."""
    key, login = RSAKey.generate_key(2048, {"kid": "1"}), new_login()
    now = int(time.time())
    good = {
        "iss": "https://provider.example", "aud": CLIENT_ID, "sub": "1", "nonce": login.nonce,
        "iat": now, "exp": now + 300, "auth_time": now,
    }  # fmt: skip
    checked = partial(_checked, key=key, login=login)
    assert checked(jwt.encode({"alg": "RS256", "kid": "1"}, good, key))["sub"] == "1"
    claims = CLAIMS_REFUSED.get(fault, lambda claims: claims)(good)
    token = jwt.encode({"alg": "RS256", "kid": "1"}, claims, key)
    if fault == "no signature":
        head = base64.urlsafe_b64encode(b'{"alg":"none","kid":"1"}').decode().rstrip("=")
        token = f"{head}.{token.split('.')[1]}."
    elif fault == "signed with the secret":
        token = jwt.encode({"alg": "HS256", "kid": "1"}, claims, OctKey.import_key(CLIENT_SECRET))
    elif fault == "another key":
        token = jwt.encode({"alg": "RS256", "kid": "1"}, claims, RSAKey.generate_key(2048, {"kid": "1"}))
    with pytest.raises(AuthInvalid):
        checked(token)


def _checked(token: str, key: RSAKey, login: NewLogin) -> dict[str, Any]:
    settings = AccessSettings(oidc_issuer="https://provider.example", oidc_client_id=CLIENT_ID)
    keys = KeySet([key])
    return IdTokens(settings, lambda _fresh: keys).checked(token, login, max_age_s=900)


def test_after_a_lock_the_provider_asks_for_the_password_again(
    provider: ProviderProcess, tmp_path: Path
) -> None:
    with service(tmp_path, provider.issuer, session_idle_minutes=1.5 / 60) as http:
        log_in(provider, http, "l.roe")
        time.sleep(1.7)
        assert http.get("/v1/session").json()["code"] == "session_locked"
        address = login_address(http)
        assert {"prompt=login", "max_age=0"} <= set(address.split("&"))
        provider.log_in(http, address, "l.roe", **AT_NORTH)
        assert http.get("/v1/session").json()["who"] == "l.roe"
