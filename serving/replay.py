"""Run a read again from its record alone, and hold every byte against what was stored.

The read is put, as it was asked for, into an installation of its own, where the service's runner does it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.slide_digest import digest_slide
from ultraread.errors import NotFound, ReplayImpossible, UltraReadError, Unavailable
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import ModelFolder
from ultraread.serving.conclusion import conclude_read
from ultraread.serving.live_models import ServedModel
from ultraread.serving.machine import share_of_replica
from ultraread.serving.model_files import ModelFiles
from ultraread.serving.results.differences import (
    PROVENANCE,
    Change,
    Difference,
    changes,
    differences,
    files_in,
)
from ultraread.serving.runner import ReadRunner
from ultraread.serving.score_tiles import RangeScorer
from ultraread.serving.settings import Settings, prepare_folders
from ultraread.serving.storage.house import House, files_of
from ultraread.serving.storage.slide_store import open_slide_store
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.block_tables import SlideBlocksRow
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.jobs import Jobs
from ultraread.serving.store.records import find_all
from ultraread.serving.store.tables import (
    CalibrationRow,
    CaseRow,
    ModelVersionRow,
    ReadRow,
    ReadState,
    ScanRecordRow,
    SlideRow,
    StoredKind,
    StoredRow,
    Table,
)

OpenModel = Callable[[ReadRow], ModelFolder]
"""The version that a read was asked with, weights and card as they were. Raises ReplayImpossible."""

_ASKED = (
    "id", "site", "case_id", "slide_ids", "slide_sha256s", "model_name", "model_version", "model_onnx_sha256",
    "model_card_sha256", "request", "created",
)  # fmt: skip
"""Columns of a read that say what was asked; all others say how it went."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of it."""

    read_id: str
    files: int
    """That were compared."""
    damaged: tuple[str, ...]
    """Stored files that are not what was noted when they were stored."""
    differences: tuple[Difference, ...]
    changes: tuple[Change, ...]
    """Of the environment, since the read; likely reasons of differences."""

    @property
    def is_identical(self) -> bool:
        return not (self.differences or self.damaged)


@dataclass(frozen=True, slots=True)
class Replayer:
    """Replays reads of one house, in this process."""

    house: House
    open_model: OpenModel
    who: str

    def replay(self, read_id: str) -> Replay:
        """Run the read again in a temporary folder and compare; either way, the audit trail says so.

        Raises NotFound; ReplayImpossible where slide, model, version or result is gone or another one;
        StorageUnreachable, StorageFull.
        """
        row = self._read(read_id)
        try:
            replayed = self._replayed(row)
        except UltraReadError as error:
            self._note(row, {"refused": error.code})
            raise
        first = [f"{one.file} {one.where}" for one in replayed.differences[:1]]
        told = {"identical": replayed.is_identical, "files": replayed.files, "damaged": len(replayed.damaged)}
        self._note(row, told | {"differences": len(replayed.differences), "first": first})
        return replayed

    def _replayed(self, row: ReadRow) -> Replay:
        stored = self._stored_result(row)
        slides, model = self._slides(row), self.open_model(row)
        result = self.house.settings.result_dir(row.id, row.epoch)
        with TemporaryDirectory(prefix="replay-") as folder:
            settings = self._settings(row, Path(folder) / "data")
            with _house_of_one(settings, self.house.store, row, slides) as store:
                again = _run(settings, store, row, model)
            found = tuple(differences(result, again))
            moved = {one.what: one for one in _changes_of(result, again)}
            compared = len(files_in(again))
        return Replay(row.id, compared, tuple(self._damaged(stored)), found, tuple(moved.values()))

    def _read(self, read_id: str) -> ReadRow:
        with self.house.store.reading() as session:
            row = session.get(ReadRow, read_id)
        if row is None:
            raise NotFound(f"no read {read_id}")
        return row

    def _stored_result(self, row: ReadRow) -> StoredRow:
        if not ReadState(row.state).has_result:
            raise ReplayImpossible(f"read {row.id} is {row.state}: it has no result", "Name another read.")
        with self.house.store.reading() as session:
            stored = session.get(StoredRow, (StoredKind.RESULT.value, row.id))
        if stored is None or stored.expired or not self.house.settings.result_dir(row.id, row.epoch).is_dir():
            raise ReplayImpossible(f"the result of read {row.id} is gone")
        return stored

    def _slides(self, row: ReadRow) -> list[SlideRow]:
        """Every slide, read once in full: a byte that changed would give another result with good reason."""
        with self.house.store.of_site(row.site).reading() as session:
            slides = find_all(session, SlideRow, row.slide_ids)
            kept = open_slide_store(self.house.settings)
            addresses = [kept.address(session, slide) for slide in slides]
        pinned_all = row.slide_sha256s or [one.sha256 for one in slides]
        for slide, address, pinned in zip(slides, addresses, pinned_all, strict=True):
            try:
                now = digest_slide(address).sha256
            except UltraReadError as gone:
                raise ReplayImpossible(f"slide {slide.id} cannot be read: {gone.what}") from gone
            except OSError as gone:
                raise ReplayImpossible(f"slide {slide.id} is gone") from gone
            if {now, slide.sha256} != {pinned}:
                raise ReplayImpossible(f"slide {slide.id} is not what was read: its digest is another one")
        return slides

    def _damaged(self, stored: StoredRow) -> Iterator[str]:
        folder = self.house.settings.reads_dir
        for file in files_of(stored):
            path = folder / file.name
            if not path.is_file() or sha256_of_file(path) != file.sha256:
                yield file.name

    def _settings(self, row: ReadRow, data_dir: Path) -> Settings:
        """Those of the house, in another place, with the size of ranges that the read had."""
        ours = self.house.settings
        slides = ours.slides_url or str(ours.slides_dir.absolute())
        there: dict[str, Any] = {"data_dir": data_dir, "slides_url": slides, "second_copy_url": None}
        there |= {"storage_patience_s": 0.0}
        there |= {"range_tiles": _range_tiles(row, ours.range_tiles), "profile": "local"}
        return ours.model_copy(update=there | {"database_url": None, "database_url_file": None})

    def _note(self, row: ReadRow, told: dict[str, Any]) -> None:
        with self.house.store.writing() as session:
            AuditLog(session, row.site).append(self.who, "read_replayed", row.id, told)


