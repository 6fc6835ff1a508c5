"""Any byte that flips in a slide, a result or a record is found, named, and repaired from a good copy."""

import errno
import os
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from object_store import ObjectStore
from sqlalchemy import delete, select, text
from working_house import WorkingHouse, working_house

from ultraread.errors import IntegrityFailed
from ultraread.serving.storage.backup import Backup
from ultraread.serving.storage.copying import Copier
from ultraread.serving.storage.house import House, adopt, files_of
from ultraread.serving.storage.places import target_at
from ultraread.serving.storage.scrub import Scrubber, ScrubReport, check_database
from ultraread.serving.storage.target import StoredName
from ultraread.serving.storage.upkeep import upkeep
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.stored import all_stored, slide_told
from ultraread.serving.store.tables import CopyPlace, CopyRow, ScanRecordRow, SlideRow, StoredKind, StoredRow

FEW, MANY = 20, 500
KINDS = tuple(StoredKind)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingHouse]:
    """One slide, its result and its record, without a second copy."""
    with working_house(tmp_path_factory.mktemp("alone")) as working:
        working.read(working.file())
        yield working


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory, object_store: ObjectStore) -> Iterator[WorkingHouse]:
    """The same with a second copy in a bucket."""
    url = f"{object_store.bucket()}/copies"
    with working_house(tmp_path_factory.mktemp("doubled"), second_copy_url=url) as working:
        working.read(working.file())
        while Copier(working.house).copy_next():
            """Until nothing waits."""
        yield working


def file_at(house: House, seed: int) -> tuple[StoredKind, str, StoredName, int, int]:
    """By seed: kind and id of something stored, one of its files, an offset in it, and what to flip there."""
    chance = random.Random(seed)  # noqa: S311  # nothing secret
    kind = KINDS[seed % len(KINDS)]
    with house.store.reading() as session:
        (stored,) = (row for row in all_stored(session) if row.kind == kind)
    file = chance.choice(files_of(stored))
    return kind, stored.id, file, chance.randrange(file.bytes), chance.randrange(1, 256)


def flip(path: Path, offset: int, mask: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        (byte,) = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte ^ mask]))


def flip_in_database(house: House, offset: int, mask: int) -> None:
    """Flip a byte of the record's text where it lies in the database's file: not in a free page."""
    raw = record_text(house)
    with house.store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    house.store.close()
    file = house.settings.database_file
    for found in re.finditer(re.escape(raw), file.read_bytes()):
        flip(file, found.start() + offset % len(raw), mask)
        if record_text(house) != raw:
            return
        house.store.close()
        flip(file, found.start() + offset % len(raw), mask)
    raise AssertionError("the record is not in the file")


def record_text(house: House) -> bytes:
    with house.store.reading() as session:
        raw = session.execute(
            text("SELECT CAST(CAST(record AS TEXT) AS BLOB) FROM scan_records")
        ).scalar_one()
    return bytes(raw)


def flip_first_copy(house: House, seed: int) -> tuple[str, str, int]:
    """Return kind, id and file index of what was damaged."""
    kind, stored_id, file, offset, mask = file_at(house, seed)
    if kind is StoredKind.RECORD:
        flip_in_database(house, offset, mask)
        return kind.value, stored_id, 0
    flip(Path(house.target(kind, CopyPlace.FIRST).location(file.name)), offset, mask)
    with house.store.reading() as session:
        (stored,) = (row for row in all_stored(session) if row.kind == kind)
    return kind.value, stored_id, files_of(stored).index(file)


def named(report: ScrubReport) -> list[tuple[str, str, int]]:
    return [(damage.kind, damage.id, damage.file) for damage in report.damages]


def undo(house: House, seed: int, good: Sequence[bytes]) -> None:
    """Put back what the flip damaged: there is no second copy to do it."""
    kind, _, file, _, _ = file_at(house, seed)
    if kind is StoredKind.RECORD:
        house.store.close()
        house.settings.database_file.write_bytes(good[0])
    else:
        house.target(kind, CopyPlace.FIRST).put(file, iter([good[1]]))


def found_without_a_copy(house: House, seed: int) -> None:
    kind, _, file, _, _ = file_at(house, seed)
    with house.store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    good = (
        house.settings.database_file.read_bytes(),
        b"".join(house.target(kind, CopyPlace.FIRST).pieces(file.name)),
    )
    damaged = flip_first_copy(house, seed)
    try:
        report = Scrubber(house, repair=True).scrub()
        assert named(report) == [damaged], f"seed {seed}"
        assert report.remaining == report.damages, "there is nothing to repair it from"
    finally:
        undo(house, seed, good)


