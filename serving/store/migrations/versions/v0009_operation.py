"""Processes that are there, what they count, which answers a keyed request, and what the tables ask."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("deployment", sa.String(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("seen", sa.String(), nullable=False),
    )
    op.create_index("workers_by_seen", "workers", ["seen"])
    op.create_table(
        "counts",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("labels", sa.String(), primary_key=True),
        sa.Column("value", sa.Float(), nullable=False),
    )
    op.add_column("idempotency_keys", sa.Column("owner", sa.String(), nullable=True))
    needs = op.create_table(
        "schema_needs",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("oldest", sa.String(), nullable=False),
    )
    op.bulk_insert(needs, [{"id": 1, "oldest": "0009"}])
