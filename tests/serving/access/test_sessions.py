"""Sessions of browsers: what a cookie lets through, and when it stops doing so."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from serving_api import bearer, owner_token, served
from sqlalchemy import update

from ultraread.serving.access import sessions
from ultraread.serving.access.people import add_user
from ultraread.serving.access.principal import Role, Scope
from ultraread.serving.access.sessions import SessionRules
from ultraread.serving.access.tokens import NewToken, issue, revoke
from ultraread.serving.api.app import create_api
from ultraread.serving.limits.standing import no_more_let_in
from ultraread.serving.settings import Settings
from ultraread.serving.store.access_tables import BrowserSessionRow
from ultraread.serving.store.clock import utc_in
from ultraread.serving.store.engine import Store

IDLE_S = 2.0


class Browser:
    """A browser of its own: cookies, and the CSRF token that its page was told."""

    def __init__(self, address: str, store: Store, token: str) -> None:
        self.http = httpx.Client(base_url=address, timeout=30)
        self.store, self.token = store, token

    def begin(self) -> httpx.Response:
        return self.http.post("/v1/session", headers=bearer(self.token))

    def csrf(self) -> dict[str, str]:
        return {"X-CSRF-Token": self.http.get("/v1/session").json()["csrf_token"]}

    def another(self) -> "Browser":
        return Browser(str(self.http.base_url), self.store, self.token)

    def is_in(self) -> bool:
        return self.http.get("/v1/slides").status_code == 200

    def code(self, method: str = "GET", path: str = "/v1/slides", **more: object) -> str:
        """What it is refused with."""
        return str(self.http.request(method, path, **more).json()["code"])  # type: ignore[arg-type]


@contextmanager
def a_browser(folder: Path, **stated: object) -> Iterator[Browser]:
    app = create_api(Settings(data_dir=folder / "data", **stated))
    with served(app) as address:
        browser = Browser(address, app.state.service.store, owner_token(app))
        yield browser
        browser.http.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, database: dict[str, str]) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("sessions")
    with a_browser(folder, session_idle_minutes=IDLE_S / 60, **database) as browser:
        yield browser


@pytest.fixture
def browser(running: Browser) -> Iterator[Browser]:
    """Logged out, as at the beginning."""
    fresh = running.another()
    yield fresh
    fresh.http.close()


def test_a_token_begins_a_session_whose_cookie_no_script_sees(browser: Browser) -> None:
    assert browser.code("POST", "/v1/session") == "auth_required"
    begun = browser.begin()
    assert begun.status_code == 201
    attributes = set(begun.headers["set-cookie"].split("; ")[1:])
    assert attributes == {"HttpOnly", "Path=/", "SameSite=lax"}
    shown = browser.http.get("/v1/session").json()
    prefix = browser.token.split("_")[1]
    assert (shown["who"], shown["site"]) == (f"token:owner:{prefix}", "main")
    assert browser.http.get("/v1/session", headers=bearer(browser.token)).json()["csrf_token"] is None


def test_over_tls_the_cookie_is_for_this_host_alone(tmp_path: Path) -> None:
    with a_browser(tmp_path, public_url="https://em.example", proxied_hosts=("em.example",)) as browser:
        cookie = browser.begin().headers["set-cookie"]
    assert cookie.startswith("__Host-ultraread=")
    assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} == set(cookie.split("; ")[1:])


def test_a_change_under_a_cookie_needs_the_session_s_own_token(browser: Browser) -> None:
    browser.begin()
    case = {"json": {}}
    assert browser.code("POST", "/v1/cases", **case) == "auth_csrf"
    other = browser.another()
    other.begin()
    assert browser.code("POST", "/v1/cases", headers=other.csrf(), **case) == "auth_csrf"
    other.http.close()
    assert browser.http.post("/v1/cases", headers=browser.csrf(), json={}).status_code == 201
    assert browser.http.post("/v1/cases", headers=bearer(browser.token), json={}).status_code == 201
    foreign = browser.csrf() | {"Origin": "https://evil.example"}
    assert browser.code("POST", "/v1/cases", headers=foreign, **case) == "origin_refused"


def test_a_forged_cookie_is_told_what_any_other_is(browser: Browser) -> None:
    browser.http.cookies.set("ultraread", "A" * 43)
    assert browser.code() == "auth_invalid"


def test_every_login_has_a_new_cookie_and_ends_the_former_one(browser: Browser) -> None:
    browser.begin()
    former = dict(browser.http.cookies)
    browser.begin()
    assert dict(browser.http.cookies) != former
    assert browser.is_in()
    old = browser.another()
    old.http.cookies.update(former)
    time.sleep(1.1)  # what was believed of it
    assert old.code() == "auth_invalid"
    old.http.close()


def test_a_session_that_nobody_sits_at_is_locked_until_the_same_person_is_back(browser: Browser) -> None:
    browser.begin()
    page = {"X-Background": "true"}
    until = time.monotonic() + IDLE_S + 0.5
    while time.monotonic() < until:
        browser.http.get("/v1/slides", headers=page)
        time.sleep(0.2)
    csrf = {"X-CSRF-Token": "x"}
    for method, path in (("GET", "/v1/slides"), ("GET", "/v1/session"), ("POST", "/v1/cases")):
        answer = browser.http.request(method, path, headers=csrf)
        assert (answer.status_code, answer.json()["code"]) == (423, "session_locked")
    with browser.store.of_site("main").writing() as session:
        stranger = issue(session, NewToken("stranger", frozenset(Role)), "test").token
    locked = dict(browser.http.cookies)
    assert browser.code("POST", "/v1/session/unlock", headers=bearer(stranger)) == "auth_invalid"
    assert browser.code() == "session_locked", "looking again does not unlock"
    assert browser.http.post("/v1/session/unlock", headers=bearer(browser.token)).status_code == 200
    assert browser.is_in()
    assert dict(browser.http.cookies) != locked
    browser.http.cookies.clear()
    browser.http.cookies.update(locked)
    assert browser.code() == "auth_invalid", "the former cookie is over"


def test_who_follows_a_read_from_where_nobody_sits_is_let_in_no_more(browser: Browser) -> None:
    browser.begin()
    key, rules = sessions.key_of(browser.http.cookies["ultraread"]), SessionRules(IDLE_S, 3600)
    mine = update(BrowserSessionRow).where(BrowserSessionRow.id_hash == key)
    with browser.store.writing() as session:
        who = sessions.look(session, key, rules).principal
        assert no_more_let_in(session, [who], rules) == set()
        session.execute(mine.values(seen=utc_in(-IDLE_S - 1)))
        assert no_more_let_in(session, [who], rules) == {who}


def test_who_works_is_not_locked_out(browser: Browser) -> None:
    browser.begin()
    until = time.monotonic() + 1.5 * IDLE_S
    while time.monotonic() < until:
        assert browser.is_in()
        time.sleep(0.2)


def test_logging_out_ends_one_session_or_all_of_the_person(browser: Browser) -> None:
    other, third = browser.another(), browser.another()
    for each in (browser, other, third):
        each.begin()
    assert browser.code("POST", "/logout") == "auth_csrf"
    browser.http.post("/logout", headers=browser.csrf())
    assert dict(browser.http.cookies) == {}
    assert other.is_in()
    third.http.post("/logout", params={"everywhere": True}, headers=third.csrf())
    time.sleep(1.1)
    assert other.code() == "auth_invalid"
    for each in (other, third):
        each.http.close()


def test_a_session_ends_with_its_token_and_with_its_time(tmp_path: Path) -> None:
    with a_browser(tmp_path, session_hours=8 / 3600) as browser:
        with browser.store.of_site("main").writing() as session:
            made = issue(session, NewToken("short", frozenset(Role)), "test")
        other = browser.another()
        other.token = made.token
        began = time.monotonic()
        for each in (browser, other):
            each.begin()
        with browser.store.of_site("main").writing() as session:
            revoke(session, made.row.id, "test")
        time.sleep(1.1)
        assert (browser.is_in(), other.code()) == (True, "auth_invalid")
        time.sleep(max(0.0, began + 9.1 - time.monotonic()))
        assert browser.code() == "auth_invalid"
        other.http.close()


def test_a_session_is_never_more_than_the_token_that_began_it(browser: Browser) -> None:
    """A token may hold less than its user does, and is revoked without the user."""
    with browser.store.of_site("main").writing() as session:
        person = add_user(session, "kim", frozenset({Role.SUBMITTER, Role.ADMIN}), "test")
        less = NewToken("less", frozenset({Role.SUBMITTER}), frozenset({Scope.READ}), person.name)
        made = issue(session, less, "test")
    browser.token = made.token
    browser.begin()
    assert browser.http.get("/v1/session").json()["roles"] == ["submitter"]
    assert browser.code(path="/v1/tokens") == "auth_forbidden"
    assert browser.code("POST", "/v1/cases", headers=browser.csrf(), json={}) == "auth_forbidden"
    with browser.store.of_site("main").writing() as session:
        revoke(session, made.row.id, "test")
    time.sleep(1.1)  # what was believed of it
    assert browser.code() == "auth_invalid"
