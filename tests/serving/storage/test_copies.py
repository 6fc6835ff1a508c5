"""Second copies of slides, results and records: made afterwards, whole, again after an outage."""

from pathlib import Path

import pytest
import s3fs
from filed import end_lease
from object_store import ObjectStore
from sqlalchemy import select, update
from working_house import working_house

from ultraread.errors import RequestInvalid
from ultraread.serving.settings import load_settings
from ultraread.serving.storage.copying import Copier
from ultraread.serving.storage.house import House, files_of
from ultraread.serving.storage.retention import expire
from ultraread.serving.storage.target import digest_at
from ultraread.serving.store.clock import utc_in
from ultraread.serving.store.stored import all_stored
from ultraread.serving.store.tables import CopyPlace, CopyRow, StoredRow


def copy_all(house: House) -> None:
    while Copier(house).copy_next():
        """Until nothing waits."""


def states(house: House) -> dict[tuple[str, str], tuple[str, str | None]]:
    with house.store.reading() as session:
        rows = session.scalars(select(CopyRow))
        return {(row.kind, row.place): (row.state, row.error) for row in rows}


def assert_second_copies_are_whole(house: House) -> None:
    with house.store.reading() as session:
        stored = all_stored(session)
    assert {row.kind for row in stored} == {"slide", "result", "record"}
    for row in stored:
        second = house.target(row.kind, CopyPlace.SECOND)
        assert [digest_at(second, file.name) for file in files_of(row)] == [f.digest for f in files_of(row)]


def test_everything_gets_a_copy_in_another_folder(tmp_path: Path) -> None:
    with working_house(tmp_path / "a", second_copy_url=str(tmp_path / "b")) as working:
        working.read(working.file())
        copy_all(working.house)
        assert_second_copies_are_whole(working.house)
        assert set(states(working.house).values()) == {("good", None)}


def test_everything_gets_a_copy_in_a_bucket(tmp_path: Path, object_store: ObjectStore) -> None:
    with working_house(tmp_path / "a", second_copy_url=f"{object_store.bucket()}/copies") as working:
        working.read(working.file())
        copy_all(working.house)
        assert_second_copies_are_whole(working.house)


def test_without_a_second_place_nothing_waits(tmp_path: Path) -> None:
    with working_house(tmp_path / "a") as working:
        working.read(working.file())
        assert not Copier(working.house).copy_next()
        assert {place for _, place in states(working.house)} == {"first"}


def test_copies_that_wait_for_a_place_that_is_no_longer_set_are_made_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with working_house(tmp_path / "a", second_copy_url=str(tmp_path / "b")) as working:
        working.file()
        assert Copier(working.house).copy_next(), "copies wait now"
        alone = working.house.settings.model_copy(update={"second_copy_url": None})
        copy_all(House(alone, working.house.store))
        assert {place for _, place in states(working.house)} == {"first"}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a"], "nothing where it happens to run"


def test_what_was_removed_does_not_wait_for_a_copy_at_a_new_place(tmp_path: Path) -> None:
    with working_house(tmp_path / "a", second_copy_url=str(tmp_path / "b"), retention_days=1) as working:
        slide = working.file()
        copy_all(working.house)
        with working.house.store.writing() as session:
            past = update(StoredRow).where(StoredRow.id == slide)
            session.execute(past.values(retain_until="2000-01-01T00:00:00.000Z"))
        assert [one.id for one in expire(working.house, "a test")] == [slide]
        moved = working.house.settings.model_copy(update={"second_copy_url": str(tmp_path / "c")})
        copy_all(House(moved, working.house.store))
        assert states(working.house)["slide", "second"] == ("gone", None)
        assert states(working.house)["record", "second"] == ("good", None)


def test_a_copy_that_failed_for_months_is_tried_once_an_hour(tmp_path: Path) -> None:
    with working_house(tmp_path / "a", second_copy_url=str(tmp_path / "b")) as working:
        slide = working.file()
        (kept,) = (working.house.settings.slides_dir / slide).iterdir()
        kept.write_bytes(b"not what was filed")
        Copier(working.house).copy_next()
        with working.house.store.writing() as session:
            session.execute(update(CopyRow).values(attempts=2000))
        copy_all(working.house)
        assert states(working.house)["slide", "second"] == ("waiting", "integrity_failed")
        with working.house.store.reading() as session:
            row = session.get_one(CopyRow, ("slide", slide, "second"))
            now = session.scalar(select(utc_in(3590))), session.scalar(select(utc_in(3610)))
        assert now[0] < row.due < now[1]