def open_registered(house: House, row: ReadRow) -> ModelFolder:
    """The registered version, or its twin where that is what read. Raises ReplayImpossible."""
    with house.store.reading() as session:
        version = session.get(ModelVersionRow, (row.model_name, row.model_version))
    called = f"model {row.model_name}/{row.model_version}"
    if version is None:
        raise ReplayImpossible(f"{called} is not registered any more")
    try:
        model = ModelFiles(house.settings.models_dir).open(version)
    except UltraReadError as damage:
        raise ReplayImpossible(f"{called} cannot be opened: {damage.what}") from damage
    twin = replace(model, uses_twin=model.card.fp32_twin is not None)
    pinned = (row.model_onnx_sha256, row.model_card_sha256)
    for one in (model, twin):
        if (one.onnx_sha256, one.card_sha256) == pinned:
            return one
    raise ReplayImpossible(f"{called} is not what read {row.id} was done with: its digests are others")


@contextmanager
def _house_of_one(
    settings: Settings, source: Store, row: ReadRow, slides: Sequence[SlideRow]
) -> Iterator[Store]:
    """An installation that holds this one read, queued, and what it needs."""
    prepare_folders(settings)
    with closing(open_store(settings.database_address)) as store:
        with source.of_site(row.site).reading() as session:
            needed = [*_needed(session, row)]
        read = ReadRow(**{name: getattr(row, name) for name in _ASKED})
        with store.writing() as session:
            session.add_all(_copy(one) for one in needed if isinstance(one, CaseRow))
            session.add_all(_copy(one) for one in slides)
            session.flush()
            session.add_all(_copy(one) for one in needed if not isinstance(one, CaseRow))
            session.add(read)
        yield store


def _needed(session: Session, row: ReadRow) -> Iterator[Table]:
    """Cases, records, blocks and calibrations; the read itself says up to which of these it may look."""
    records = session.scalars(select(ScanRecordRow).where(ScanRecordRow.slide_id.in_(row.slide_ids))).all()
    cases = {row.case_id, *(record.case_id for record in records)} - {None}
    yield from session.scalars(select(CaseRow).where(CaseRow.id.in_(cases)))
    yield from records
    yield from session.scalars(select(SlideBlocksRow).where(SlideBlocksRow.slide_id.in_(row.slide_ids)))
    yield from session.scalars(select(CalibrationRow))


def _copy(row: Table) -> Table:
    """The same row for another database; a scan record without the read that it names there."""
    values = {column.key: getattr(row, column.key) for column in row.__mapper__.column_attrs}
    return type(row)(**values | ({"read_id": None} if isinstance(row, ScanRecordRow) else {}))


def _run(settings: Settings, store: Store, row: ReadRow, model: ModelFolder) -> Path:
    """Do the one read that is queued there; return its result folder."""
    try:
        scorer = RangeScorer(OnnxClassifier(model, share_of_replica(settings).threads))
    except UltraReadError as refused:
        raise ReplayImpossible(f"{model.card.ref} does not run here: {refused.what}") from refused
    served = ServedModel(model, lambda tasks: map(scorer, tasks))
    jobs = Jobs(store, settings.lease_s, settings.max_attempts)
    with closing(scorer):
        ReadRunner(settings, jobs, lambda *_: served, conclude_read, "replay").run_next()
    with store.reading() as session:
        again = session.get_one(ReadRow, row.id)
    if again.state == ReadState.RUNNING:
        raise Unavailable("a slide could not be reached while it was read again", "Try again.")
    if not ReadState(again.state).has_result:
        raise ReplayImpossible(
            f"read again, it ends as {again.state}: {again.error_what}", again.error_remedy or ""
        )
    return settings.result_dir(again.id, again.epoch)


def _changes_of(stored: Path, again: Path) -> list[Change]:
    """Of every slide."""
    names = sorted(name for name in files_in(again) if Path(name).name == PROVENANCE)
    return [one for name in names for one in changes(stored / name, again / name)]


def _range_tiles(row: ReadRow, otherwise: int) -> int:
    """How many tiles a range had: results depend on it, and the binding of the read keeps it."""
    plans = [image for slide in (row.binding or {}).values() for image in slide.get("images", [])]
    return next((int(plan["range_tiles"]) for plan in plans), otherwise)
