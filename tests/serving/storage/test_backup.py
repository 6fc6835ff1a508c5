"""The restore drill: a house that was backed up while it worked comes back elsewhere, all digests equal."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from object_store import ObjectStore
from serving_api import asked, served
from sqlalchemy import select, text
from working_house import WorkingHouse, working_house

from ultraread.errors import IntegrityFailed, NotFound, OutputExists, RequestInvalid
from ultraread.serving.api.app import create_api
from ultraread.serving.mlflow_log import OutboxSender
from ultraread.serving.settings import Settings, load_settings
from ultraread.serving.storage.backup import Backup, BackupReport, Note, verify_backup
from ultraread.serving.storage.copying import Copier
from ultraread.serving.storage.house import House
from ultraread.serving.storage.manifest import (
    BackedUp,
    Manifest,
    read_manifest,
    snapshots,
    write_manifest,
)
from ultraread.serving.storage.places import target_at
from ultraread.serving.storage.restore import Restore, RestoreReport
from ultraread.serving.storage.scrub import Scrubber
from ultraread.serving.storage.target import Target, digest_at
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.stored import all_stored
from ultraread.serving.store.tables import ScanRecordRow, UploadRow


def unseen(_total: int) -> Note:
    return lambda _bytes: None


def backed_up(house: House, target: Target, recheck: bool = False) -> BackupReport:
    return Backup(house, target, recheck).make(unseen)


def restored(source: Target, folder: Path, **settings: object) -> tuple[RestoreReport, Settings]:
    there = load_settings(data_dir=folder, **settings)
    return Restore(source, there, "a test").run(None, unseen), there


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingHouse]:
    """Two slides, one of them read."""
    with working_house(tmp_path_factory.mktemp("house")) as working:
        working.read(working.file())
        working.file()
        yield working


@pytest.fixture
def backup(working: WorkingHouse, tmp_path: Path) -> Target:
    target = target_at(str(tmp_path / "backup"))
    assert backed_up(working.house, target).damaged == []
    return target


def told(settings: Settings) -> dict[str, Any]:
    """All that is kept and its digests, and all records."""
    store = open_store(settings.database_address)
    with store.reading() as session:
        kept = {(row.kind, row.id): (row.sha256, row.files) for row in all_stored(session)}
        records = {row.id: (row.record, row.revision) for row in session.scalars(select(ScanRecordRow))}
    report = Scrubber(House(settings, store)).scrub()
    store.close()
    assert (report.damages, report.unreached) == ([], [])
    return {"kept": kept, "records": records, "files": report.files}


def test_all_comes_back_under_another_path(working: WorkingHouse, backup: Target, tmp_path: Path) -> None:
    _, settings = restored(backup, tmp_path / "elsewhere/data")
    assert told(settings) == told(working.house.settings)
    database = settings.database_file.read_bytes()
    assert str(working.house.settings.data_dir).encode() not in database


def test_the_service_on_a_restored_house_shows_results_and_takes_reads(
    working: WorkingHouse, backup: Target, tmp_path: Path
) -> None:
    _, settings = restored(backup, tmp_path / "data")
    with served(create_api(settings)) as url, asked(url) as client:
        (read,) = client.get("/v1/reads").json()["items"]
        findings = client.get(f"/v1/reads/{read['id']}/findings")
        before = working.house.settings.result_dir(read["id"], 1) / read["slide_ids"][0] / "findings.json"
        assert findings.content == before.read_bytes()
        slide_ids = [slide["id"] for slide in client.get("/v1/slides").json()["items"]]
        assert len(slide_ids) == 2
    with working_house(tmp_path / "working", data_dir=settings.data_dir) as again:
        again.read(slide_ids[0])


def test_a_restored_house_is_for_its_owner_only(backup: Target, tmp_path: Path) -> None:
    _, settings = restored(backup, tmp_path / "data")
    paths = [settings.data_dir, *settings.data_dir.rglob("*")]
    assert [path for path in paths if path.stat().st_mode & 0o077] == []


def test_a_backup_in_a_bucket_comes_back(
    working: WorkingHouse, object_store: ObjectStore, tmp_path: Path
) -> None:
    target = target_at(f"{object_store.bucket()}/backups/house")
    backed_up(working.house, target)
    _, settings = restored(target, tmp_path / "data", slides_url=f"{object_store.bucket()}/slides")
    assert list(settings.slides_dir.parent.glob("slides")) == []
    assert told(settings) == told(working.house.settings)


def test_the_next_snapshot_copies_only_what_is_new(working: WorkingHouse, backup: Target) -> None:
    again = backed_up(working.house, backup)
    databases = {"ultraread.db", "mlflow.db"}
    assert again.copied <= len(databases), "slides, results and models are there already"
    assert len(snapshots(backup)) == 2
    assert len(verify_backup(backup)) == 2


@pytest.mark.parametrize("room", ["slides", "reads", "ultraread.db", "snapshots"])
def test_a_flipped_byte_in_a_backup_is_named_and_nothing_is_restored(
    backup: Target, tmp_path: Path, room: str
) -> None:
    path, file = _a_file_of(backup, room)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x10
    file.write_bytes(data)
    with pytest.raises(IntegrityFailed, match=path):
        restored(backup, tmp_path / "data")
    with pytest.raises(IntegrityFailed, match=path):
        verify_backup(backup)
    assert not (tmp_path / "data").exists()


def _a_file_of(backup: Target, room: str) -> tuple[str, Path]:
    manifest = read_manifest(backup)
    if room == "snapshots":
        return manifest.name, Path(backup.location(f"snapshots/{manifest.name}.json"))
    found = next(file for file in manifest.files if file.path.startswith(room))
    return found.path, Path(backup.location(found.kept.name))


def test_a_damaged_backup_is_mended_by_the_next_one_that_looks(
    working: WorkingHouse, backup: Target, tmp_path: Path
) -> None:
    _, file = _a_file_of(backup, "slides")
    file.write_bytes(b"?" * file.stat().st_size)
    backed_up(working.house, backup, recheck=True)
    _, settings = restored(backup, tmp_path / "data")
    assert told(settings) == told(working.house.settings)


def test_an_interrupted_restore_goes_on(working: WorkingHouse, backup: Target, tmp_path: Path) -> None:
    _, file = _a_file_of(backup, "slides")
    hidden = file.rename(file.with_suffix(".hidden"))
    with pytest.raises(IntegrityFailed):
        restored(backup, tmp_path / "data")
    hidden.rename(file)
    brought = {path: path.stat().st_mtime_ns for path in (tmp_path / ".data.restoring").rglob("*.json")}
    _, settings = restored(backup, tmp_path / "data")
    now = {path: path.stat().st_mtime_ns for path in settings.data_dir.rglob("*.json")}
    assert {path.name: time for path, time in brought.items()}.items() <= {
        path.name: time for path, time in now.items()
    }.items()
    assert told(settings) == told(working.house.settings)


def test_what_the_restore_of_another_snapshot_left_does_not_come_with_this_one(
    working: WorkingHouse, backup: Target, tmp_path: Path
) -> None:
    left = [tmp_path / ".data.restoring" / name for name in ("slides/another/0.tif", "ultraread.db-wal")]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of another snapshot")
    _, settings = restored(backup, tmp_path / "data")
    named = {path.name for path in settings.data_dir.rglob("*")}
    assert named.isdisjoint({"another", "ultraread.db-wal"})
    assert told(settings) == told(working.house.settings)


def test_a_slide_without_a_good_copy_is_named_and_all_else_backed_up(tmp_path: Path) -> None:
    with working_house(tmp_path / "a") as working:
        good, bad = working.file(), working.file()
        (kept,) = (working.house.settings.slides_dir / bad).iterdir()
        kept.write_bytes(b"?" + kept.read_bytes()[1:])
        report = backed_up(working.house, target_at(str(tmp_path / "backup")))
        assert report.damaged == [f"slides/{bad}/0.tif"]
        told_at_restore, settings = restored(target_at(str(tmp_path / "backup")), tmp_path / "data")
        assert told_at_restore.missing == report.damaged
        assert (settings.slides_dir / good / "0.tif").is_file()


def test_a_record_that_is_damaged_in_the_database_is_named(tmp_path: Path) -> None:
    with working_house(tmp_path / "a") as working:
        working.file()
        with working.house.store.writing() as session:
            session.execute(text("UPDATE scan_records SET record = record || ' '"))
            (record,) = session.scalars(select(ScanRecordRow.id))
        report = backed_up(working.house, target_at(str(tmp_path / "backup")))
        assert report.damaged == [f"records/{record}/1.json"]


def test_a_damaged_first_copy_is_backed_up_from_the_second(tmp_path: Path) -> None:
    with working_house(tmp_path / "a", second_copy_url=str(tmp_path / "b")) as working:
        slide = working.file()
        while Copier(working.house).copy_next():
            """Until nothing waits."""
        (kept,) = (working.house.settings.slides_dir / slide).iterdir()
        kept.write_bytes(b"?" + kept.read_bytes()[1:])
        target = target_at(str(tmp_path / "backup"))
        assert backed_up(working.house, target).damaged == []
        _, settings = restored(target, tmp_path / "data")
        again = target_at(str(settings.slides_dir))
        second = target_at(str(tmp_path / "b/slides"))
        assert digest_at(again, f"{slide}/0.tif") == digest_at(second, f"{slide}/0.tif")


def test_uploads_on_their_way_in_are_not_restored(tmp_path: Path) -> None:
    with working_house(tmp_path / "a") as working:
        with working.house.store.writing() as session:
            session.add(UploadRow(id="u", file_name="a.tif", bytes=5))
        backed_up(working.house, target_at(str(tmp_path / "backup")))
    _, settings = restored(target_at(str(tmp_path / "backup")), tmp_path / "data")
    store = open_store(settings.database_address)
    with store.reading() as session:
        assert session.scalars(select(UploadRow)).all() == []
    store.close()


def test_nothing_is_restored_over_an_installation(backup: Target, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/anything").touch()
    with pytest.raises(OutputExists):
        restored(backup, tmp_path / "data")


def test_a_place_without_snapshots_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        restored(target_at(str(tmp_path)), tmp_path / "data")
    with pytest.raises(NotFound):
        verify_backup(target_at(str(tmp_path)))


def test_a_backup_inside_the_house_is_refused(working: WorkingHouse) -> None:
    with pytest.raises(RequestInvalid, match="backup"):
        backed_up(working.house, target_at(str(working.house.settings.data_dir / "backup")))


def test_a_list_that_names_paths_outside_is_refused(backup: Target, tmp_path: Path) -> None:
    good = read_manifest(backup)
    strange = BackedUp("slides/../../outside", good.files[0].sha256, good.files[0].bytes)
    write_manifest(backup, Manifest("99990101T000000Z-000000", (strange,), ()))
    with pytest.raises(IntegrityFailed, match="path"):
        restored(backup, tmp_path / "data")
    assert not (tmp_path / "outside").exists()


def test_mlflow_of_a_restored_house_looks_into_its_own_folder(tmp_path: Path) -> None:
    with working_house(tmp_path / "a") as working:
        working.read(working.file())
        OutboxSender(working.house.store, working.house.settings.mlflow_uri).send_pending()
        backed_up(working.house, target_at(str(tmp_path / "backup")))
        before = working.house.settings.data_dir.as_uri()
    _, settings = restored(target_at(str(tmp_path / "backup")), tmp_path / "data")
    with closing(sqlite3.connect(settings.data_dir / "mlflow.db")) as database:
        told = "\n".join(database.iterdump())
    assert f"{settings.data_dir.as_uri()}/mlflow-artifacts" in told
    assert before not in told
