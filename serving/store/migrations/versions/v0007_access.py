"""Access: sites, users, tokens, sessions of browsers, logins under way."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

MAIN = "main"
_NOW = "1970-01-01T00:00:00.000Z"
"""When the first site was made, which nobody knows."""


def upgrade() -> None:
    sites = op.create_table(
        "sites",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
    )
    op.bulk_insert(sites, [{"id": MAIN, "name": MAIN, "created": _NOW}])
    _create_users()
    _create_tokens()
    _create_sessions()
    op.create_table(
        "logins",
        sa.Column("state_hash", sa.String(), primary_key=True),
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("verifier", sa.String(), nullable=False),
        sa.Column("unlocks", sa.String(), nullable=True),
        sa.Column("goes_to", sa.String(), nullable=False),
        sa.Column("expires", sa.String(), nullable=False),
    )


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.String(), primary_key=True),
        _site(),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=True),
        sa.Column("subject", sa.String(), nullable=True),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("removed", sa.String(), nullable=True),
        sa.UniqueConstraint("site", "name", name="users_by_name"),
        sa.UniqueConstraint("site", "issuer", "subject", name="users_by_subject"),
    )


def _create_tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(), primary_key=True),
        _site(),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), sa.ForeignKey("users.id"), nullable=True),
        sa.Column("prefix", sa.String(), nullable=False, unique=True),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("expires", sa.String(), nullable=True),
        sa.Column("last_used", sa.String(), nullable=True),
        sa.Column("revoked", sa.String(), nullable=True),
    )


def _create_sessions() -> None:
    op.create_table(
        "browser_sessions",
        sa.Column("id_hash", sa.String(), primary_key=True),
        _site(),
        sa.Column("user_id", sa.String(), sa.ForeignKey("users.id"), nullable=True),
        sa.Column("token_id", sa.String(), sa.ForeignKey("tokens.id"), nullable=True),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("seen", sa.String(), nullable=False),
        sa.Column("expires", sa.String(), nullable=False),
        sa.Column("locked", sa.Boolean(), nullable=False),
        sa.Column("ended", sa.String(), nullable=True),
    )


def _site() -> "sa.Column[str]":
    return sa.Column("site", sa.String(), nullable=False, server_default=MAIN, index=True)
