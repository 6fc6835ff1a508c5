"""Rows that tests of the store start from, and all that a store holds."""

from sqlalchemy import MetaData, select, update

from ultraread.serving.store.clock import steady_in
from ultraread.serving.store.engine import Store
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.jobs import NewRead
from ultraread.serving.store.records import NewSlide, file_slide
from ultraread.serving.store.tables import ReadRow

A_DIGEST = "a" * 64
Rows = dict[str, list[tuple[object, ...]]]
OF_ONE_PLACE = {"alembic_version", "boots"}
"""Tables that say something of the database itself."""


def file_a_slide(store: Store, case_id: str | None = None) -> str:
    """File a slide of one file; return its id."""
    file = {"name": "grid.tif", "sha256": A_DIGEST, "bytes": 4}
    slide = NewSlide(new_id(), A_DIGEST, "tiff", (file,), ({"index": 0},), case_id=case_id)
    with store.writing() as session:
        file_slide(session, slide, "a test")
    return slide.id


def new_read(*slide_ids: str, case_id: str | None = None) -> NewRead:
    return NewRead(
        id=new_id(),
        case_id=case_id,
        slide_ids=slide_ids,
        slide_sha256s=tuple(A_DIGEST for _ in slide_ids),
        model_name="ultrastructure-vnc",
        model_version="1.0.0",
        model_onnx_sha256="b" * 64,
        model_card_sha256="c" * 64,
        request={"region": None, "scale": None},
    )


def end_lease(store: Store, read_id: str) -> None:
    """What time does when an owner falls silent."""
    with store.writing() as session:
        session.execute(update(ReadRow).where(ReadRow.id == read_id).values(lease=steady_in(-1)))


def read_of(store: Store, read_id: str) -> ReadRow:
    with store.reading() as session:
        return session.get_one(ReadRow, read_id)


def rows_of(store: Store) -> Rows:
    """Every row, by the name of its table."""
    with store.reading() as session:
        tables = MetaData()
        tables.reflect(session.connection())
        return {
            table.name: sorted((tuple(row) for row in session.execute(select(table))), key=str)
            for table in tables.sorted_tables
            if not table.name.startswith("sqlite_") and table.name not in OF_ONE_PLACE
        }
