"""Parts of uploads in any order; webhooks.

An older replica that writes an upload in order leaves `ranges` empty and counts in `received`: both are read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("uploads", sa.Column("ranges", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("uploads", sa.Column("epoch", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("uploads", sa.Column("sha256", sa.String(), nullable=True))
    op.add_column("uploads", sa.Column("touched", sa.String(), nullable=True))
    op.add_column("outbox", sa.Column("given_up", sa.String(), nullable=True))
    op.add_column("outbox", sa.Column("again", sa.String(), nullable=True))
    op.create_table(
        "webhooks",
        sa.Column("site", sa.String(), nullable=False, server_default="main"),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("with_case", sa.Boolean(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("removed", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_webhooks_site", "webhooks", ["site"])
