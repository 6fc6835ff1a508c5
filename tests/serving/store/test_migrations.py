"""A database of an earlier version is brought up with all that it holds."""

from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, text

from ultraread.datasets.scan_record.record import KeptRecord
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.migrate import SCRIPTS
from ultraread.serving.store.scan_records import record_shown
from ultraread.serving.store.tables import ScanRecordRow

FILED = {
    "slides": {
        "id": "s-1", "sha256": "a" * 64, "bytes": 4, "format": "tiff", "created": "2026-01-01",
        "files": f'[{{"name": "grid.tif", "sha256": "{"a" * 64}", "bytes": 4}}]',
        "images": '[{"index": 0, "width_px": 8, "height_px": 6, "levels": 1, "bit_depth": 8,'
        ' "samples_per_px": 1, "modality": "tem", "scales": [{"x_nm_per_px": 2.5, "y_nm_per_px": 2.5,'
        ' "origin": "ome", "tolerance": 0.05}]}]',
    },
    "scan_records": {
        "id": "r-1", "case_id": None, "slide_id": "s-1", "accession": "SIM-1", "primary_procedure": "88348",
        "specimen": "simulated", "digitized": None, "created": "2026-01-01",
    },
}  # fmt: skip


def _before_version_3(url: str, digitized: str | None) -> None:
    """A database as version 2 left it, with one slide filed."""
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    filed = {**FILED, "scan_records": {**FILED["scan_records"], "digitized": digitized}}
    for table, row in filed.items():
        _insert(engine, table, row)
    engine.dispose()


def _insert(engine: Engine, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)  # noqa: S608


@pytest.mark.parametrize(
    ("digitized", "kept"),
    [
        (None, {}),
        ("null", {}),
        ('{"object": "grid", "purpose": "primary"}', {"object": "grid", "purpose": "primary"}),
        (
            '{"object": "a grid", "purpose": "second look"}',
            {"note": "object: a grid; purpose: second look"},
        ),
        ('{"object": "film", "purpose": "teaching"}', {"object": "film", "note": "purpose: teaching"}),
    ],
)
def test_what_was_stated_of_a_slide_lies_in_its_record(
    tmp_path: Path, digitized: str | None, kept: dict[str, str]
) -> None:
    url = f"sqlite:///{tmp_path / 'ultraread.db'}"
    _before_version_3(url, digitized)
    store = open_store(url)
    with store.reading() as session:
        row = session.get_one(ScanRecordRow, "r-1")
        record = record_shown(session, row)
    store.close()
    assert (row.revision, record.accession, record.primary_procedure) == (1, "SIM-1", "88348")
    assert record.specimen == "simulated"
    assert record.digitized.model_dump(exclude_none=True) == kept
    assert KeptRecord.model_validate(row.record).links == ()
    (image,) = record.from_file.images
    assert (image.width_px, image.scales[0].x_nm_per_px, image.acquisition.microscope) == (8, 2.5, None)
