"""Logins under way, each answered once; and which user a provider's claims are."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ultraread.errors import AuthForbidden, AuthInvalid
from ultraread.serving.access.id_tokens import REFUSED, Claims, NewLogin
from ultraread.serving.access.people import (
    NAME,
    Vouched,
    add_user,
    is_of_the_service,
    set_roles,
    sites_of,
    user_of,
)
from ultraread.serving.access.principal import Principal, Role
from ultraread.serving.access.tokens import principal_of_user
from ultraread.serving.setting_groups.access import AccessSettings
from ultraread.serving.store.access_tables import LoginRow, SiteRow, UserRow
from ultraread.serving.store.clock import utc_in, utc_now
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import MAIN_SITE

LOGIN_S = 600.0
"""Seconds in which the provider has to send the browser back."""
NO_USER = "you are no user of this service"
BY = "login"
"""Who adds a user at the first login, in the audit trail."""


@dataclass(frozen=True, slots=True)
class KeptLogin:
    """A login as it was begun, with what it shall do."""

    login: NewLogin
    unlocks: str | None
    """Key of the locked session that it shall unlock."""
    goes_to: str


def keep(session: Session, kept: KeptLogin) -> None:
    """Remember it until the browser comes back; those that never did are forgotten."""
    session.execute(delete(LoginRow).where(LoginRow.expires < utc_now()))
    session.add(
        LoginRow(
            state_hash=_hash(kept.login.state),
            nonce=kept.login.nonce,
            verifier=kept.login.verifier,
            unlocks=kept.unlocks,
            goes_to=kept.goes_to,
            expires=session.scalar(select(utc_in(LOGIN_S))),
        )
    )


def take(session: Session, state: str) -> KeptLogin:
    """The login of this state, which counts once. Raises AuthInvalid."""
    row = session.scalar(
        select(LoginRow).where(LoginRow.state_hash == _hash(state), LoginRow.expires > utc_now())
    )
    if row is None:
        raise AuthInvalid(REFUSED)
    session.delete(row)
    return KeptLogin(NewLogin(state, row.nonce, row.verifier), row.unlocks, row.goes_to)


def logged_in(store: Store, settings: AccessSettings, claims: Claims) -> Principal:
    """The user of the claims, with the roles of today. `store` is the service's own.

    Raises AuthForbidden where they are no user and may not become one, or are a user of other sites alone,
    who has to be removed or added by an administrator.
    """
    vouched = Vouched(str(claims["iss"]), str(claims["sub"]))
    site, roles = _site(settings, claims), _roles(settings, claims)
    if site is None:
        raise AuthForbidden(NO_USER)
    with store.of_site(_site_of(store, settings, vouched, site)).writing() as session:
        row = user_of(session, vouched) or _added(session, settings, vouched, claims, site, roles)
        if settings.oidc_roles_claim is not None and row.roles != roles:
            set_roles(session, row, roles, BY)
        session.flush()
        principal = principal_of_user(session, row.id)
    if principal is None:
        raise AuthForbidden(NO_USER)
    return principal


def _site_of(store: Store, settings: AccessSettings, vouched: Vouched, site: str) -> str:
    """The claimed one, or where claims name none the user's own. Raises AuthForbidden as `logged_in` does."""
    with store.reading() as session:
        if settings.oidc_site_claim is None:
            there = user_of(session, vouched)
            return there.site if there else site
        if site not in (sites_of(session, vouched) or {site}):
            raise AuthForbidden(NO_USER)
    return site


def _added(
    session: Session,
    settings: AccessSettings,
    vouched: Vouched,
    claims: Claims,
    site: str,
    roles: Sequence[Role],
) -> UserRow:
    if not settings.oidc_new_users or session.get(SiteRow, site) is None:
        raise AuthForbidden(NO_USER)
    name = _name(session, settings, vouched, claims)
    return add_user(session, name, roles, BY, vouched)


def _site(settings: AccessSettings, claims: Claims) -> str | None:
    """None where the claim names no site."""
    if settings.oidc_site_claim is None:
        return MAIN_SITE
    stated = _words(claims, settings.oidc_site_claim)
    known = [_mapped(settings.oidc_sites, word) for word in stated]
    return known[0] if len(known) == 1 else None


def _roles(settings: AccessSettings, claims: Claims) -> list[Role]:
    """What is no role here counts for nothing."""
    if settings.oidc_roles_claim is None:
        return []
    stated = {_mapped(settings.oidc_roles, word) for word in _words(claims, settings.oidc_roles_claim)}
    return sorted(role for role in Role if role in stated)


def _words(claims: Claims, name: str) -> list[str]:
    """A claim's value or values; `realm_access.roles` is inside of another claim."""
    found: Any = claims
    for step in [name] if name in claims else name.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return [str(word) for word in found] if isinstance(found, list) else [str(found)] if found else []


def _mapped(names: Mapping[str, str], word: str) -> str | None:
    return names.get(word) if names else word


def _name(session: Session, settings: AccessSettings, vouched: Vouched, claims: Claims) -> str:
    """The claim's, where it may stand in the audit trail and is nobody's; else one that tells nothing."""
    stated = str(claims.get(settings.oidc_name_claim, ""))
    taken = session.scalar(select(UserRow.id).where(UserRow.name == stated))
    if re.fullmatch(NAME, stated) and taken is None and not is_of_the_service(stated):
        return stated
    return f"user-{_hash(f'{vouched.issuer} {vouched.subject}')[:12]}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
