"""Lists of what is stored: the files of a folder with their digests, and everything with its copies."""

from pathlib import Path

from sqlalchemy import select

from ultraread.datasets.digest import sha256_of_file
from ultraread.serving.store.copies import copies_of
from ultraread.serving.store.engine import Store
from ultraread.serving.store.tables import CopyRow, Json, StoredRow


def files_below(folder: Path, name: str) -> tuple[Json, ...]:
    """[{name, sha256, bytes}] of all files of a finished folder, which will be called `name`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(
        {
            "name": f"{name}/{path.relative_to(folder)}",
            "sha256": sha256_of_file(path),
            "bytes": path.stat().st_size,
        }
        for path in files
    )


def list_all(store: Store) -> list[Json]:
    """What is kept or was, with state and last check of its copies."""
    with store.reading() as session:
        rows = session.scalars(select(StoredRow).order_by(StoredRow.kind, StoredRow.id)).all()
        return [
            _listed(row) | {"copies": {c.place: _copy(c) for c in copies_of(session, row)}} for row in rows
        ]


def _listed(row: StoredRow) -> Json:
    names = ("kind", "id", "sha256", "bytes", "created", "retain_until", "legal_hold", "expired")
    return {name: getattr(row, name) for name in names} | {"files": len(row.files)}


def _copy(row: CopyRow) -> Json:
    return {name: getattr(row, name) for name in ("state", "checked", "damaged", "error")}
