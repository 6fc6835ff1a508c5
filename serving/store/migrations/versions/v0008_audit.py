"""The audit trail becomes a chain of hashes for each site, with signed checkpoints.

An older replica that still writes leaves sequence and hash of the site out: such rows are sealed later.
"""

import sqlalchemy as sa
from alembic import op

from ultraread.serving.store.audit import seal, sites_unsealed

revision = "0008"
down_revision = "0007"

_WRITTEN = ("sequence", "site", "at", "who", "what", "subject", "detail", "why", "old", "new")
_REFUSED = "audit events are never changed or removed"


def upgrade() -> None:
    _add_columns()
    _create_heads()
    _create_checkpoints()
    for change in ("update", "delete"):
        _drop_trigger(f"audit_events_refuse_{change}")
    _chain_what_is_there()
    _refuse("audit_events", "UPDATE", when=_is_more_than_sealing())
    _refuse("audit_events", "DELETE")
    _refuse("audit_checkpoints", "UPDATE")
    _refuse("audit_checkpoints", "DELETE")


def _add_columns() -> None:
    op.add_column("audit_events", sa.Column("why", sa.String(), nullable=False, server_default=""))
    op.add_column("audit_events", sa.Column("old", sa.JSON(), nullable=True))
    op.add_column("audit_events", sa.Column("new", sa.JSON(), nullable=True))
    op.add_column("audit_events", sa.Column("site_sequence", sa.Integer(), nullable=True))
    op.add_column("audit_events", sa.Column("previous", sa.String(), nullable=True))
    op.add_column("audit_events", sa.Column("hash", sa.String(), nullable=True))
    op.add_column(
        "audit_events", sa.Column("sealed", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_index("audit_events_of_site", "audit_events", ["site", "site_sequence"], unique=True)
    op.create_index("ix_audit_events_hash", "audit_events", ["hash"])


def _create_heads() -> None:
    op.create_table(
        "audit_heads",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("site"),
    )


def _create_checkpoints() -> None:
    op.create_table(
        "audit_checkpoints",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("public_key", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("signature", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("site", "sequence", "public_key"),
    )


def _chain_what_is_there() -> None:
    connection = op.get_bind()
    for site in sites_unsealed(connection):
        while seal(connection, site):
            pass


def _is_more_than_sealing() -> str:
    """Only a row without a hash may change, and only where the chain writes."""
    if _is_postgresql():
        same = " OR ".join(f"NEW.{name}::text IS DISTINCT FROM OLD.{name}::text" for name in _WRITTEN)
    else:
        same = " OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in _WRITTEN)
    return f"OLD.hash IS NOT NULL OR {same}"


def _refuse(table: str, change: str, when: str = "") -> None:
    name, condition = f"{table}_refuse_{change.lower()}", f"WHEN ({when})" if when else ""
    if not _is_postgresql():
        refusal = f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        op.execute(f"CREATE TRIGGER {name} BEFORE {change} ON {table} {condition} {refusal}")
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION refuse_change_of_audit() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSED}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    function = "EXECUTE FUNCTION refuse_change_of_audit()"
    op.execute(f"CREATE TRIGGER {name} BEFORE {change} ON {table} FOR EACH ROW {condition} {function}")
    if change == "DELETE":
        op.execute(f"CREATE TRIGGER {table}_refuse_truncate BEFORE TRUNCATE ON {table} {function}")


def _drop_trigger(name: str) -> None:
    op.execute(f"DROP TRIGGER IF EXISTS {name}" + (" ON audit_events" if _is_postgresql() else ""))


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