def repaired_from_the_copy(house: House, seed: int) -> None:
    damaged = flip_first_copy(house, seed)
    told = Scrubber(house).scrub()
    assert (named(told), len(told.remaining)) == ([damaged], 1), f"seed {seed}: told, and left as it is"
    report = Scrubber(house, repair=True).scrub()
    assert (named(report), report.remaining) == ([damaged], []), f"seed {seed}"
    assert Scrubber(house).scrub().damages == []


@pytest.mark.parametrize("seed", range(FEW))
def test_a_flipped_byte_is_found_and_named(alone: WorkingHouse, seed: int) -> None:
    found_without_a_copy(alone.house, seed)
    assert Scrubber(alone.house).scrub().damages == []


@pytest.mark.parametrize("seed", range(FEW))
def test_a_flipped_byte_is_repaired_from_the_second_copy(doubled: WorkingHouse, seed: int) -> None:
    repaired_from_the_copy(doubled.house, seed)


@pytest.mark.parametrize(
    "damaged",
    [
        """images = replace(images, '"index"', '"indez"')""",
        "images = images || ' '",
        "images = substr(images, 2)",
        """identity = '{"policy": "keep", "reason": "", "found": [], "not_searched": []}'""",
        "looks = '[{}]'",
        "format = 'tifg'",
        "sha256 = replace(sha256, 'a', 'b') || 'c'",
        "files = replace(files, '\"bytes\": ', '\"bytes\": 1')",
        "files = replace(files, '.tif', '.tix')",
        "files = 'no list'",
    ],
)
def test_what_a_slide_told_is_held_with_its_record_and_repaired(tmp_path: Path, damaged: str) -> None:
    """It is shown as the record's, and decides what is painted over."""
    with working_house(tmp_path / "a", second_copy_url=str(tmp_path / "b")) as working:
        slide = working.file()
        copy_all(working.house)
        with working.house.store.reading() as session:
            (record,) = session.scalars(select(ScanRecordRow.id))
            before = slide_told(session, slide)
        with working.house.store.writing() as session:
            session.execute(text(f"UPDATE slides SET {damaged}"))  # noqa: S608
        assert named(Scrubber(working.house).scrub()) == [("record", record, 0)]
        repaired = Scrubber(working.house, repair=True).scrub()
        assert (named(repaired), repaired.remaining) == ([("record", record, 0)], [])
        assert Scrubber(working.house).scrub().damages == []
        with working.house.store.reading() as session:
            assert slide_told(session, slide) == before
            assert [file["name"] for file in session.get_one(SlideRow, slide).files] == ["0.tif"]


def test_a_record_that_is_gone_from_the_database_is_not_called_repaired(tmp_path: Path) -> None:
    with working_house(tmp_path / "a", second_copy_url=str(tmp_path / "b")) as working:
        working.file()
        copy_all(working.house)
        with working.house.store.writing() as session:
            session.execute(delete(ScanRecordRow))
        report = Scrubber(working.house, repair=True).scrub()
        assert [(damage.kind, damage.state) for damage in report.remaining] == [("record", "gone")]


@pytest.mark.full
def test_hundreds_of_flipped_bytes_are_found(alone: WorkingHouse) -> None:
    for seed in range(FEW, MANY):
        found_without_a_copy(alone.house, seed)


@pytest.mark.full
def test_hundreds_of_flipped_bytes_are_repaired(doubled: WorkingHouse) -> None:
    for seed in range(FEW, MANY):
        repaired_from_the_copy(doubled.house, seed)


def test_a_record_that_changes_while_it_is_scrubbed_is_not_put_back(tmp_path: Path) -> None:
    with working_house(tmp_path / "a", second_copy_url=str(tmp_path / "b")) as working:
        working.file()
        copy_all(working.house)
        scrubber = Scrubber(working.house, repair=True)
        before = scrubber.copies(lambda row: row.kind == StoredKind.RECORD)
        with working.house.store.writing() as session:
            record = session.scalars(select(ScanRecordRow)).one()
            record.record, record.revision = {**record.record, "specimen": "kidney"}, 2
        assert scrubber.look_at_all(before).damages == []
        (copy,) = (one for one in before if one.row.place == CopyPlace.FIRST)
        (file,) = files_of(copy.stored)
        second = working.house.target(StoredKind.RECORD, CopyPlace.SECOND)
        with pytest.raises(IntegrityFailed):
            working.house.target(StoredKind.RECORD, CopyPlace.FIRST).put(file, second.pieces(file.name))
        with working.house.store.reading() as session:
            assert session.scalars(select(ScanRecordRow)).one().record["specimen"] == "kidney"
        copy_all(working.house)
        assert scrubber.scrub().damages == []


