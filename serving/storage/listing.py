"""The files of a folder with their digests, as they are noted in the store."""

from pathlib import Path

from ultraread.datasets.digest import sha256_of_file
from ultraread.serving.store.tables import Json


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
