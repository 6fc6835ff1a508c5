"""Read every copy again and hold it against its digests; put the good copy in place of a damaged one.

A repair is asked for, by option or setting, and told in the audit trail: never silent.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ultraread.datasets.block_digests import BlockDigester
from ultraread.errors import IntegrityFailed, UltraReadError
from ultraread.serving.storage.copying import bytes_of
from ultraread.serving.storage.house import House, files_of
from ultraread.serving.storage.target import StoredName, Target, digest_at
from ultraread.serving.store import copies
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.blocks import has_blocks, keep_blocks
from ultraread.serving.store.copies import Copy, copies_of
from ultraread.serving.store.engine import Store
from ultraread.serving.store.stored import all_stored
from ultraread.serving.store.tables import CopyPlace, CopyState, Json, SlideRow, StoredKind, StoredRow

BACKGROUND_BYTES_PER_S = 50e6
"""What the service reads for a scrub at most, so that reads of slides have the disk."""
SCRUBBER = "scrub"

Pause = Callable[[int], None]
"""Hears the bytes of each piece that was read; may take its time."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of a copy that is not what it has to be."""

    kind: str
    id: str
    place: str
    file: int
    name: str
    state: str
    repaired: bool = False

    def __str__(self) -> str:
        told = f"{self.kind} {self.id}, file {self.file}, {self.place} copy: {self.state}"
        return f"{told}, repaired" if self.repaired else told


@dataclass(slots=True)
class ScrubReport:
    """What was read, and what of it is damaged; `unreached` copies could not be looked at."""

    copies: int = 0
    files: int = 0
    bytes: int = 0
    damages: list[Damage] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)

    @property
    def remaining(self) -> list[Damage]:
        return [damage for damage in self.damages if not damage.repaired]


@dataclass(frozen=True, slots=True)
class Scrubber:
    """Looks at copies; `repair` says whether a damaged one is replaced."""

    house: House
    repair: bool = False
    who: str = SCRUBBER
    pause: Pause = lambda _bytes: None

    def scrub(self) -> ScrubReport:
        """Look at everything."""
        return self.look_at_all(self.copies())

    def look_at_all(self, found: Sequence[Copy], note: Pause = lambda _bytes: None) -> ScrubReport:
        """`note` hears the bytes of each copy that was read."""
        report = ScrubReport()
        for copy in found:
            self.look_at(copy, report)
            note(copy.stored.bytes)
        return report

    def copies(self, wanted: Callable[[StoredRow], bool] = lambda _row: True) -> list[Copy]:
        """All copies that there should be of what is wanted."""
        with self.house.store.reading() as session:
            stored = [row for row in all_stored(session) if wanted(row)]
            found = [Copy(row, copy) for row in stored for copy in copies_of(session, row)]
        return [one for one in found if self.house.holds(one.row) and one.row.state != CopyState.WAITING]

    def scrub_next(self, hours: float) -> bool:
        """Look at the copy whose last check is longest ago, if that is too long; False where none is."""
        copy = copies.take_longest_unchecked(self.house.store, hours)
        if copy is None:
            return False
        if self.house.holds(copy.row):
            self.look_at(copy, ScrubReport())
        return True

    def look_at(self, copy: Copy, report: ScrubReport) -> None:
        """Read one copy, repair it where that is asked for, and note what holds from now on."""
        target = self.house.target(copy.row.kind, CopyPlace(copy.row.place))
        try:
            blocks = bytearray() if self._lacks_blocks(copy) else None
            damages = list(self._damages(copy, target, report, blocks))
            if damages and self._has_changed(copy):
                return
            if blocks is not None and not damages:
                self._learn(copy, bytes(blocks))
            damages = [self._repaired(copy, damage) for damage in damages] if self.repair else damages
        except UltraReadError as outage:
            report.unreached.append(f"{copy.row.kind} {copy.row.id}, {copy.row.place} copy: {outage.code}")
            copies.mark_failed(self.house.store, copy, outage.code)
            return
        report.copies += 1
        report.damages += damages
        self._note(copy, damages)

    def _has_changed(self, copy: Copy) -> bool:
        """Whether what it has to be is another now, so that what was found says nothing."""
        with self.house.store.reading() as session:
            now = session.get(StoredRow, (copy.stored.kind, copy.stored.id))
            return now is None or now.expired is not None or now.sha256 != copy.stored.sha256

    def _lacks_blocks(self, copy: Copy) -> bool:
        """Whether it is a slide that an earlier version filed, and nobody has read through since."""
        if copy.row.kind != StoredKind.SLIDE:
            return False
        with self.house.store.reading() as session:
            return not has_blocks(session, copy.row.id)

    def _damages(
        self, copy: Copy, target: Target, report: ScrubReport, blocks: bytearray | None
    ) -> Iterator[Damage]:
        """`blocks` gets the digests of the blocks of all files that were read."""
        for index, file in enumerate(files_of(copy.stored)):
            digester = BlockDigester()
            hear = (lambda piece: None) if blocks is None else digester.add
            state = state_of(target, file, self.pause, hear)
            if blocks is not None:
                blocks += digester.ended()
            report.files += 1
            report.bytes += file.bytes
            if state is not CopyState.GOOD:
                yield Damage(copy.row.kind, copy.row.id, copy.row.place, index, file.name, state.value)

    def _learn(self, copy: Copy, blocks: bytes) -> None:
        """From now on what is fetched of the slide is held against these."""
        with self.house.store.writing() as session:
            slide = session.get_one(SlideRow, copy.row.id)
            keep_blocks(session, slide.id, slide.site, blocks)

    def _repaired(self, copy: Copy, damage: Damage) -> Damage:
        """The other copy's file, read and held against its digest on the way, instead of the damaged one."""
        file = files_of(copy.stored)[damage.file]
        others = [place for place in self.house.places if place != damage.place]
        for other in others:
            source = self.house.target(damage.kind, other)
            if state_of(source, file, self.pause) is CopyState.GOOD:
                target = self.house.target(damage.kind, CopyPlace(damage.place))
                with suppress(IntegrityFailed):  # what cannot be put back stays told as damage
                    target.put(file, bytes_of(source, file))
                    return Damage(**{**_fields(damage), "repaired": True})
        return damage

    def _note(self, copy: Copy, damages: Sequence[Damage]) -> None:
        left = [damage for damage in damages if not damage.repaired]
        with self.house.store.writing() as session:
            told = [{"file": damage.file, "state": damage.state} for damage in left]
            copies.mark(session, copy, _state(left), told)
            if len(left) < len(damages) or told != copy.row.damaged:
                AuditLog(session).append(self.who, _event(damages), copy.row.id, _audited(copy, damages))


