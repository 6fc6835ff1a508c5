"""Tokens: made, listed, revoked, and who stands behind one."""

from collections.abc import Sequence
from dataclasses import dataclass

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


def issue(session: Session, wanted: NewToken, who: str) -> IssuedToken:
    """Make a token of the session's site. Raises RequestInvalid and NotFound."""
    refuse_name(NAME, wanted.name, "token")
    if session.get(SiteRow, site_of(session)) is None:
        raise RequestInvalid(f"there is no site {site_of(session)}", "See `ultraread sites ls`.")
    user = None if wanted.user is None else user_named(session, wanted.user)
    made = new_secret()
    row = TokenRow(
        id=new_id(),
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
    user = None if row.user_id is None else session.get_one(UserRow, row.user_id)
    if user is not None and user.removed is not None:
        return None
    roles = row.roles if user is None else set(row.roles) & set(user.roles)
    return Principal(
        who=f"token:{row.name}" if user is None else user.name,
        site=row.site,
        roles=frozenset(map(Role, roles)),
        scopes=frozenset(map(Scope, row.scopes)),
        user_id=row.user_id,
        token_id=row.id,
    )


def note_use(session: Session, token_id: str, unless_within_s: float) -> None:
    """Keep when a token was used last."""
    used_long_ago = (TokenRow.last_used.is_(None)) | (TokenRow.last_used < utc_in(-unless_within_s))
    session.execute(
        update(TokenRow).where(TokenRow.id == token_id, used_long_ago).values(last_used=utc_now())
    )


def _is_over(session: Session, expires: str | None) -> bool:
    return expires is not None and expires <= str(session.scalar(select(utc_now())))
