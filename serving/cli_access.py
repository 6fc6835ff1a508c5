"""`ultraread tokens`, `users` and `sites`: who may come in. On the store itself, with the rights of files."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultraread.errors import RequestInvalid
from ultraread.serving import cli_options as options
from ultraread.serving.cli_storage import WHO, Config, DataDir, opened

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from ultraread.serving.access.principal import Role, Scope
    from ultraread.serving.store.access_tables import TokenRow, UserRow

MAIN = "main"

Site = Annotated[str, typer.Option("--site", help="The site that is meant.")]
Roles = Annotated[
    list[str],
    typer.Option("--role", help="submitter, pathologist, ml_engineer, auditor or admin; more than one."),
]
UserName = Annotated[str, typer.Argument(help="The name that stands in the audit trail; no e-mail address.")]

tokens = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Tokens of programs and people.")
users = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Users of a site, and their roles.")
sites = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Sites: who sees what of whom.")


@tokens.command("create")
def create_token(
    name: Annotated[
        str, typer.Argument(help="What it is for; stands in the audit trail as token:NAME:PREFIX.")
    ],
    role: Roles,
    site: Site = MAIN,
    user: Annotated[
        str | None, typer.Option("--user", help="Whose it is: it never allows more than the user's roles.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="read, write or metrics; without one, all.")
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", help="For how long; without it, until it is revoked.")
    ] = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a token, and print it: nobody can show it again.

    Example: ultraread tokens create scanner-2 --role submitter --days 365
    """
    from ultraread.serving.access.principal import Scope
    from ultraread.serving.access.tokens import NewToken, issue

    scopes = frozenset(_scopes(scope)) if scope else frozenset(Scope)
    wanted = NewToken(name, frozenset(_roles(role)), scopes, user, days)
    with _changing(config, data_dir, site) as session:
        made = issue(session, wanted, WHO)
        shown = _shown_token(made.row) | {"token": made.token}
    typer.echo(json.dumps(shown) if as_json else made.token)


@tokens.command("ls")
def list_tokens(
    site: Site = MAIN, config: Config = None, data_dir: DataDir = None, as_json: options.AsJson = False
) -> None:
    """List the tokens of a site; none of them is shown itself.

    Example: ultraread tokens ls --site north
    """
    from ultraread.serving.access.tokens import tokens as all_tokens

    with _changing(config, data_dir, site) as session:
        _tell([_shown_token(row) for row in all_tokens(session)], as_json)


@tokens.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(help="Its id, as `tokens ls` tells it.")],
    site: Site = MAIN,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Let nothing in with a token any more; a running service heeds it within two seconds.

    Example: ultraread tokens revoke 01J8Z...
    """
    from ultraread.serving.access.tokens import revoke

    with _changing(config, data_dir, site) as session:
        _tell([_shown_token(revoke(session, token_id, WHO))], as_json)


@users.command("add")
def add(
    name: UserName,
    role: Roles,
    site: Site = MAIN,
    issuer: Annotated[str | None, typer.Option("--issuer", help="Whose login it is: oidc_issuer.")] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="What the issuer calls the person: claim `sub`.")
    ] = None,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Add a user to a site.

    Example: ultraread users add a.meyer --role pathologist --site north
    """
    from ultraread.serving.access.people import Vouched, add_user

    if (issuer is None) != (subject is None):
        raise RequestInvalid("--issuer and --subject belong together", "Give both, or neither.")
    vouched = Vouched(issuer, subject) if issuer is not None and subject is not None else None
    with _changing(config, data_dir, site) as session:
        _tell([_shown_user(add_user(session, name, _roles(role), WHO, vouched))], as_json)


@users.command("ls")
def list_users(
    site: Site = MAIN, config: Config = None, data_dir: DataDir = None, as_json: options.AsJson = False
) -> None:
    """List the users of a site, the removed ones too.

    Example: ultraread users ls
    """
    from ultraread.serving.access.people import users as all_users

    with _changing(config, data_dir, site) as session:
        _tell([_shown_user(row) for row in all_users(session)], as_json)


@users.command("set-roles")
def set_user_roles(
    name: UserName,
    role: Roles,
    site: Site = MAIN,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Give a user these roles and no others; tokens and sessions that are there follow.

    Example: ultraread users set-roles a.meyer --role pathologist --role auditor
    """
    from ultraread.serving.access.people import set_roles, user_named

    with _changing(config, data_dir, site) as session:
        _tell([_shown_user(set_roles(session, user_named(session, name), _roles(role), WHO))], as_json)


@users.command("remove")
def remove(
    name: UserName,
    site: Site = MAIN,
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Let nobody in as this user any more. The name stays taken: the audit trail tells of it.

    Example: ultraread users remove a.meyer
    """
    from ultraread.serving.access.people import remove_user, user_named

    with _changing(config, data_dir, site) as session:
        _tell([_shown_user(remove_user(session, user_named(session, name), WHO))], as_json)


@sites.command("add")
def add_one(
    site: Annotated[str, typer.Argument(help="Its id: small letters, digits, hyphens.")],
    name: Annotated[str, typer.Option("--name", help="What people call it.")] = "",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Add a site; what others file, it never learns of.

    Example: ultraread sites add north --name "Hospital North"
    """
    from ultraread.serving.access.people import add_site

    with _changing(config, data_dir, None) as session:
        row = add_site(session, site, name or site, WHO)
        _tell([{"id": row.id, "name": row.name, "created": row.created}], as_json)


@sites.command("ls")
def list_sites(config: Config = None, data_dir: DataDir = None, as_json: options.AsJson = False) -> None:
    """List the sites.

    Example: ultraread sites ls
    """
    from ultraread.serving.access.people import sites as all_sites

    with _changing(config, data_dir, None) as session:
        found = [{"id": row.id, "name": row.name, "created": row.created} for row in all_sites(session)]
        _tell(found, as_json)


@contextmanager
def _changing(config: Path | None, data_dir: Path | None, site: str | None) -> "Iterator[Session]":
    """One transaction in the store of the settings; without a site, of all. Raises NotFound."""
    with opened(config, data_dir) as house:
        store = house.store if site is None else house.store.of_site(site)
        with store.writing() as session:
            yield session


def _roles(names: Sequence[str]) -> "list[Role]":
    from ultraread.serving.access.principal import Role

    return [Role(_one_of(Role, name)) for name in names]


def _scopes(names: Sequence[str]) -> "list[Scope]":
    from ultraread.serving.access.principal import Scope

    return [Scope(_one_of(Scope, name)) for name in names]


def _one_of(kinds: "type[Role] | type[Scope]", name: str) -> str:
    known = [str(kind) for kind in kinds]
    if name not in known:
        raise RequestInvalid(f"{name} is none of {', '.join(known)}", "Name one of them.")
    return name


def _shown_token(row: "TokenRow") -> dict[str, Any]:
    names = ("id", "name", "prefix", "site", "user_id", "roles", "scopes", "created", "expires")
    return {name: getattr(row, name) for name in (*names, "last_used", "revoked")}


def _shown_user(row: "UserRow") -> dict[str, Any]:
    names = ("id", "name", "site", "roles", "issuer", "subject", "created", "removed")
    return {name: getattr(row, name) for name in names}


def _tell(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        told = "  ".join(f"{name}={_word(value)}" for name, value in row.items() if value not in (None, []))
        typer.echo(told)


def _word(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