def test_what_the_disk_cannot_read_is_damage_and_is_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with working_house(tmp_path / "a", second_copy_url=str(tmp_path / "b")) as working:
        slide = working.file()
        copy_all(working.house)
        (bad_sector,) = (working.house.settings.slides_dir / slide).iterdir()
        number, advise = bad_sector.stat().st_ino, os.posix_fadvise

        def simulated(stream: int, *what: int) -> None:
            if os.fstat(stream).st_ino == number:
                raise OSError(errno.EIO, "Simulated: input/output error")
            advise(stream, *what)

        monkeypatch.setattr(os, "posix_fadvise", simulated)
        found = Scrubber(working.house).scrub()
        assert ([damage.state for damage in found.damages], found.unreached) == (["bad"], [])
        backup = target_at(str(tmp_path / "backup"))
        assert Backup(working.house, backup).make(lambda _total: lambda _bytes: None).damaged == []
        repaired = Scrubber(working.house, repair=True).scrub()
        assert (repaired.remaining, repaired.unreached) == ([], [])
        assert Scrubber(working.house).scrub().damages == []


def test_a_second_place_that_is_no_longer_set_is_not_looked_at(tmp_path: Path) -> None:
    with working_house(tmp_path / "a", second_copy_url=str(tmp_path / "b")) as working:
        working.read(working.file())
        copy_all(working.house)
        for other in (None, str(tmp_path / "c")):
            settings = working.house.settings.model_copy(update={"second_copy_url": other})
            report = Scrubber(House(settings, working.house.store)).scrub()
            assert (report.damages, report.copies) == ([], len(StoredKind))


def test_the_service_finds_damage_by_itself_and_tells_it_once(tmp_path: Path) -> None:
    with working_house(tmp_path / "a", scrub_hours=0.000001) as working:
        slide = working.file()
        (kept,) = (working.house.settings.slides_dir / slide).iterdir()
        flip(kept, 100, 1)
        scrub_until_told(working.house, slide)
        scrub_until_told(working.house, "nothing more", steps=6)
        (told,) = told_of(working.house, slide)
        assert (told["what"], told["kind"], told["place"]) == ("copy_damaged", "slide", "first")
        assert told["files"] == [{"file": 0, "state": "bad", "repaired": False}]


def test_the_service_repairs_by_itself_where_it_may(tmp_path: Path) -> None:
    may = {"scrub_hours": 0.000001, "scrub_repair": True, "second_copy_url": str(tmp_path / "b")}
    with working_house(tmp_path / "a", **may) as working:
        slide = working.file()
        copy_all(working.house)
        (kept,) = (working.house.settings.slides_dir / slide).iterdir()
        flip(kept, 100, 1)
        scrub_until_told(working.house, slide)
        (told,) = told_of(working.house, slide)
        assert (told["what"], told["files"]) == (
            "copy_repaired",
            [{"file": 0, "state": "bad", "repaired": True}],
        )
        assert Scrubber(working.house).scrub().damages == []


def test_a_house_of_an_earlier_version_is_watched_over_too(tmp_path: Path) -> None:
    with working_house(tmp_path / "a") as working:
        working.read(working.file())
        with working.house.store.writing() as session:
            session.execute(delete(CopyRow))
            session.execute(delete(StoredRow))
        assert adopt(working.house) == len(StoredKind)
        report = Scrubber(working.house).scrub()
        assert (report.copies, report.damages) == (len(StoredKind), [])
        assert adopt(working.house) == 0


def test_damage_of_the_database_itself_is_told(alone: WorkingHouse) -> None:
    assert check_database(alone.house.store) == []


def told_of(house: House, subject: str) -> list[dict[str, object]]:
    with house.store.reading() as session:
        events = AuditLog(session).list(subject=subject)
    return [{**event.detail, "what": event.what} for event in events if event.what.startswith("copy_")]


def scrub_until_told(house: House, subject: str, steps: int = 50) -> None:
    """What the service does by itself, until the audit trail tells of this copy."""
    *_, scrub_step = upkeep(house)
    for _ in range(steps):
        if not told_of(house, subject):
            scrub_step()


def copy_all(house: House) -> None:
    while Copier(house).copy_next():
        """Until nothing waits."""
