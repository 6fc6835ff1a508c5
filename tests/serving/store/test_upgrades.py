"""A database of the release before goes up with all that it holds, and that release goes on beside this one.

`RELEASED` is the newest revision that was released. The rows below name the columns of its tables.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, inspect, text

from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.jobs import Jobs, ReadResult
from ultraread.serving.store.migrate import as_on_sqlite
from ultraread.serving.store.schema import SCRIPTS
from ultraread.serving.store.tables import ReadState

RELEASED = "0003"
Row = dict[str, Any]
AT = "2026-11-01T00:00:00.000Z"
MODEL = {"model_name": "vnc", "model_version": "1.0.0", "model_onnx_sha256": "b" * 64}
RECORD = {"accession": "SIM-1", "primary_procedure": "88348", "specimen": "", "digitized": {}}


def rows(mark: str) -> dict[str, Row]:
    """A row of each table, in an order in which they can be inserted; `mark` makes the ids."""
    slide, read, case = f"slide-{mark}", f"read-{mark}", f"case-{mark}"
    stored = {"kind": "slide", "id": slide}
    return {
        "cases": {"id": case, "created": AT},
        "slides": {
            "id": slide, "sha256": "a" * 64, "bytes": 4, "format": "tiff", "images": [], "created": AT,
            "files": [{"name": "grid.tif", "sha256": "a" * 64, "bytes": 4}], "looks": [], "identity": None,
        },
        "reads": {
            "id": read, "state": "queued", "case_id": case, "slide_ids": [slide],
            "slide_sha256s": ["a" * 64], **MODEL, "model_card_sha256": "c" * 64, "request": {},
            "binding": None, "tiles_total": 0, "tiles_done": 0, "ranges_done": 0, "error_code": None,
            "error_what": None, "error_remedy": None, "mlflow_run_id": None, "owner": None, "epoch": 0,
            "lease": None, "attempts": 0, "cancel_requested": False, "created": AT, "started": None,
            "ended": None,
        },
        "outbox": {
            "read_id": read, "kind": "mlflow_run", "body": {}, "attempts": 0, "error": None, "due": AT,
            "sent": AT,
        },
        "scan_records": {
            "id": f"record-{mark}", "case_id": case, "slide_id": slide, "record": RECORD, "revision": 1,
            "read_id": None, "model_name": None, "model_version": None, "model_onnx_sha256": None,
            "mlflow_run_id": None, "created": AT,
        },
        "uploads": {
            "id": f"upload-{mark}", "file_name": "a.tif", "bytes": 3 * 2**40, "received": 0, "created": AT,
        },
        "idempotency_keys": {
            "key": f"key-{mark}", "request_sha256": "a" * 64, "subject_id": case, "status": 201,
            "location": f"/v1/cases/{case}", "body": {"id": case}, "created": AT,
        },
        "models": {"name": f"vnc-{mark}", "revision": 1, "told": 1},
        "model_versions": {
            "name": f"vnc-{mark}", "version": "1.0.0", "onnx_sha256": "b" * 64, "card_sha256": "c" * 64,
            "evaluation_sha256": None, "withdrawn": None, "withdrawn_reason": None, "created": AT,
        },
        "alias_changes": {
            "at": AT, "name": f"vnc-{mark}", "alias": "champion", "version": "1.0.0", "before": None,
            "who": "somebody", "reason": "better",
        },
        "shadow_reads": {
            "read_id": read, **MODEL, "state": "waiting", "attempts": 0, "error": None, "created": AT,
            "ended": None,
        },
        "calibrations": {"record": {"microscope": mark}, "created": AT},
        "stored": {
            **stored, "files": [], "sha256": "a" * 64, "bytes": 3 * 2**40, "retain_until": None,
            "legal_hold": None, "expired": None, "created": AT,
        },
        "copies": {
            **stored, "place": "first", "address": "", "state": "good", "damaged": [], "error": None,
            "attempts": 0, "due": AT, "checked": AT,
        },
        "audit_events": {
            "at": AT, "who": "somebody", "what": "slide_filed", "subject": slide, "detail": {"case_id": case},
        },
    }  # fmt: skip


@pytest.fixture
def released(empty_url: str) -> str:
    """A database as the release before left it, with a row in each table."""
    engine = create_engine(empty_url)
    if engine.dialect.name == "postgresql":
        as_on_sqlite(engine)
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, RELEASED)
        _insert(connection, rows("before"))
    engine.dispose()
    return empty_url


@pytest.fixture
def upgraded(released: str) -> Iterator[Store]:
    store = open_store(released)
    yield store
    store.close()


def test_the_rows_name_every_table_and_column_of_the_release_before(released: str) -> None:
    engine = create_engine(released)
    found = inspect(engine)
    counted = {"audit_events": {"sequence"}, "alias_changes": {"sequence"}, "calibrations": {"sequence"}}
    columns = {
        table: {column["name"] for column in found.get_columns(table)} - counted.get(table, set())
        for table in found.get_table_names()
        if table != "alembic_version"
    }
    engine.dispose()
    assert columns == {table: set(row) for table, row in rows("").items()}


def test_all_that_was_there_is_there(upgraded: Store) -> None:
    assert _found(upgraded.engine) == {table: [row] for table, row in rows("before").items()}


def test_an_upgraded_queue_goes_on(upgraded: Store) -> None:
    jobs = Jobs(upgraded, 60, 3)
    claim = jobs.claim("a runner of this version")
    assert claim is not None
    assert (claim.read.id, claim.read.priority, claim.read.site) == ("read-before", "routine", "main")
    with upgraded.writing() as session:
        session.execute(text("DELETE FROM outbox"))
    jobs.finish(claim, ReadState.SUCCEEDED, ReadResult())


def test_what_the_release_before_writes_is_taken_beside_this_one(upgraded: Store) -> None:
    with upgraded.engine.execution_options(writes=True).begin() as connection:
        _insert(connection, rows("after"))
        claim = (
            "UPDATE reads SET state = 'running', owner = 'a runner of before', lease = :lease,"
            " epoch = epoch + 1, attempts = attempts + 1, started = coalesce(started, :at)"
            " WHERE id = 'read-after' AND state = 'queued'"
        )
        assert connection.execute(text(claim), {"lease": "9999-01-01T00:00:00.000Z", "at": AT}).rowcount == 1
    assert {len(found) for found in _found(upgraded.engine).values()} == {2}
    taken = Jobs(upgraded, 60, 3).claim("a runner of this version")
    assert taken is not None
    assert taken.read.id == "read-before", "a read that the older runner holds stays its own"


def _insert(connection: Connection, of_tables: dict[str, Row]) -> None:
    for table, row in of_tables.items():
        names, values = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
        shown = {name: json.dumps(one) if isinstance(one, dict | list) else one for name, one in row.items()}
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), shown)  # noqa: S608


def _found(engine: Engine) -> dict[str, list[Row]]:
    """What stands in the columns that the release before knew."""
    with engine.connect() as connection:
        return {table: _rows_of(connection, table, row) for table, row in rows("").items()}


def _rows_of(connection: Connection, table: str, known: Row) -> list[Row]:
    names = ", ".join(f'"{name}"' for name in known)
    found = connection.execute(text(f"SELECT {names} FROM {table}")).mappings().all()  # noqa: S608
    return [{name: _read(value, known[name]) for name, value in row.items()} for row in found]


def _read(value: Any, like: Any) -> Any:  # noqa: ANN401  # SQLite hands out JSON as text, and truth as a number
    if isinstance(like, dict | list) and isinstance(value, str):
        return json.loads(value)
    return bool(value) if isinstance(like, bool) else value