def test_a_bucket_out_of_reach_delays_copies_and_nothing_else(
    tmp_path: Path, object_store: ObjectStore
) -> None:
    assert object_store
    with working_house(tmp_path / "a", second_copy_url="s3://nobody-made-this") as working:
        working.read(working.file())
        house = working.house
        assert Copier(house).copy_next(), "what is missing is noted"
        assert not Copier(house).copy_next()
        assert ("waiting", "storage_unreachable") in states(house).values()
        assert states(house)["slide", "first"] == ("good", None)
        there = House(
            house.settings.model_copy(update={"second_copy_url": object_store.bucket()}), house.store
        )
        copy_all(there)
        assert_second_copies_are_whole(there)


def test_a_damaged_slide_is_not_copied(tmp_path: Path) -> None:
    with working_house(tmp_path / "a", second_copy_url=str(tmp_path / "b")) as working:
        slide = working.file()
        (kept,) = (working.house.settings.slides_dir / slide).iterdir()
        kept.write_bytes(kept.read_bytes()[:-1] + b"?")
        Copier(working.house).copy_next()
        copy_all(working.house)
        with working.house.store.writing() as session:
            session.execute(update(CopyRow).values(due="2000-01-01T00:00:00.000Z"))
        copy_all(working.house)
        assert states(working.house)["slide", "second"] == ("waiting", "integrity_failed")
        assert working.house.target("slide", CopyPlace.SECOND).names(slide) == []


def test_a_copier_that_died_is_followed_by_one_that_goes_on(tmp_path: Path) -> None:
    with working_house(tmp_path / "a", second_copy_url=str(tmp_path / "b")) as working:
        working.read(working.file())
        copy_all(working.house)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*.*")}
        with working.house.store.writing() as session:
            session.execute(update(CopyRow).where(CopyRow.place == "second").values(state="waiting"))
        copy_all(working.house)
        assert_second_copies_are_whole(working.house)
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*.*")} == before


@pytest.mark.parametrize("second", ["data/copies", "data", "data/slides", "."])
def test_a_second_place_inside_the_first_is_refused(tmp_path: Path, second: str) -> None:
    with pytest.raises(RequestInvalid, match="second_copy_url"):
        load_settings(data_dir=tmp_path / "data", second_copy_url=str(tmp_path / second))


def test_a_second_place_in_the_slides_bucket_prefix_is_refused(tmp_path: Path) -> None:
    stated = {"data_dir": tmp_path, "slides_url": "s3://lab/em"}
    with pytest.raises(RequestInvalid, match="second_copy_url"):
        load_settings(**stated, second_copy_url="s3://lab/em/copies")
    assert load_settings(**stated, second_copy_url="s3://lab/em-copies").second_copy_url


def test_slides_in_a_bucket_are_filed_and_read_there(tmp_path: Path, object_store: ObjectStore) -> None:
    with working_house(tmp_path / "a", slides_url=object_store.bucket()) as working:
        slide = working.file()
        assert list(working.house.settings.slides_dir.iterdir()) == []
        working.read(slide)


def test_a_bucket_out_of_reach_pauses_a_read(
    tmp_path: Path, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with working_house(tmp_path / "a", slides_url=object_store.bucket()) as working:
        read_id = working.request(working.file())
        with monkeypatch.context() as environment:
            environment.setenv("AWS_SECRET_ACCESS_KEY", "not the one")
            s3fs.S3FileSystem.clear_instance_cache()
            for _ in range(working.house.settings.max_attempts + 1):
                working.run()
                end_lease(working.house.store, read_id)
            assert working.row(read_id).state == "running", "an outage is no failed attempt"
        s3fs.S3FileSystem.clear_instance_cache()
        working.run()
        assert working.row(read_id).state == "succeeded"
