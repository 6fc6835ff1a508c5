"""Who may come in: sites, their users and tokens. Of secrets only digests are kept."""

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ultraread.serving.store.clock import utc_now
from ultraread.serving.store.tables import SiteOwned, Table


class SiteRow(Table):
    """A hospital or tenant; `name` is for people."""

    __tablename__ = "sites"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    created: Mapped[str] = mapped_column(default=utc_now())


class UserRow(SiteOwned, Table):
    """A person of one site; `name` stands in the audit trail, for ever, and belongs to nobody else there."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("site", "name", name="users_by_name"),
        UniqueConstraint("site", "issuer", "subject", name="users_by_subject"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    roles: Mapped[list[str]]
    revision: Mapped[int] = mapped_column(default=1)
    issuer: Mapped[str | None]
    """Who vouches for the person at login, and what it calls them; none logs in with tokens alone."""
    subject: Mapped[str | None]
    created: Mapped[str] = mapped_column(default=utc_now())
    removed: Mapped[str | None]


class TokenRow(SiteOwned, Table):
    """A token of a program or of a user, whose roles then bound it; found by `prefix`, proved by `hash`."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    prefix: Mapped[str] = mapped_column(unique=True)
    hash: Mapped[str]
    """argon2id of the whole token."""
    roles: Mapped[list[str]]
    scopes: Mapped[list[str]]
    created: Mapped[str] = mapped_column(default=utc_now())
    expires: Mapped[str | None]
    last_used: Mapped[str | None]
    """Exact to a minute."""
    revoked: Mapped[str | None]


class BrowserSessionRow(SiteOwned, Table):
    """A browser that somebody logged in with: a user, a token, or a user's token, which bounds it then."""

    __tablename__ = "browser_sessions"

    id_hash: Mapped[str] = mapped_column(primary_key=True)
    """sha256 of the cookie, which is random and nowhere else."""
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    token_id: Mapped[str | None] = mapped_column(ForeignKey("tokens.id"))
    created: Mapped[str] = mapped_column(default=utc_now())
    seen: Mapped[str] = mapped_column(default=utc_now())
    """When something was asked for; exact to a quarter of the idle time."""
    expires: Mapped[str]
    locked: Mapped[bool] = mapped_column(default=False)
    ended: Mapped[str | None]


class LoginRow(Table):
    """A login that the provider has not answered yet; used once."""

    __tablename__ = "logins"

    state_hash: Mapped[str] = mapped_column(primary_key=True)
    nonce: Mapped[str]
    verifier: Mapped[str]
    """Of PKCE (RFC 7636)."""
    unlocks: Mapped[str | None]
    """The session that is to be unlocked by this login."""
    goes_to: Mapped[str]
    """Address at this service that the browser is sent to afterwards."""
    expires: Mapped[str]
