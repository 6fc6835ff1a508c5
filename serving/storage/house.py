"""All that a house keeps, by kind: where the first copies lie, and where the second ones."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from ultraread.serving.settings import Settings
from ultraread.serving.storage.listing import files_below
from ultraread.serving.storage.places import below, target_at
from ultraread.serving.storage.record_target import RecordTable
from ultraread.serving.storage.slide_store import stored_names
from ultraread.serving.storage.target import Folder, StoredName, Target
from ultraread.serving.store.engine import Store
from ultraread.serving.store.stored import keep, keep_record
from ultraread.serving.store.tables import (
    CopyPlace,
    CopyRow,
    ReadRow,
    ReadState,
    ScanRecordRow,
    SlideRow,
    StoredKind,
    StoredRow,
)

SECOND_FOLDERS = {StoredKind.SLIDE: "slides", StoredKind.RESULT: "reads", StoredKind.RECORD: "records"}


@dataclass(frozen=True, slots=True)
class House:
    """The store, and the places of its copies."""

    settings: Settings
    store: Store

    def target(self, kind: str, place: CopyPlace) -> Target:
        """Where copies of this kind lie. There has to be a second place where it is asked for."""
        kind = StoredKind(kind)
        if place is CopyPlace.SECOND:
            if self.settings.second_copy_url is None:
                raise ValueError("no second place is set")
            return below(target_at(self.settings.second_copy_url), SECOND_FOLDERS[kind])
        if kind is StoredKind.RECORD:
            return RecordTable(self.store)
        if kind is StoredKind.RESULT:
            return Folder(self.settings.reads_dir.absolute())
        return target_at(self.settings.slides_place)

    @property
    def places(self) -> tuple[CopyPlace, ...]:
        second = (CopyPlace.SECOND,) if self.settings.second_copy_url else ()
        return CopyPlace.FIRST, *second

    @property
    def second_address(self) -> str | None:
        """What tells one second place from another; it is not the address itself."""
        url = self.settings.second_copy_url
        return None if url is None else sha256(url.encode()).hexdigest()[:16]

    def holds(self, copy: CopyRow) -> bool:
        """Whether the copy is at a place of today's settings; what is noted of another one says nothing."""
        if copy.place == CopyPlace.FIRST:
            return True
        return self.second_address is not None and copy.address == self.second_address


def files_of(stored: StoredRow) -> list[StoredName]:
    """What is stored, file by file."""
    return [StoredName(**file) for file in stored.files]


def adopt(house: House) -> int:
    """Note what earlier versions stored without noting it; return how many that were.

    Results are digested as they are found now, one at a time: others may write to the database meanwhile.
    """
    with house.store.writing() as session:
        adopted = [*_slides(session), *_records(session)]
    return len(adopted) + sum(_adopt_result(house, read) for read in _unknown_results(house.store))


def _slides(session: Session) -> Iterator[str]:
    for slide in session.scalars(select(SlideRow).where(SlideRow.id.not_in(_known(StoredKind.SLIDE)))).all():
        files = [asdict(file) for file in stored_names(slide.id, slide.files)]
        keep(session, StoredKind.SLIDE, slide.id, files)
        yield slide.id


def _records(session: Session) -> Iterator[str]:
    known = _known(StoredKind.RECORD)
    for record in session.scalars(select(ScanRecordRow).where(ScanRecordRow.id.not_in(known))).all():
        keep_record(session, record)
        yield record.id


def _unknown_results(store: Store) -> Sequence[ReadRow]:
    with_result = ReadRow.state.in_([ReadState.SUCCEEDED.value, ReadState.PARTIAL.value])
    with store.reading() as session:
        unknown = select(ReadRow).where(with_result, ReadRow.id.not_in(_known(StoredKind.RESULT)))
        return session.scalars(unknown).all()


def _adopt_result(house: House, read: ReadRow) -> bool:
    """False where its folder is gone, or where another process was faster."""
    folder = house.settings.result_dir(read.id, read.epoch)
    files = files_below(folder, f"{read.id}/{folder.name}")
    with house.store.writing() as session:
        if not files or session.get(StoredRow, (StoredKind.RESULT.value, read.id)) is not None:
            return False
        keep(session, StoredKind.RESULT, read.id, files)
        return True


def _known(kind: StoredKind) -> Select[str]:
    return select(StoredRow.id).where(StoredRow.kind == kind.value)
