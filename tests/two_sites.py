"""An application with two sites, and tokens of every kind for each of them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from fastapi import FastAPI
from serving_api import bearer, served
from sqlalchemy import select

from ultraread.serving.access.people import add_site
from ultraread.serving.access.principal import Role, Scope
from ultraread.serving.access.routes import Operation
from ultraread.serving.access.tokens import NewToken, issue, revoke
from ultraread.serving.api.app import create_api
from ultraread.serving.settings import Settings
from ultraread.serving.store.clock import utc_now
from ultraread.serving.store.engine import Store

SITES = ("main", "north")
UNKNOWN = "01hzzzzzzzzzzzzzzzzzzzzzzz"
"""An id as ours are, of nothing."""
MANY = 10**6
_HOLE = re.compile(r"\{(\w+)\}")
_NUMBERS = {"n": "0", "level": "0", "column": "0", "row": "0"}
_WORDS = {
    "name": "ultrastructure-vnc",
    "version": "9.9.9",
    "alias": "champion",
    "identifier": f"{UNKNOWN}-0",
    "region": "full",
    "size": "max",
    "rotation": "0",
    "quality_and_format": "default.jpg",
}


@dataclass
class TwoSites:
    """A served application and its tokens."""

    app: FastAPI
    http: httpx.Client
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)
    """By site and what they are: a role, `all`, or what is wrong with them."""

    @property
    def store(self) -> Store:
        store: Store = self.app.state.service.store
        return store

    def token(self, site: str, *roles: Role, scopes: frozenset[Scope] = frozenset(Scope)) -> str:
        """A new one of the site."""
        with self.store.of_site(site).writing() as session:
            number = len(self.tokens)
            return issue(session, NewToken(f"t{number}", frozenset(roles), scopes), "test").token

    def over(self, site: str) -> str:
        """One that was over as soon as it was made."""
        with self.store.of_site(site).writing() as session:
            made = issue(session, NewToken("over", frozenset(Role)), "test")
            made.row.expires = session.scalar(select(utc_now()))
            return made.token

    def revoked(self, site: str) -> str:
        """One that was good once."""
        with self.store.of_site(site).writing() as session:
            made = issue(session, NewToken("revoked", frozenset(Role)), "test")
            revoke(session, made.row.id, "test")
            return made.token

    def ask(self, operation: Operation, token: str | None, **holes: str) -> httpx.Response:
        """Ask with an empty JSON body, where the method has one."""
        headers = bearer(token) if token else {}
        body = {} if operation.method in {"POST", "PUT", "PATCH"} else None
        return self.http.request(
            operation.method, filled(operation.path, **holes), json=body, headers=headers
        )


def operations(app: FastAPI) -> list[Operation]:
    """All that the OpenAPI document names."""
    paths = app.openapi()["paths"].items()
    return [Operation(method.upper(), path) for path, methods in paths for method in methods]


def filled(path: str, **holes: str) -> str:
    """An address; holes that are not named are filled with what is well formed, and unknown."""
    known = {**_NUMBERS, **_WORDS, **holes}
    return _HOLE.sub(lambda hole: known.get(hole.group(1), UNKNOWN), path)


@contextmanager
def two_sites(folder: Path, **stated: object) -> Iterator[TwoSites]:
    """Serve it, with a token of each role and one of all roles for both sites; more settings by name."""
    app = create_api(
        Settings(
            data_dir=folder / "data",
            poll_s=0.02,
            rate_per_s=MANY,
            rate_burst=MANY,
            stranger_rate_per_s=MANY,
            stranger_burst=MANY,
            **stated,
        )
    )
    with served(app) as address, httpx.Client(base_url=address, timeout=30) as http:
        both = TwoSites(app, http)
        with both.store.writing() as session:
            add_site(session, "north", "Hospital North", "test")
        for site in SITES:
            both.tokens |= {(site, role): both.token(site, role) for role in Role}
            both.tokens[site, "all"] = both.token(site, *Role)
        yield both
