"""The queue: priorities, deadlines, digests of scored ranges, turns of sites, boots of the machine.

An older replica goes on beside this: what it does not write has a default of the server.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("reads", sa.Column("priority", sa.String(), nullable=False, server_default="routine"))
    op.add_column("reads", _string("finish_by", nullable=True))
    op.add_column("reads", sa.Column("ranges_scored", sa.Integer(), nullable=False, server_default="0"))
    _create_read_ranges()
    _create_site_turns()
    _create_boots()


def _create_read_ranges() -> None:
    op.create_table(
        "read_ranges",
        _string("read_id"),
        _string("slide_id"),
        _integer("image"),
        _integer("number"),
        _integer("epoch"),
        _string("sha256"),
        _integer("tiles"),
        _integer("runs"),
        _string("at"),
        sa.ForeignKeyConstraint(["read_id"], ["reads.id"]),
        sa.PrimaryKeyConstraint("read_id", "slide_id", "image", "number"),
    )


def _create_site_turns() -> None:
    columns = (_string("site"), _integer("turn"))
    op.create_table("site_turns", *columns, sa.PrimaryKeyConstraint("site"))


def _create_boots() -> None:
    columns = (_string("boot_id"), _string("zero_at"))
    op.create_table("boots", *columns, sa.PrimaryKeyConstraint("boot_id"))


def _string(name: str, nullable: bool = False) -> Column[Any]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _integer(name: str) -> Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=False)
