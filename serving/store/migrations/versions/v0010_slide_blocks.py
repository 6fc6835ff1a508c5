"""Digests of the blocks of filed slides; slides that were filed before get theirs at their next scrub."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "slide_blocks",
        sa.Column("site", sa.String(), nullable=False, server_default="main"),
        sa.Column("slide_id", sa.String(), sa.ForeignKey("slides.id", ondelete="CASCADE"), nullable=False),
        sa.Column("block_bytes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("slide_id"),
    )
    op.create_index("ix_slide_blocks_site", "slide_blocks", ["site"])
