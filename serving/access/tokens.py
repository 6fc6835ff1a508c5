"""Tokens: made, listed, revoked, and who stands behind one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ultraread.errors import RequestInvalid
from ultraread.serving.access.people import NAME, refuse_name, user_named
from ultraread.serving.access.principal import Principal, Role, Scope
from ultraread.serving.access.secret import new_secret
from ultraread.serving.store.access_tables import SiteRow, TokenRow, UserRow
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.clock import utc_in, utc_now
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.records import find
from ultraread.serving.store.scope import site_of

DAY_S = 86_400.0
MOST_DAYS = 3650


@dataclass(frozen=True, slots=True)
class NewToken:
    """What a token shall be; with a user, it is never more than the user is at the time of use."""

    name: str
    roles: frozenset[Role]
    scopes: frozenset[Scope] = frozenset(Scope)
    user: str | None = None
    days: float | None = None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token's row, and the token itself, which nobody can show again."""

    row: TokenRow
    token: str


def issue(session: Session, wanted: NewToken, who: str, token_id: str | None = None) -> IssuedToken:
    """Make a token of the session's site, called `token_id`, or as nothing was called before.

    Raises RequestInvalid and NotFound.
    """
    refuse_name(NAME, wanted.name, "token")
    if session.get(SiteRow, site_of(session)) is None:
        raise RequestInvalid(f"there is no site {site_of(session)}", "See `ultraread sites ls`.")
    _refuse_days(wanted.days)
    user = None if wanted.user is None else user_named(session, wanted.user)
    _refuse_more_than(user, wanted.roles)
    made = new_secret()
    row = TokenRow(
        id=token_id or new_id(),
        site=site_of(session),
        name=wanted.name,
        user_id=user.id if user else None,
        prefix=made.prefix,
        hash=made.hash,
        roles=sorted(wanted.roles),
        scopes=sorted(wanted.scopes),
        expires=session.scalar(select(utc_in(wanted.days * DAY_S))) if wanted.days is not None else None,
    )
    session.add(row)
    session.flush()
    detail = {"name": row.name, "roles": row.roles, "scopes": row.scopes, "user": wanted.user}
    AuditLog(session).append(who, "token_made", row.id, detail | {"expires": row.expires})
    return IssuedToken(row, made.token)


def tokens(session: Session) -> Sequence[TokenRow]:
    """Of the session's site, oldest first, the revoked ones too."""
    return session.scalars(select(TokenRow).order_by(TokenRow.id)).all()


def revoke(session: Session, token_id: str, who: str) -> TokenRow:
    """From now on nothing is let in with it. Raises NotFound; what is revoked stays so."""
    row = find(session, TokenRow, token_id)
    if row.revoked is None:
        row.revoked = session.scalar(select(utc_now()))
        AuditLog(session).append(who, "token_revoked", row.id, {"name": row.name})
    return row


def find_by_prefix(session: Session, prefix: str | None) -> TokenRow | None:
    """Of any site; the session is the service's own."""
    return session.scalar(select(TokenRow).where(TokenRow.prefix == prefix)) if prefix else None


def principal_of(session: Session, token_id: str) -> Principal | None:
    """Who stands behind a token now; None where it is revoked or over, or its user is gone."""
    row = session.scalar(select(TokenRow).where(TokenRow.id == token_id))
    if row is None or row.revoked is not None or _is_over(session, row.expires):
        return None
    of_token = Principal(
        who=f"token:{row.name}:{row.prefix}",
        site=row.site,
        roles=frozenset(map(Role, row.roles)),
        scopes=frozenset(map(Scope, row.scopes)),
        token_id=row.id,
    )
    if row.user_id is None:
        return of_token
    user = principal_of_user(session, row.user_id)
    if user is None:
        return None
    return replace(of_token, who=user.who, user_id=row.user_id, roles=of_token.roles & user.roles)


def principal_of_user(session: Session, user_id: str) -> Principal | None:
    """Who a user is now; None where they were removed."""
    user = session.scalar(select(UserRow).where(UserRow.id == user_id, UserRow.removed.is_(None)))
    if user is None:
        return None
    return Principal(user.name, user.site, frozenset(map(Role, user.roles)), user_id=user.id)


def note_use(session: Session, token_id: str, unless_within_s: float) -> None:
    """Keep when a token was used last."""
    used_long_ago = (TokenRow.last_used.is_(None)) | (TokenRow.last_used < utc_in(-unless_within_s))
    session.execute(
        update(TokenRow).where(TokenRow.id == token_id, used_long_ago).values(last_used=utc_now())
    )


def _refuse_days(days: float | None) -> None:
    if days is not None and not 0 < days <= MOST_DAYS:
        told = f"a token of {days:g} days is over at once, or is never looked at again"
        raise RequestInvalid(told, f"State more than 0 and at most {MOST_DAYS} days, or none.")


def _refuse_more_than(user: UserRow | None, roles: Collection[Role]) -> None:
    """A role that the user does not have would begin to count unseen when they get it."""
    if user is not None and (more := sorted({*roles} - {*map(Role, user.roles)})):
        raise RequestInvalid(
            f"user {user.name} has no role {', '.join(more)}",
            "Leave it out, or give it to the user first: `ultraread users set-roles`.",
        )


def _is_over(session: Session, expires: str | None) -> bool:
    return expires is not None and expires <= str(session.scalar(select(utc_now())))
