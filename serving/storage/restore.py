"""Bring a backup back into an empty installation, whole or not at all, wherever it lies now."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import inspect, select

from ultraread.errors import IntegrityFailed, OutputExists
from ultraread.serving.settings import Settings
from ultraread.serving.storage.backup import ARTIFACTS, Note
from ultraread.serving.storage.copying import bytes_of
from ultraread.serving.storage.durable import fsync
from ultraread.serving.storage.manifest import DATABASE, MLFLOW, BackedUp, Manifest, read_manifest
from ultraread.serving.storage.places import target_at
from ultraread.serving.storage.target import Folder, StoredName, Target, digest_at
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.boot_clock import end_what_others_began
from ultraread.serving.store.duplicate import copy_from_file, refuse_rows
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.schema import looking
from ultraread.serving.store.tables import AuditRow

RESTORED = "restored"
"""The event, and the last one before the installation works again."""
SLIDES = "slides/"
NAMED = 20
"""Damaged files that a message names."""


@dataclass(slots=True)
class RestoreReport:
    """What was brought back, and what the backup itself did not have any more."""

    snapshot: str
    files: int = 0
    bytes: int = 0
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Restore:
    """Fills `settings.data_dir`, which must hold nothing; slides and rows go where `settings` keep them."""

    source: Target
    settings: Settings
    who: str

    def run(self, snapshot: str | None, start: Callable[[int], Note]) -> RestoreReport:
        """Restore a snapshot, or the newest. What an interrupted restore brought already is read and kept.

        Raises OutputExists where something is there; IntegrityFailed naming every file that is not what its
        digest says, and then nothing is to be seen; NotFound, StorageFull, StorageUnreachable,
        DatabaseUnreachable.
        """
        self._refuse_unless_empty()
        manifest = read_manifest(self.source, snapshot)
        is_filled = self._is_filled(manifest)
        note = start(manifest.bytes)
        self._unfinished.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clear_all_but(manifest)
        self._bring_all(manifest, note)
        self._settle_in(manifest)
        if self.settings.stated_database is not None:
            self._move_rows(self.settings.stated_database, is_filled)
        self._appear()
        return RestoreReport(manifest.name, len(manifest.files), manifest.bytes, list(manifest.damaged))

    @property
    def _folder(self) -> Path:
        return self.settings.data_dir.absolute()

    @property
    def _unfinished(self) -> Path:
        """Beside the data folder, so that one rename makes all of it appear."""
        return self._folder.with_name(f".{self._folder.name}.restoring")

    def _refuse_unless_empty(self) -> None:
        if self._folder.exists() and any(self._folder.iterdir()):
            raise OutputExists("the data folder is not empty", "Restore into a folder that holds nothing.")

    def _is_filled(self, manifest: Manifest) -> bool:
        """Whether the database that is set holds this snapshot, from a restore that died at its last step.

        Raises OutputExists where it holds anything else.
        """
        address = self.settings.stated_database
        if address is None:
            return False
        if self._unfinished.exists() and _last_event(address) == (RESTORED, manifest.name):
            return True
        refuse_rows(address)
        return False

    def _clear_all_but(self, manifest: Manifest) -> None:
        """What an interrupted restore left that is not of this snapshot: other files, a log of a database."""
        unfinished = Folder(self._unfinished)
        for name in set(unfinished.names("")) - {file.path for file in manifest.files}:
            unfinished.remove(name)

    def _bring_all(self, manifest: Manifest, note: Note) -> None:
        wrong = []
        for file in manifest.files:
            try:
                self._bring(file)
            except IntegrityFailed:
                wrong.append(file.path)
            note(file.bytes)
        if wrong:
            named = ", ".join(wrong[:NAMED])
            raise IntegrityFailed(
                f"{len(wrong)} files of snapshot {manifest.name} are missing or changed: {named}",
                "Nothing was restored. Take another snapshot (--snapshot) or another backup.",
            )

    def _bring(self, file: BackedUp) -> None:
        target, name = self._place_of(file)
        if digest_at(target, name) != file.kept.digest:
            pieces = bytes_of(self.source, file.kept)
            target.put(StoredName(name, file.sha256, file.bytes), pieces)

    def _place_of(self, file: BackedUp) -> tuple[Target, str]:
        """Slides go where the settings keep them; all else into the data folder."""
        if self.settings.slides_url is not None and file.path.startswith(SLIDES):
            return target_at(self.settings.slides_url), file.path.removeprefix(SLIDES)
        return Folder(self._unfinished), file.path

    def _settle_in(self, manifest: Manifest) -> None:
        """What belongs to the place and not to the data: MLflow's addresses, leases, who restored what."""
        if (mlflow := self._unfinished / MLFLOW).is_file():
            move_addresses(mlflow, self._folder)
        store = open_store(f"sqlite:///{self._unfinished / DATABASE}")
        with closing(store), store.writing() as session:
            end_what_others_began(session)
            AuditLog(session).append(self.who, RESTORED, manifest.name, {"files": len(manifest.files)})

    def _move_rows(self, address: str, is_filled: bool) -> None:
        """From the file that the backup has into the database that is set."""
        file = self._unfinished / DATABASE
        if not is_filled:
            copy_from_file(file, address)
        file.unlink()

    def _appear(self) -> None:
        for path in (self._unfinished / DATABASE, self._unfinished):
            if path.exists():
                fsync(path)
        os.replace(self._unfinished, self._folder)
        fsync(self._folder.parent)


def _last_event(address: str) -> tuple[str, str] | None:
    """What happened last, and to what; None in a database without events."""
    latest = select(AuditRow.what, AuditRow.subject).order_by(AuditRow.sequence.desc()).limit(1)
    with looking(address) as connection:
        row = connection.execute(latest).first() if inspect(connection).has_table("audit_events") else None
    return (row.what, row.subject) if row else None


def move_addresses(mlflow: Path, folder: Path) -> None:
    """Let MLflow look for artifacts and models in this data folder: it notes addresses as whole paths."""
    with closing(sqlite3.connect(mlflow, isolation_level=None)) as database:
        before = _artifacts_before(database)
        if before is None:
            return
        for table, column in _text_columns(database):
            moved = f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?) WHERE "{column}" LIKE ?'  # noqa: S608  # names of its own tables
            database.execute(moved, (folder.as_uri(), len(before) + 1, f"{before}/%"))


def _artifacts_before(database: sqlite3.Connection) -> str | None:
    """The address of the data folder that this MLflow store worked in."""
    locations = database.execute("SELECT artifact_location FROM experiments").fetchall()
    ours = (place for (place,) in locations if place and place.endswith(f"/{ARTIFACTS}"))
    found = next(ours, None)
    return None if found is None else found.removesuffix(f"/{ARTIFACTS}")


def _text_columns(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """Of every table, the columns that may hold an address."""
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = [(table, row) for table in tables for row in database.execute(f'PRAGMA table_info("{table}")')]
    return [(table, row[1]) for table, row in columns if row[1] in ADDRESSES]


ADDRESSES = {"artifact_location", "artifact_uri", "source", "storage_location"}
"""Columns in which MLflow notes where something lies."""
