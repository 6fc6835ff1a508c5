"""Tokens and users of the site, for its administrators."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import Field, PlainSerializer

from ultraread.errors import RequestInvalid, TokenShownBefore
from ultraread.serving.access import people, tokens
from ultraread.serving.access.principal import Role, Scope
from ultraread.serving.api.bodies import Body, Page, Shown
from ultraread.serving.api.once import Once, response_of
from ultraread.serving.api.preconditions import SeenRevision, etag
from ultraread.serving.api.records import Cursor, Limit
from ultraread.serving.api.service import InService
from ultraread.serving.store.access_tables import TokenRow, UserRow
from ultraread.serving.store.idempotency import Answer
from ultraread.serving.store.records import find, page

Name = Annotated[str, Field(pattern=f"^{people.NAME}$")]
IN_ORDER = PlainSerializer(sorted, list[str])
"""The order of a set differs from process to process: a repeated request would look like another one."""
Roles = Annotated[frozenset[Role], Field(min_length=1), IN_ORDER]
Scopes = Annotated[frozenset[Scope], Field(min_length=1), IN_ORDER]


class NewToken(Body):
    """What a token is for; with `user`, of their roles alone, and never more than those when it is used."""

    name: Name
    roles: Roles
    scopes: Scopes = frozenset(Scope)
    user: Name | None = None
    days: Annotated[float, Field(gt=0, le=tokens.MOST_DAYS)] | None = None


class Token(Shown):
    """A token, but not itself; `prefix` is how it begins after `urt_`."""

    id: str
    name: str
    prefix: str
    user_id: str | None
    roles: list[Role]
    scopes: list[Scope]
    created: str
    expires: str | None
    last_used: str | None
    revoked: str | None


class IssuedToken(Token):
    """A token that was just made, with itself: nobody can show it again."""

    token: str


class NewUser(Body):
    """A person of this site; `issuer` and `subject` as the provider of logins calls them."""

    name: Name
    roles: Roles
    issuer: Annotated[str, Field(max_length=500)] | None = None
    subject: Annotated[str, Field(max_length=255)] | None = None


class NewRoles(Body):
    """All roles that a user has from now on."""

    roles: Roles


class User(Shown):
    """A user of this site."""

    id: str
    name: str
    roles: list[Role]
    revision: int
    issuer: str | None
    subject: str | None
    created: str
    removed: str | None


router = APIRouter(tags=["access"])


@router.post("/v1/tokens", status_code=201, response_model=IssuedToken)
def make_token(wanted: NewToken, service: InService, once: Once) -> JSONResponse:
    """Make a token of this site. Only this answer has it: a repeat under the same Idempotency-Key is refused
    (409 `token_shown_before`) and tells the id of the token that was made.
    """
    asked = tokens.NewToken(wanted.name, wanted.roles, wanted.scopes, wanted.user, wanted.days)
    shown_now: list[str] = []

    def create(token_id: str) -> Answer:
        with service.store.writing() as session:
            row = session.get(TokenRow, token_id)
            if row is None:
                made = tokens.issue(session, asked, service.who, token_id)
                row = made.row
                shown_now.append(made.token)
            return Answer(201, f"/v1/tokens/{row.id}", Token.model_validate(row).model_dump(mode="json"))

    answer = once.answered(wanted, create)
    if not shown_now:
        raise TokenShownBefore(f"token {answer.body['id']} was made under this Idempotency-Key")
    return response_of(replace(answer, body=answer.body | {"token": shown_now[0]}))


@router.get("/v1/tokens")
def list_tokens(service: InService, cursor: Cursor = None, limit: Limit = 50) -> Page[Token]:
    """Tokens of this site, newest first, the revoked ones too."""
    with service.store.reading() as session:
        found = page(session, TokenRow, cursor, limit)
    return Page[Token](items=[Token.model_validate(row) for row in found.rows], next_cursor=found.next_cursor)


@router.delete("/v1/tokens/{token_id}")
def revoke_token(token_id: str, service: InService) -> Token:
    """Let nothing in with it any more. It stays in the list."""
    with service.store.writing() as session:
        return Token.model_validate(tokens.revoke(session, token_id, service.who))


@router.post("/v1/users", status_code=201, response_model=User)
def add_user(wanted: NewUser, service: InService, once: Once) -> JSONResponse:
    """Add a user to this site."""
    if (wanted.issuer is None) != (wanted.subject is None):
        raise RequestInvalid("issuer and subject belong together", "Give both, or neither.")
    vouched = people.Vouched(wanted.issuer, wanted.subject) if wanted.issuer and wanted.subject else None

    def create(user_id: str) -> Answer:
        with service.store.writing() as session:
            there = session.get(UserRow, user_id)
            row = there or people.add_user(session, wanted.name, wanted.roles, service.who, vouched, user_id)
            return Answer(201, f"/v1/users/{row.id}", User.model_validate(row).model_dump(mode="json"))

    return once(wanted, create)


@router.get("/v1/users")
def list_users(service: InService, cursor: Cursor = None, limit: Limit = 50) -> Page[User]:
    """Users of this site, newest first, the removed ones too."""
    with service.store.reading() as session:
        found = page(session, UserRow, cursor, limit)
    return Page[User](items=[User.model_validate(row) for row in found.rows], next_cursor=found.next_cursor)


@router.get("/v1/users/{user_id}")
def show_user(user_id: str, service: InService, response: Response) -> User:
    """One user; the ETag is the revision."""
    with service.store.reading() as session:
        return _tagged(find(session, UserRow, user_id), response)


@router.put("/v1/users/{user_id}/roles")
def set_roles(
    user_id: str, wanted: NewRoles, service: InService, seen: SeenRevision, response: Response
) -> User:
    """Give a user these roles and no others; tokens and sessions that are there follow."""
    with service.store.writing() as session:
        row = find(session, UserRow, user_id)
        return _tagged(people.set_roles(session, row, wanted.roles, service.who, seen), response)


@router.delete("/v1/users/{user_id}")
def remove_user(user_id: str, service: InService, response: Response) -> User:
    """Let nobody in as this user any more; the name stays taken."""
    with service.store.writing() as session:
        row = find(session, UserRow, user_id)
        return _tagged(people.remove_user(session, row, service.who), response)


def _tagged(row: UserRow, response: Response) -> User:
    response.headers["ETag"] = etag(row.revision)
    return User.model_validate(row)
