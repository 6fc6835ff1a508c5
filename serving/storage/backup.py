"""Back up an installation while it works: one moment of the database, then the files that it names."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from sqlalchemy import select

from ultraread.datasets.digest import sha256_of_file
from ultraread.errors import IntegrityFailed, NotFound, StorageFull, UltraReadError, Unavailable
from ultraread.models.card import CARD_FILE
from ultraread.serving.audit.checkpoints import open_checkpointer
from ultraread.serving.model_files import ModelFiles
from ultraread.serving.storage.copying import bytes_of
from ultraread.serving.storage.house import SECOND_FOLDERS, House, adopt, files_of
from ultraread.serving.storage.manifest import (
    DATABASE,
    MLFLOW,
    BackedUp,
    Manifest,
    new_name,
    read_manifest,
    snapshots,
    write_manifest,
)
from ultraread.serving.storage.places import refuse_same_place
from ultraread.serving.storage.record_target import RecordTable
from ultraread.serving.storage.scrub import state_of
from ultraread.serving.storage.slide_store import pieces_of
from ultraread.serving.storage.target import StoredName, Target, digest_at
from ultraread.serving.store.duplicate import copy_to_file
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.stored import all_stored
from ultraread.serving.store.tables import CopyPlace, CopyState, ModelVersionRow, StoredKind, StoredRow

ROOM_OF = {StoredKind.SLIDE: "slides", StoredKind.RESULT: "reads"}
ARTIFACTS = "mlflow-artifacts"

Note = Callable[[int], None]
"""Hears the bytes of each file that is done, copied or there already."""


@dataclass(slots=True)
class BackupReport:
    """What a backup holds now, how much of it was new, and what has no good copy any more."""

    snapshot: str
    files: int = 0
    bytes: int = 0
    copied: int = 0
    copied_bytes: int = 0
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Backup:
    """Writes snapshots of a house into a place."""

    house: House
    target: Target
    recheck: bool = False
    """Read what is there already again; else its name, which is its digest, and its size are believed."""

    def make(self, start: Callable[[int], Note]) -> BackupReport:
        """Back up everything; `start` hears the bytes in all, and returns who hears the progress.

        Files without a good copy are left out and named in report and snapshot; so is a record that
        is damaged in the database, which a scrub repairs. The audit trail in it ends with signed checkpoints
        where there is a key; the key itself is in no backup.
        """
        for first in (self.house.settings.slides_place, str(self.house.settings.data_dir)):
            refuse_same_place(first, self.target.url, "The backup")
        adopt(self.house)
        open_checkpointer(self.house.settings, self.house.store).sign_all()
        report, files = BackupReport(new_name()), list[BackedUp]()
        with TemporaryDirectory(prefix=".backup-", dir=self.house.settings.data_dir) as folder:
            moment = _Moment(self.house, Path(folder))
            report.damaged += moment.damaged_records
            note = start(moment.size)
            for source in moment.sources():
                self._keep(source, files, report)
                note(source.file.bytes)
        write_manifest(self.target, Manifest(report.snapshot, tuple(files), tuple(report.damaged)))
        return report

    def _keep(self, source: "_Source", files: list[BackedUp], report: BackupReport) -> None:
        file = source.file
        try:
            copied = not self._is_there(file)
            if copied:
                self.target.put(file.kept, source.pieces())
        except IntegrityFailed:
            report.damaged.append(file.path)
            return
        files.append(file)
        report.files, report.bytes = report.files + 1, report.bytes + file.bytes
        if copied:
            report.copied, report.copied_bytes = report.copied + 1, report.copied_bytes + file.bytes

    def _is_there(self, file: BackedUp) -> bool:
        if self.recheck:
            return digest_at(self.target, file.kept.name) == file.kept.digest
        return self.target.size(file.kept.name) == file.bytes


def verify_backup(target: Target) -> list[str]:
    """Read every file of every snapshot again; return what was confirmed. Raises IntegrityFailed."""
    names = snapshots(target)
    if not names:
        raise NotFound(f"there is no backup at {target.url}", "Name where `ultraread backup` wrote to.")
    confirmed, wrong, known = [], list[str](), dict[str, bool]()
    for name in names:
        manifest = read_manifest(target, name)
        for file in manifest.files:
            if file.sha256 not in known:
                known[file.sha256] = digest_at(target, file.kept.name) == file.kept.digest
            if not known[file.sha256]:
                wrong.append(f"{name}: {file.path}")
        confirmed.append(f"{name}: {len(manifest.files)} files, {manifest.bytes} bytes as written")
    if wrong:
        raise IntegrityFailed(f"missing or changed: {', '.join(sorted(wrong)[:20])}", "Make a new backup.")
    return confirmed


@dataclass(frozen=True, slots=True)
class _Source:
    """A file to back up, and where its bytes come from."""

    file: BackedUp
    pieces: Callable[[], Iterator[bytes]]


class _Moment:
    """What the database names at one moment; `folder` holds that moment's copies of the databases."""

    def __init__(self, house: House, folder: Path) -> None:
        self._house, self._folder = house, folder
        if house.settings.stated_database is None:
            _copy_database(house.settings.database_file, folder / DATABASE)
        else:
            copy_to_file(house.store, folder / DATABASE)
        store = open_store(f"sqlite:///{folder / DATABASE}")
        with closing(store), store.reading() as session:
            self._stored = list(all_stored(session))
            self._models = list(session.scalars(select(ModelVersionRow)))
            self.damaged_records = list(_damaged_records(store, self._stored))
        _leave_one_file(folder / DATABASE)
        if (mlflow := house.settings.data_dir / MLFLOW).is_file():
            _copy_database(mlflow, folder / MLFLOW)
            _leave_one_file(folder / MLFLOW)

    @property
    def size(self) -> int:
        """Bytes of slides and results: all but a few of what is to be backed up."""
        return sum(row.bytes for row in self._stored if row.kind != StoredKind.RECORD)

    def sources(self) -> Iterator[_Source]:
        """What is large and may be there already first, the databases last."""
        for row in self._stored:
            if row.kind != StoredKind.RECORD:
                yield from self._of_stored(row)
        yield from self._of_models()
        yield from _of_folder(self._house.settings.data_dir / ARTIFACTS, ARTIFACTS)
        yield from _of_database(self._folder / MLFLOW)
        yield from _of_database(self._folder / DATABASE)

    def _of_stored(self, row: StoredRow) -> Iterator[_Source]:
        for file in files_of(row):
            path = f"{ROOM_OF[StoredKind(row.kind)]}/{file.name}"
            yield _Source(BackedUp(path, *file.digest), partial(self._good, row.kind, file))

    def _good(self, kind: str, file: StoredName) -> Iterator[bytes]:
        """The first copy's bytes, or the second's where the first is damaged."""
        first = self._house.target(kind, CopyPlace.FIRST)
        others = [self._house.target(kind, place) for place in self._house.places[1:]]
        if others and state_of(first, file) is not CopyState.GOOD:
            return bytes_of(others[0], file)
        return bytes_of(first, file)

    def _of_models(self) -> Iterator[_Source]:
        files = ModelFiles(self._house.settings.models_dir)
        for row in self._models:
            registered = {"model.onnx": row.onnx_sha256, CARD_FILE: row.card_sha256}
            yield from _of_folder(files.path(row.name, row.version), f"models/{row.ref}", registered)


