"""Sites and their users: added, listed, given roles, removed."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from ultraread.errors import NotFound, PreconditionFailed, RequestInvalid
from ultraread.serving.access.principal import Role
from ultraread.serving.store.access_tables import SiteRow, UserRow
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.clock import utc_now
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.scope import site_of

SITE = r"[a-z0-9][a-z0-9-]{0,31}"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""No e-mail address, no `token:`: it stands in the audit trail for ever."""
OF_THE_SERVICE = frozenset({"local", "login", "nobody", "scrub", "service", "system"})
"""What the audit trail calls the machine's operator, a login, a stranger, and the service's own work."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """Who a provider of logins says that somebody is; its subject never changes, whatever they are called."""

    issuer: str
    subject: str


def add_site(session: Session, site: str, name: str, who: str) -> SiteRow:
    """Add a site; the session is the service's own. Raises RequestInvalid."""
    refuse_name(SITE, site, "site")
    if session.get(SiteRow, site) is not None:
        raise RequestInvalid(f"there is a site {site} already", "See `ultraread sites ls`.")
    row = SiteRow(id=site, name=name)
    session.add(row)
    session.flush()
    AuditLog(session, site=site).append(who, "site_added", site, {"name": name})
    return row


def sites(session: Session) -> Sequence[SiteRow]:
    """All of them, by id."""
    return session.scalars(select(SiteRow).order_by(SiteRow.id)).all()


def add_user(
    session: Session,
    name: str,
    roles: Collection[Role],
    who: str,
    vouched: Vouched | None = None,
    user_id: str | None = None,
) -> UserRow:
    """Add a user to the session's site, called `user_id`, or as nobody was called before.

    Raises RequestInvalid: names are used once, also those of users that were removed.
    """
    refuse_name(NAME, name, "user")
    if is_of_the_service(name):
        raise RequestInvalid(f"{name} is what the audit trail calls the service", "Choose another name.")
    site = site_of(session)
    if session.get(SiteRow, site) is None:
        raise RequestInvalid(f"there is no site {site}", "See `ultraread sites ls`.")
    if session.scalar(select(UserRow).where(UserRow.name == name, UserRow.site == site)) is not None:
        raise RequestInvalid(f"there is or was a user {name}", "Choose another name.")
    if vouched is not None and user_of(session, vouched) is not None:
        raise RequestInvalid("there is a user of this issuer and subject", "See `ultraread users ls`.")
    row = UserRow(
        id=user_id or new_id(),
        site=site,
        name=name,
        roles=sorted(roles),
        issuer=vouched.issuer if vouched else None,
        subject=vouched.subject if vouched else None,
    )
    session.add(row)
    session.flush()
    AuditLog(session).append(who, "user_added", row.id, {"name": name, "roles": row.roles})
    return row


def users(session: Session) -> Sequence[UserRow]:
    """Of the session's site, by name, the removed ones too."""
    return session.scalars(select(UserRow).order_by(UserRow.name)).all()


def user_of(session: Session, vouched: Vouched) -> UserRow | None:
    """Of the session's site, or of any where it is the service's own: the one that was added first counts."""
    return session.scalar(select(UserRow).where(_is_of(vouched)).order_by(UserRow.id).limit(1))


def sites_of(session: Session, vouched: Vouched) -> set[str]:
    """Where they are a user that was not removed; `session` is the service's own."""
    return set(session.scalars(select(UserRow.site).where(_is_of(vouched), UserRow.removed.is_(None))))


def _is_of(vouched: Vouched) -> ColumnElement[bool]:
    return (UserRow.issuer == vouched.issuer) & (UserRow.subject == vouched.subject)


def user_named(session: Session, name: str) -> UserRow:
    """One that was not removed. Raises NotFound."""
    row = session.scalar(select(UserRow).where(UserRow.name == name, UserRow.removed.is_(None)))
    if row is None:
        raise NotFound(f"there is no user {name}", "See `ultraread users ls`.")
    return row


def set_roles(
    session: Session, row: UserRow, roles: Collection[Role], who: str, seen: int | None = None
) -> UserRow:
    """From now on these; also for tokens and sessions that are there. Raises PreconditionFailed."""
    if seen is not None and seen != row.revision:
        raise PreconditionFailed(f"user {row.id} is at revision {row.revision}")
    before, row.roles = row.roles, sorted(map(str, roles))
    row.revision += 1
    AuditLog(session).append(
        who, "user_roles_set", row.id, {"name": row.name}, old=before, new=list(row.roles)
    )
    return row


def remove_user(session: Session, row: UserRow, who: str) -> UserRow:
    """Nothing is let in as this user any more; the name stays taken."""
    if row.removed is None:
        row.removed = session.scalar(select(utc_now()))
        row.revision += 1
        AuditLog(session).append(who, "user_removed", row.id, {"name": row.name})
    return row


def is_of_the_service(name: str) -> bool:
    """Whether the audit trail would not tell a user of this name from the service."""
    return name.casefold() in OF_THE_SERVICE or re.match(r"(runner|upkeep)-\d", name) is not None


def refuse_name(pattern: str, name: str, of: str) -> None:
    """Raise RequestInvalid."""
    if not re.fullmatch(pattern, name):
        raise RequestInvalid(f"{name!r} is no name of a {of}", f"Take one of the form {pattern}.")
