"""Sites: everything that is filed belongs to one; what was there belongs to `main`.

An older replica that still writes leaves the site out: the server's default files it under `main`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

MAIN = "main"
_OWNED = ("slides", "scan_records", "reads", "calibrations", "uploads", "audit_events")
_IN_CASES = ("scan_records", "reads")
_NAMES = {"fk": "%(table_name)s_%(column_0_name)s_fkey"}
"""How PostgreSQL calls the foreign keys that the first migration left without a name."""


def upgrade() -> None:
    for table in _OWNED:
        op.add_column(table, _site())
        op.create_index(f"ix_{table}_site", table, ["site"])
    for table in _IN_CASES:
        with op.batch_alter_table(table, naming_convention=_NAMES) as batch:
            batch.drop_constraint(f"{table}_case_id_fkey", type_="foreignkey")
    _make_again("cases", "id", sa.Column("created", sa.String(), nullable=False))
    _make_again(
        "idempotency_keys",
        "key",
        sa.Column("request_sha256", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("location", sa.String(), nullable=True),
        sa.Column("body", sa.JSON(), nullable=True),
        sa.Column("created", sa.String(), nullable=False),
    )
    for table in _IN_CASES:
        with op.batch_alter_table(table) as batch:
            batch.create_foreign_key(f"{table}_case_fkey", "cases", ["site", "case_id"], ["site", "id"])


def _make_again(table: str, name: str, *columns: "sa.Column[object]") -> None:
    """With (site, name) as key: what a site calls its own is free to every other one."""
    op.rename_table(table, f"{table}_before")
    key = sa.PrimaryKeyConstraint("site", name, name=f"{table}_of_site")
    op.create_table(table, _site(), sa.Column(name, sa.String(), nullable=False), *columns, key)
    kept = ", ".join([name, *(column.name for column in columns)])
    op.execute(f"INSERT INTO {table} ({kept}) SELECT {kept} FROM {table}_before")  # noqa: S608
    op.drop_table(f"{table}_before")


def _site() -> "sa.Column[str]":
    return sa.Column("site", sa.String(), nullable=False, server_default=MAIN)
