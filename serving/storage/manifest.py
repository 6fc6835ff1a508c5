"""The list of a backup: every file of one moment with its digest, and a digest of the list itself.

A backup is a place with `files/<first two>/<sha256>` and `snapshots/<moment>.json`. What two snapshots share
is there once.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any

import rfc8785

from ultraread.errors import IntegrityFailed, NotFound
from ultraread.serving.findings import digest_of
from ultraread.serving.storage.target import StoredName, Target, digest_of_pieces

SCHEMA_VERSION = "1"
SNAPSHOTS = "snapshots"
DATABASE, MLFLOW = "ultraread.db", "mlflow.db"
ROOMS = (DATABASE, MLFLOW, "mlflow-artifacts", "models", "reads", "slides")
"""What a path of a backup may begin with."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A file of the installation: its path below the data folder, digest and size."""

    path: str
    sha256: str
    bytes: int

    @property
    def kept(self) -> StoredName:
        """What it is called in the backup."""
        return StoredName(f"files/{self.sha256[:2]}/{self.sha256}", self.sha256, self.bytes)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was there at one moment. `damaged` files could not be backed up: no good copy was left."""

    name: str
    files: tuple[BackedUp, ...]
    damaged: tuple[str, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def new_name() -> str:
    """The moment in UTC, so that names sort by it."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def write_manifest(target: Target, manifest: Manifest) -> None:
    """Put the list into the backup: with it, the snapshot exists."""
    body: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "ultraread": version("ultraread"),
        "files": [asdict(file) for file in sorted(manifest.files, key=lambda file: file.path)],
        "damaged": sorted(manifest.damaged),
    }
    data = rfc8785.dumps({**body, "digest": digest_of(body)})
    target.put(StoredName(_path(manifest.name), *digest_of_pieces(iter([data]))), iter([data]))


def snapshots(target: Target) -> list[str]:
    """Names of the snapshots, the oldest first."""
    return [PurePosixPath(name).stem for name in target.names(SNAPSHOTS)]


def read_manifest(target: Target, name: str | None = None) -> Manifest:
    """A snapshot's list; without a name, the newest. Raises NotFound, IntegrityFailed."""
    there = snapshots(target)
    if not there:
        raise NotFound(f"there is no backup at {target.url}", "Name where `ultraread backup` wrote to.")
    if name not in (None, *there):
        raise NotFound("there is no such snapshot", f"There are: {', '.join(there)}.")
    name = name or there[-1]
    data = b"".join(target.pieces(_path(name)))
    body = _confirmed(data, name)
    files = tuple(BackedUp(**file) for file in body["files"])
    _refuse_strange_paths(files, name)
    return Manifest(name, files, tuple(body["damaged"]))


def _path(name: str) -> str:
    return f"{SNAPSHOTS}/{name}.json"


def _confirmed(data: bytes, name: str) -> dict[str, Any]:
    try:
        body: dict[str, Any] = json.loads(data)
        if body["digest"] == digest_of(body) and rfc8785.dumps(body) == data:
            return body
    except (ValueError, KeyError, TypeError):
        pass  # the same to whoever has to act
    raise IntegrityFailed(f"{_path(name)} is not what its digest says", "Take another snapshot or backup.")


def _refuse_strange_paths(files: Sequence[BackedUp], name: str) -> None:
    """A list that somebody else wrote must not choose where on this machine files are put."""
    for file in files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or path.parts[0] not in ROOMS:
            raise IntegrityFailed(f"{_path(name)} names a path that is none of UltraRead's")
