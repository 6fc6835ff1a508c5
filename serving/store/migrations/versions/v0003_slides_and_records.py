"""What was found burnt into slides, and who is identified by them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _add_to_slides()


def _add_to_slides() -> None:
    op.add_column("slides", sa.Column("looks", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("slides", sa.Column("identity", sa.JSON(), nullable=True))