def state_of(
    target: Target,
    file: StoredName,
    pause: Pause = lambda _bytes: None,
    hear: Callable[[bytes], object] = lambda _piece: None,
) -> CopyState:
    """Read the file again: good, bad or gone; `hear` hears its pieces. Raises StorageUnreachable."""
    found = digest_at(target, file.name, pause, hear)
    if found is None:
        return CopyState.GONE
    return CopyState.GOOD if found == file.digest else CopyState.BAD


def share_of(stored_id: str, parts: int) -> int:
    """Which of so many shares an id belongs to, from 0: always the same, and all shares are everything."""
    return int(hashlib.sha256(stored_id.encode()).hexdigest()[:12], 16) % parts


def paced(bytes_per_s: float) -> Pause:
    """Sleep after each piece as long as it takes to read no faster than this."""
    return lambda count: time.sleep(count / bytes_per_s)


def check_database(store: Store) -> list[str]:
    """What SQLite itself finds wrong in its file; nothing of PostgreSQL, which checks its own pages."""
    with store.reading() as session:
        if session.connection().dialect.name != "sqlite":
            return []
        told = session.connection().exec_driver_sql("PRAGMA integrity_check(20)").scalars().all()
    return [] if told == ["ok"] else list(told)


def _state(damages: Sequence[Damage]) -> CopyState:
    states = {damage.state for damage in damages}
    if CopyState.BAD in states:
        return CopyState.BAD
    return CopyState.GONE if states else CopyState.GOOD


def _event(damages: Sequence[Damage]) -> str:
    """Of a copy that is not as it was at the last look."""
    if any(not damage.repaired for damage in damages):
        return "copy_damaged"
    return "copy_repaired" if damages else "copy_whole_again"


def _audited(copy: Copy, damages: Sequence[Damage]) -> Json:
    files = [{"file": one.file, "state": one.state, "repaired": one.repaired} for one in damages]
    return {"kind": copy.row.kind, "place": copy.row.place, "files": files}


def _fields(damage: Damage) -> Json:
    return {name: getattr(damage, name) for name in Damage.__slots__}
