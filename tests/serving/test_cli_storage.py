"""Storage as an operator meets it on the command line: verify, scrub, expire, hold, backup, restore."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import ultraread
from sqlalchemy import update
from working_house import WorkingHouse, working_house

from ultraread.serving.storage.copying import Copier
from ultraread.serving.store.stored import all_stored, record_bytes
from ultraread.serving.store.tables import ScanRecordRow, StoredRow


@pytest.fixture
def working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkingHouse]:
    """A house with a read slide, in two places, that every command finds by itself."""
    monkeypatch.setenv("ULTRAREAD_DATA_DIR", str(tmp_path / "house/data"))
    monkeypatch.setenv("ULTRAREAD_SECOND_COPY_URL", str(tmp_path / "second"))
    monkeypatch.setenv("ULTRAREAD_RETENTION_DAYS", "30")
    with working_house(tmp_path / "house", data_dir=tmp_path / "house/data") as working:
        working.read(working.file())
        while Copier(working.house).copy_next():
            """Until nothing waits."""
        yield working


def ids(working: WorkingHouse) -> dict[str, str]:
    with working.house.store.reading() as session:
        return {row.kind: row.id for row in all_stored(session)}


def damage(working: WorkingHouse) -> str:
    """Change a byte of the slide's first copy; return its id."""
    slide = ids(working)["slide"]
    (file,) = (working.house.settings.slides_dir / slide).iterdir()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    return slide


def test_everything_is_listed_with_its_copies(working: WorkingHouse) -> None:
    listed = ultraread("storage", "ls", "--json").printed
    assert {one["kind"]: one["id"] for one in listed} == ids(working)
    assert {copy["state"] for one in listed for copy in one["copies"].values()} == {"good"}


def test_in_80_columns_no_id_and_no_day_is_broken(
    working: WorkingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    slide = ids(working)["slide"]
    ultraread("storage", "hold", slide, "--why", "order 12 of the [legal] department")
    with working.house.store.reading() as session:
        until = {row.kind: row.retain_until for row in all_stored(session)}["slide"]
    told = ultraread("storage", "ls").out
    assert max(map(len, told.splitlines())) <= 80
    (line,) = [line for line in told.splitlines() if slide in line]
    assert until is not None
    assert until[:16].replace("T", " ") in line
    assert "first good" in line
    assert "second good" in told
    assert "[legal]" in told


def test_what_is_stored_is_verified_by_its_id(working: WorkingHouse) -> None:
    for kind, stored_id in ids(working).items():
        done = ultraread("verify", stored_id, "--json")
        told = [line.partition(":")[0] for line in done.printed["confirmed"]]
        assert told == [f"{kind} {stored_id}, {place} copy" for place in ("first", "second")]


def test_a_damaged_slide_is_named_by_verify_and_scrub_and_mended_by_repair(working: WorkingHouse) -> None:
    slide = damage(working)
    named = f"slide {slide}, file 0, first copy: bad"
    for words in (["verify", slide], ["storage", "scrub"]):
        done = ultraread(*words)
        assert (done.status, named in done.err) == (7, True)
    assert "no damage found" not in ultraread("storage", "scrub").out
    assert ultraread("storage", "scrub", "--repair").status == 0
    assert ultraread("storage", "scrub").out.endswith("no damage found\n")
    assert ultraread("verify", slide).status == 0


def test_parts_of_a_scrub_are_everything_together(working: WorkingHouse) -> None:
    reports = [ultraread("storage", "scrub", "--subset", f"{k}/3", "--json").printed for k in (1, 2, 3)]
    assert sum(report["copies"] for report in reports) == 2 * len(ids(working))


@pytest.mark.parametrize("subset", ["0/7", "8/7", "1", "a/b", "1/0"])
def test_a_part_that_is_none_is_refused(subset: str) -> None:
    assert ultraread("storage", "scrub", "--subset", subset).status == 2


def test_a_scan_records_json_is_held_against_its_digest(working: WorkingHouse, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    with working.house.store.reading() as session:
        file.write_bytes(record_bytes(session, session.get_one(ScanRecordRow, ids(working)["record"])))
    assert ultraread("verify", file).status == 0
    file.write_bytes(file.read_bytes().replace(b'"revision":1', b'"revision":2'))
    assert ultraread("verify", file).status == 7


def test_what_would_expire_is_told_and_stays(working: WorkingHouse) -> None:
    with working.house.store.writing() as session:
        past = StoredRow.retain_until.is_not(None)
        session.execute(update(StoredRow).where(past).values(retain_until="2000-01-01T00:00:00.000Z"))
    told = ultraread("storage", "expire", "--dry-run", "--json").printed
    assert {one["kind"] for one in told["would_be_removed"]} == {"slide", "result"}
    slide = ids(working)["slide"]
    assert ultraread("storage", "hold", slide, "--why", "order 12", "--json").printed == {"held": [slide]}
    assert ultraread("storage", "expire", "--yes", "--json").printed == {"removed": []}
    assert ultraread("storage", "release", slide).status == 0
    assert len(ultraread("storage", "expire", "--yes", "--json").printed["removed"]) == 2
    assert ultraread("verify", slide).status == 2


def test_a_backup_is_made_verified_and_restored(working: WorkingHouse, tmp_path: Path) -> None:
    assert ultraread("backup", tmp_path / "backup").status == 0
    assert ultraread("verify", tmp_path / "backup").status == 0
    done = ultraread("restore", tmp_path / "backup", "--data-dir", tmp_path / "there", "--json")
    assert (done.status, done.printed["missing"]) == (0, [])
    scrubbed = ultraread("storage", "scrub", "--data-dir", tmp_path / "there", "--json").printed
    assert (scrubbed["damages"], scrubbed["database"]) == ([], [])
    again = ultraread("restore", tmp_path / "backup", "--data-dir", tmp_path / "there")
    assert (again.status, "output_exists" in again.err) == (3, True)


def test_a_flipped_byte_of_a_backup_ends_a_restore_with_7(working: WorkingHouse, tmp_path: Path) -> None:
    assert ultraread("backup", tmp_path / "backup").status == 0
    manifest = json.loads(next((tmp_path / "backup/snapshots").iterdir()).read_bytes())
    slide = next(file for file in manifest["files"] if file["path"].startswith("slides/"))
    stored = tmp_path / "backup/files" / slide["sha256"][:2] / slide["sha256"]
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")
    done = ultraread("restore", tmp_path / "backup", "--data-dir", tmp_path / "there", "--json")
    assert (done.status, done.problem["code"]) == (7, "integrity_failed")
    assert slide["path"] in done.problem["detail"]


def test_a_folder_without_an_installation_is_told(tmp_path: Path) -> None:
    done = ultraread("storage", "ls", "--data-dir", tmp_path / "none", "--json")
    assert (done.status, done.problem["code"]) == (2, "not_found")
    assert str(tmp_path / "none") in done.problem["detail"]
    restored = ultraread("restore", tmp_path / "bakcup", "--data-dir", tmp_path / "none")
    assert f"there is no backup at {tmp_path / 'bakcup'}" in restored.err
    assert not (tmp_path / "none").exists()


def test_doctor_says_that_two_copies_share_a_device(working: WorkingHouse) -> None:
    assert working
    told = {one["check"]: one["told"] for one in ultraread("doctor", "--json").printed}
    assert "on one device" in told["storage"]
