"""What is past its time is removed, what is held or young is not; what is removed leaves a tombstone."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from serving_api import asked, file_over_http, served
from simulated import simulated_tissue, write_tiff
from sqlalchemy import update
from working_house import SCALE, WorkingHouse, working_house

from ultraread.errors import NotFound, RequestInvalid
from ultraread.serving.api.app import create_api
from ultraread.serving.storage.copying import Copier
from ultraread.serving.storage.orphans import orphans, remove_orphans
from ultraread.serving.storage.retention import due, expire, hold, release
from ultraread.serving.storage.scrub import Scrubber
from ultraread.serving.storage.target import StoredName
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.records import scan_record_of
from ultraread.serving.store.stored import find_stored
from ultraread.serving.store.tables import CopyPlace, StoredKind, StoredRow

WHO = "a test"


@pytest.fixture
def working(tmp_path: Path) -> Iterator[WorkingHouse]:
    """A house that keeps things for 30 days, in two places."""
    second = str(tmp_path / "second")
    with working_house(tmp_path / "house", retention_days=30, second_copy_url=second) as working:
        yield working


def let_time_pass(working: WorkingHouse) -> None:
    with working.house.store.writing() as session:
        past = StoredRow.retain_until.is_not(None)
        session.execute(update(StoredRow).where(past).values(retain_until="2000-01-01T00:00:00.000Z"))


def copy_all(working: WorkingHouse) -> None:
    while Copier(working.house).copy_next():
        """Until nothing waits."""


def names(working: WorkingHouse, kind: StoredKind) -> list[str]:
    return [
        name
        for place in (CopyPlace.FIRST, CopyPlace.SECOND)
        for name in working.house.target(kind, place).names("")
    ]


def test_nothing_is_removed_before_its_time(working: WorkingHouse) -> None:
    working.read(working.file())
    assert expire(working.house, WHO) == []


def test_what_is_past_its_time_goes_from_every_place_and_leaves_its_digests(working: WorkingHouse) -> None:
    slide = working.file()
    read_id = working.read(slide)
    copy_all(working)
    assert len(names(working, StoredKind.SLIDE)) == 2
    let_time_pass(working)
    assert {one.id for one in expire(working.house, WHO)} == {slide, read_id}
    assert [names(working, kind) for kind in (StoredKind.SLIDE, StoredKind.RESULT)] == [[], []]
    assert names(working, StoredKind.RECORD), "a record is never removed"
    with working.house.store.reading() as session:
        buried = find_stored(session, StoredKind.SLIDE, slide)
        events = [row for row in AuditLog(session).list(subject=slide) if row.what == "slide_expired"]
    assert buried.expired is not None
    assert buried.expired["who"] == WHO
    assert events[0].detail["files"] == [file["sha256"] for file in buried.files]
    assert Scrubber(working.house).scrub().damages == []
    assert expire(working.house, WHO) == []


def test_the_rest_of_a_slide_that_lost_a_file_goes_too(working: WorkingHouse) -> None:
    slide = working.file(
        working.slide(), write_tiff(working.folder / "b.tif", simulated_tissue(96, 64, seed=9))
    )
    first = working.house.target(StoredKind.SLIDE, CopyPlace.FIRST)
    lost, _left = first.names(slide)
    first.remove(lost)
    assert [damage.state for damage in Scrubber(working.house).scrub().damages] == ["gone"]
    let_time_pass(working)
    assert [one.id for one in expire(working.house, WHO)] == [slide]
    assert first.names(slide) == []
    assert expire(working.house, WHO) == []


def test_a_house_without_a_rule_keeps_for_ever(tmp_path: Path) -> None:
    with working_house(tmp_path / "house") as working:
        working.read(working.file())
        let_time_pass(working)
        assert expire(working.house, WHO) == []


@pytest.mark.parametrize("subject", ["slide", "read", "record"])
def test_a_hold_keeps_slide_and_result_until_it_is_released(working: WorkingHouse, subject: str) -> None:
    slide = working.file()
    read_id = working.read(slide)
    with working.house.store.reading() as session:
        record = scan_record_of(session, slide)
    assert record is not None
    subject_id = {"slide": slide, "read": read_id, "record": record.id}[subject]
    let_time_pass(working)
    hold(working.house.store, subject_id, WHO, "order 12")
    assert expire(working.house, WHO) == []
    release(working.house.store, subject_id, WHO, "closed")
    assert {one.id for one in expire(working.house, WHO)} == {slide, read_id}
    with working.house.store.reading() as session:
        told = [row.what for row in AuditLog(session).list(subject=subject_id)]
    assert [what for what in told if what.startswith("legal")] == ["legal_hold_set", "legal_hold_released"]


def test_a_slide_that_a_read_waits_for_is_kept(working: WorkingHouse) -> None:
    slide = working.file()
    working.request(slide)
    let_time_pass(working)
    with working.house.store.reading() as session:
        assert due(session) == []


def test_what_a_run_that_died_left_behind_is_removed_by_the_next(
    working: WorkingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    working.file()
    let_time_pass(working)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", _dies)
        with pytest.raises(KeyboardInterrupt):
            expire(working.house, WHO)
    assert names(working, StoredKind.SLIDE)
    expire(working.house, WHO)
    assert names(working, StoredKind.SLIDE) == []


def _dies(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_files_of_a_slide_that_was_never_filed_are_found_and_removed(working: WorkingHouse) -> None:
    slide = working.file()
    place = working.house.target(StoredKind.SLIDE, CopyPlace.FIRST)
    old, young = "00000000000000000000000000", new_id()
    for orphan in (old, young, "not-ours"):
        place.put(StoredName(f"{orphan}/0.tif", sha256(b"1").hexdigest(), 1), iter([b"1"]))
    assert orphans(working.house) == [f"{old}/0.tif"]
    assert remove_orphans(working.house, WHO) == [f"{old}/0.tif"]
    assert {name.partition("/")[0] for name in place.names("")} == {slide, young, "not-ours"}


def test_a_hold_needs_a_reason_and_something_to_hold(working: WorkingHouse) -> None:
    with pytest.raises(RequestInvalid):
        hold(working.house.store, working.file(), WHO, " ")
    with pytest.raises(NotFound):
        hold(working.house.store, "nothing", WHO, "order 12")


def test_the_service_tells_what_expired(working: WorkingHouse) -> None:
    slide = working.file()
    read_id = working.read(slide)
    let_time_pass(working)
    expire(working.house, WHO)
    with (
        served(create_api(working.house.settings)) as url,
        asked(url) as client,
    ):
        answers = [
            client.get(f"/v1/reads/{read_id}/findings"),
            client.post("/v1/reads", json={"slide_ids": [slide]}),
            client.get(f"/v1/slides/{slide}/images/0/thumbnail"),
        ]
    assert [(one.status_code, one.json()["code"]) for one in answers] == [(410, "storage_expired")] * 3


def test_a_slide_that_is_sent_again_after_it_was_removed_is_filed_again(working: WorkingHouse) -> None:
    slide = write_tiff(working.folder / "field.tif", simulated_tissue(320, 256))
    with (
        served(create_api(working.house.settings)) as url,
        asked(url) as client,
    ):
        client.post("/v1/cases", json={"id": "C-1"})
        removed = file_over_http(client, slide, case_id="C-1")
        let_time_pass(working)
        expire(working.house, WHO)
        again = file_over_http(client, slide, case_id="C-1")
        assert again["id"] != removed["id"]
        assert client.get(f"/v1/slides/{again['id']}/images/0/thumbnail").status_code == 200
        assert file_over_http(client, slide, case_id="C-1") == again, "there now"
        read = client.post("/v1/reads", json={"case_id": "C-1", "scale": SCALE})
    assert read.json()["slide_ids"] == [again["id"]], "the removed one does not keep its case from a read"
