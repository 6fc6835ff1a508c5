"""The first tables: cases, slides, scan records, reads, outbox, uploads, idempotency keys, audit trail."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_audit_events()
    _create_cases()
    _create_idempotency_keys()
    _create_slides()
    _create_uploads()
    _create_reads()
    _create_outbox()
    _create_scan_records()
    _refuse_changes_of_the_audit_trail()


def _create_audit_events() -> None:
    op.create_table(
        "audit_events",
        _integer("sequence"),
        _string("at"),
        _string("who"),
        _string("what"),
        _string("subject"),
        _json("detail"),
        sa.PrimaryKeyConstraint("sequence"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_events_subject", "audit_events", ["subject"])


def _create_cases() -> None:
    op.create_table("cases", _string("id"), _string("created"), sa.PrimaryKeyConstraint("id"))


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        _string("key"),
        _string("request_sha256"),
        _string("subject_id"),
        _integer("status", nullable=True),
        _string("location", nullable=True),
        _json("body", nullable=True),
        _string("created"),
        sa.PrimaryKeyConstraint("key"),
    )


def _create_slides() -> None:
    op.create_table(
        "slides",
        _string("id"),
        _string("sha256"),
        _integer("bytes"),
        _string("format"),
        _json("files"),
        _json("images"),
        _string("created"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_slides_sha256", "slides", ["sha256"])


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        _string("id"),
        _string("file_name"),
        _integer("bytes"),
        _integer("received"),
        _string("created"),
        sa.PrimaryKeyConstraint("id"),
    )


def _create_reads() -> None:
    op.create_table(
        "reads",
        _string("id"),
        _string("state"),
        _string("case_id", nullable=True),
        _json("slide_ids"),
        _json("slide_sha256s"),
        _string("model_name"),
        _string("model_version"),
        _string("model_onnx_sha256"),
        _string("model_card_sha256"),
        _json("request"),
        _json("binding", nullable=True),
        _integer("tiles_total"),
        _integer("tiles_done"),
        _integer("ranges_done"),
        _string("error_code", nullable=True),
        _string("error_what", nullable=True),
        _string("error_remedy", nullable=True),
        _string("mlflow_run_id", nullable=True),
        _string("owner", nullable=True),
        _integer("epoch"),
        _string("lease", nullable=True),
        _integer("attempts"),
        _boolean("cancel_requested"),
        _string("created"),
        _string("started", nullable=True),
        _string("ended", nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_reads_case_id", "reads", ["case_id"])
    op.create_index("reads_by_state", "reads", ["state", "lease"])


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        _string("read_id"),
        _string("kind"),
        _json("body"),
        _integer("attempts"),
        _string("error", nullable=True),
        _string("due"),
        _string("sent", nullable=True),
        sa.ForeignKeyConstraint(["read_id"], ["reads.id"]),
        sa.PrimaryKeyConstraint("read_id", "kind"),
    )


def _create_scan_records() -> None:
    op.create_table(
        "scan_records",
        _string("id"),
        _string("case_id", nullable=True),
        _string("slide_id"),
        _string("accession", nullable=True),
        _string("primary_procedure", nullable=True),
        _string("specimen", nullable=True),
        _json("digitized", nullable=True),
        _string("read_id", nullable=True),
        _string("model_name", nullable=True),
        _string("model_version", nullable=True),
        _string("model_onnx_sha256", nullable=True),
        _string("mlflow_run_id", nullable=True),
        _string("created"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"]),
        sa.ForeignKeyConstraint(["read_id"], ["reads.id"]),
        sa.ForeignKeyConstraint(["slide_id"], ["slides.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_scan_records_case_id", "scan_records", ["case_id"])
    op.create_index("ix_scan_records_slide_id", "scan_records", ["slide_id"])


def _refuse_changes_of_the_audit_trail() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _refuse_them_on_postgres()
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_events_refuse_{change.lower()} BEFORE {change} ON audit_events "
            "BEGIN SELECT RAISE(ABORT, 'audit events are never changed or removed'); END"
        )


def _refuse_them_on_postgres() -> None:
    op.execute(
        "CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE EXCEPTION 'audit events are never changed or removed'; END$$"
    )
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_events_refuse_{change.lower()} BEFORE {change} ON audit_events "
            "FOR EACH ROW EXECUTE FUNCTION audit_events_refuse()"
        )


def _string(name: str, nullable: bool = False) -> Column[Any]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _integer(name: str, nullable: bool = False) -> Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _json(name: str, nullable: bool = False) -> Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=nullable)


def _boolean(name: str) -> Column[Any]:
    return sa.Column(name, sa.Boolean(), nullable=False)
