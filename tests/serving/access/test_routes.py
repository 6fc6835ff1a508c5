"""Every route of the OpenAPI document, asked by every role and by everybody who is nobody."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from two_sites import SITES, TwoSites, operations, two_sites

from ultraread.serving.access.principal import Role, Scope
from ultraread.serving.access.routes import SAFE, TABLE, Operation, RouteTable, Rule, table_of_routes
from ultraread.serving.api.gate import refuse_routes_without_rows, through_the_gate

OPEN_WAYS_IN = {"/login", "/login/callback", "/logout", "/v1/session", "/v1/session/unlock"}
"""Open to the gate; they look themselves at what is shown."""
OPEN_TO_ALL = {"/healthz", "/readyz"}
FORGED = "urt_00000000_" + "A" * 43


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoSites]:
    with two_sites(tmp_path_factory.mktemp("routes")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(both: TwoSites) -> list[Operation]:
    """All that takes a token."""
    return [one for one in operations(both.app) if not TABLE[one].is_open]


def test_the_open_routes_are_few_and_known(both: TwoSites, guarded: list[Operation]) -> None:
    assert {one.path for one in set(operations(both.app)) - set(guarded)} == OPEN_WAYS_IN | OPEN_TO_ALL
    for path in OPEN_TO_ALL:
        assert both.http.get(path).status_code in {200, 503}


def test_without_a_token_nothing_answers(both: TwoSites, guarded: list[Operation]) -> None:
    answers = {one: both.ask(one, None) for one in guarded}
    codes = {one: (answer.status_code, answer.json()["code"]) for one, answer in answers.items()}
    assert codes == dict.fromkeys(guarded, (401, "auth_required"))
    assert {answer.headers["www-authenticate"] for answer in answers.values()} == {'Bearer realm="ultraread"'}


@pytest.mark.parametrize("wrong", ["over", "revoked", "forged", "cut", "of another secret", "no token"])
def test_what_is_wrong_with_a_token_is_told_nobody(
    both: TwoSites, guarded: list[Operation], wrong: str
) -> None:
    good = both.tokens["main", "all"]
    token = {
        "over": lambda: both.over("main"),
        "revoked": lambda: both.revoked("main"),
        "forged": lambda: FORGED,
        "cut": lambda: good[:-1],
        "of another secret": lambda: good[:13] + FORGED[13:],
        "no token": lambda: "hello",
    }[wrong]()
    seen = set()
    for one in guarded:
        answer = both.ask(one, token)
        told = {name: value for name, value in answer.json().items() if name != "instance"}
        seen.add((answer.status_code, str(told), answer.headers["www-authenticate"]))
    ((status, told, challenge),) = seen
    assert status == 401
    assert "the token is unknown, over or revoked" in told
    assert challenge == 'Bearer realm="ultraread", error="invalid_token"'


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("site", SITES)
def test_each_role_may_what_the_table_says_and_nothing_else(
    both: TwoSites, guarded: list[Operation], site: str, role: Role
) -> None:
    expected = {
        one: role in TABLE[one].roles and (site == "main" or not TABLE[one].at_main) for one in guarded
    }
    found = {}
    for one in guarded:
        answer = both.ask(one, both.tokens[site, role])
        found[one] = answer.status_code != 403
        assert answer.status_code != 401, (one, answer.text)
        assert answer.status_code < 500, (one, answer.text)
    assert found == expected


@pytest.mark.parametrize("scope", Scope)
def test_a_scope_narrows_what_the_roles_allow(both: TwoSites, guarded: list[Operation], scope: Scope) -> None:
    token = both.token("main", *Role, scopes=frozenset({scope}))
    for one in guarded:
        wanted = (
            Scope.METRICS if one.path == "/metrics" else Scope.READ if one.method in SAFE else Scope.WRITE
        )
        answer = both.ask(one, token)
        is_forbidden = answer.status_code == 403 and answer.json()["code"] == "auth_forbidden"
        assert is_forbidden == (wanted is not scope), one


def test_a_token_is_no_more_than_its_user_is_today(both: TwoSites) -> None:
    admin = both.tokens["north", "all"]
    headers = {"Authorization": f"Bearer {admin}"}
    ann = {"name": "ann", "roles": ["auditor", "admin"]}
    user = both.http.post("/v1/users", json=ann, headers=headers).json()
    new = {"name": "ann-1", "roles": ["auditor", "admin"], "user": "ann"}
    more = both.http.post("/v1/tokens", json=new | {"roles": ["admin", "submitter"]}, headers=headers)
    assert (more.status_code, more.json()["code"]) == (422, "request_invalid")
    assert more.json()["detail"] == "user ann has no role submitter"
    token = both.http.post("/v1/tokens", json=new, headers=headers).json()["token"]
    audit, users = Operation("GET", "/v1/audit"), Operation("GET", "/v1/users")
    assert [both.ask(one, token).status_code for one in (audit, users)] == [200, 200]
    roles = f"/v1/users/{user['id']}/roles"
    assert both.http.put(roles, json={"roles": ["admin"]}, headers=headers).status_code == 428
    changed = both.http.put(roles, json={"roles": ["admin"]}, headers=headers | {"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert eventually(lambda: [both.ask(one, token).status_code for one in (audit, users)] == [403, 200])
    assert both.http.delete(f"/v1/users/{user['id']}", headers=headers).status_code == 200
    assert eventually(lambda: both.ask(users, token).status_code == 401)


def test_a_revoked_token_is_out_within_two_seconds(both: TwoSites) -> None:
    headers = {"Authorization": f"Bearer {both.tokens['north', 'admin']}"}
    made = both.http.post("/v1/tokens", json={"name": "x", "roles": ["auditor"]}, headers=headers).json()
    slides = Operation("GET", "/v1/slides")
    assert both.ask(slides, made["token"]).status_code == 200
    (listed,) = [
        one for one in both.http.get("/v1/tokens", headers=headers).json()["items"] if one["id"] == made["id"]
    ]
    assert listed["last_used"] is not None
    assert "token" not in listed
    both.http.delete(f"/v1/tokens/{made['id']}", headers=headers)
    time.sleep(2)
    assert both.ask(slides, made["token"]).status_code == 401


def test_a_route_without_a_row_keeps_the_service_from_starting() -> None:
    app = FastAPI()
    app.get("/v1/forgotten")(lambda: None)
    with pytest.raises(RuntimeError, match="/v1/forgotten"):
        refuse_routes_without_rows(app)


def test_a_route_that_hides_from_the_document_answers_nobody(both: TwoSites) -> None:
    assert through_the_gate in {one.dependency for one in both.app.router.dependencies}
    both.app.get("/v1/hidden", include_in_schema=False)(lambda: "secret")
    for token in (None, both.tokens["main", "all"]):
        assert both.ask(Operation("GET", "/v1/hidden"), token).status_code == 401


def test_where_two_rows_fit_an_address_both_have_to_allow() -> None:
    both_fit = {
        Operation("GET", "/a/{x}"): Rule(frozenset({Role.ADMIN})),
        Operation("GET", "/a/b"): Rule(frozenset({Role.AUDITOR})),
    }
    assert len(RouteTable(both_fit).rows_of("GET", "/a/b")) == 2


def test_the_guide_shows_the_table_as_it_is() -> None:
    guide = Path(__file__).parents[3] / "docs/guides/access.md"
    assert table_of_routes() in guide.read_text()


def eventually(holds: Callable[[], bool]) -> bool:
    """Within a moment: ten seconds."""
    until = time.monotonic() + 10
    while not (is_so := holds()) and time.monotonic() < until:
        time.sleep(0.05)
    return is_so
