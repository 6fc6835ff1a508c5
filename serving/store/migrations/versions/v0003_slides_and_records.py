"""What was found burnt into slides, and who is identified by them; scan records in one piece."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _add_to_slides()
    _keep_calibrations()
    _file_each_scan_record_in_one_piece()
    _create_stored()
    _create_copies()


def _keep_calibrations() -> None:
    op.create_table(
        "calibrations",
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sqlite_autoincrement=True,
    )


def _add_to_slides() -> None:
    op.add_column("slides", sa.Column("looks", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("slides", sa.Column("identity", sa.JSON(), nullable=True))


_OBJECTS = {"semithin_glass", "grid", "film", "prior_file"}
_PURPOSES = {
    "primary", "second_read", "archive", "education", "research", "database", "conference", "qa",
}  # fmt: skip


def _file_each_scan_record_in_one_piece() -> None:
    op.add_column("scan_records", sa.Column("record", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("scan_records", sa.Column("revision", sa.Integer(), nullable=False, server_default="1"))
    connection = op.get_bind()
    columns = "id, accession, primary_procedure, specimen, digitized"
    for row in connection.execute(sa.text(f"SELECT {columns} FROM scan_records")).mappings().all():  # noqa: S608
        record = {name: row[name] for name in ("accession", "primary_procedure", "specimen")}
        record["digitized"] = _digitized(_object(row["digitized"]))
        filed = {"id": row["id"], "record": json.dumps(record)}
        connection.execute(sa.text("UPDATE scan_records SET record = :record WHERE id = :id"), filed)
    for name in ("accession", "primary_procedure", "specimen", "digitized"):
        op.drop_column("scan_records", name)


def _object(column: Any) -> dict[str, Any]:  # noqa: ANN401  # PostgreSQL hands out JSON read, SQLite as text
    return (json.loads(column) if isinstance(column, str) else column) or {}


def _digitized(stated: dict[str, Any]) -> dict[str, Any]:
    """Object and purpose were free text: what is no word of the record is kept as a note."""
    known = {"object": _OBJECTS, "purpose": _PURPOSES}
    kept = {name: stated[name] for name in known if stated.get(name) in known[name]}
    others = [f"{name}: {stated[name]}" for name in known if stated.get(name) and name not in kept]
    return {**kept, "note": "; ".join(others) or None}


def _create_stored() -> None:
    op.create_table(
        "stored",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("retain_until", sa.String(), nullable=True),
        sa.Column("legal_hold", sa.JSON(), nullable=True),
        sa.Column("expired", sa.JSON(), nullable=True),
        sa.Column("created", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id"),
    )


def _create_copies() -> None:
    op.create_table(
        "copies",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("damaged", sa.JSON(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due", sa.String(), nullable=False),
        sa.Column("checked", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["kind", "id"], ["stored.kind", "stored.id"]),
        sa.PrimaryKeyConstraint("kind", "id", "place"),
    )
    op.create_index("copies_by_state", "copies", ["place", "state", "due"])
