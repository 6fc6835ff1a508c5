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
from ultraread.serving.storage.target import digest_at
from ultraread.serving.store.stored import all_stored
from ultraread.serving.store.tables import CopyPlace, CopyRow


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