def _damaged_records(store: Store, stored: Sequence[StoredRow]) -> Iterator[str]:
    """Records come along in the database, damaged ones as they are: that has to be told."""
    records = [row for row in stored if row.kind == StoredKind.RECORD]
    for file in [file for row in records for file in files_of(row)]:
        if state_of(RecordTable(store), file) is not CopyState.GOOD:
            yield f"{SECOND_FOLDERS[StoredKind.RECORD]}/{file.name}"


def _of_folder(
    folder: Path, name: str, registered: Mapping[str, str] = MappingProxyType({})
) -> Iterator[_Source]:
    """All files of a folder; those that were registered with a digest have to have it."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        below = path.relative_to(folder).as_posix()
        sha256 = registered.get(below) or sha256_of_file(path)
        yield _Source(BackedUp(f"{name}/{below}", sha256, path.stat().st_size), partial(pieces_of, path))


def _of_database(path: Path) -> Iterator[_Source]:
    if path.is_file():
        yield _Source(
            BackedUp(path.name, sha256_of_file(path), path.stat().st_size), partial(pieces_of, path)
        )


def _copy_database(source: Path, target: Path) -> None:
    """One consistent moment of a database that others write to meanwhile (SQLite's online backup)."""
    try:
        with closing(sqlite3.connect(source)) as there, closing(sqlite3.connect(target)) as here:
            there.backup(here)
    except sqlite3.DatabaseError as failure:
        raise _coded(failure) from failure


def _coded(failure: sqlite3.DatabaseError) -> UltraReadError:
    name = getattr(failure, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return StorageFull("there is no room for a copy of the database beside it")
    if name in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}:
        return IntegrityFailed("the database's file is damaged", "Restore it from a backup.")
    return Unavailable(f"the database does not answer ({name})", "Try again.")


def _leave_one_file(path: Path) -> None:
    """Without a log beside it, and without uploads on their way in: their bytes are in no backup."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'uploads'").fetchone():
            database.execute("DELETE FROM uploads")
