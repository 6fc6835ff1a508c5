"""The model registry: models, their versions, what aliases pointed to, and reads repeated by a shadow."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _create_models()
    _create_model_versions()
    _create_alias_changes()
    _create_shadow_reads()


def _create_models() -> None:
    op.create_table(
        "models",
        _string("name"),
        _integer("revision"),
        _integer("told"),
        sa.PrimaryKeyConstraint("name"),
    )


def _create_model_versions() -> None:
    op.create_table(
        "model_versions",
        _string("name"),
        _string("version"),
        _string("onnx_sha256"),
        _string("card_sha256"),
        _string("evaluation_sha256", nullable=True),
        _string("withdrawn", nullable=True),
        _string("withdrawn_reason", nullable=True),
        _string("created"),
        sa.ForeignKeyConstraint(["name"], ["models.name"]),
        sa.PrimaryKeyConstraint("name", "version"),
    )


def _create_alias_changes() -> None:
    op.create_table(
        "alias_changes",
        _integer("sequence"),
        _string("at"),
        _string("name"),
        _string("alias"),
        _string("version", nullable=True),
        _integer("before", nullable=True),
        _string("who"),
        _string("reason"),
        sa.ForeignKeyConstraint(["name"], ["models.name"]),
        sa.ForeignKeyConstraint(["before"], ["alias_changes.sequence"]),
        sa.PrimaryKeyConstraint("sequence"),
        sqlite_autoincrement=True,
    )
    op.create_index("alias_changes_by_alias", "alias_changes", ["name", "alias"])


def _create_shadow_reads() -> None:
    op.create_table(
        "shadow_reads",
        _string("read_id"),
        _string("model_name"),
        _string("model_version"),
        _string("model_onnx_sha256"),
        _string("state"),
        _integer("attempts"),
        _string("error", nullable=True),
        _string("created"),
        _string("ended", nullable=True),
        sa.ForeignKeyConstraint(["read_id"], ["reads.id"]),
        sa.PrimaryKeyConstraint("read_id"),
    )
    op.create_index("ix_shadow_reads_state", "shadow_reads", ["state"])


def _string(name: str, nullable: bool = False) -> Column[Any]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _integer(name: str, nullable: bool = False) -> Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=nullable)
