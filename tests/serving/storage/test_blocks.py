"""Slides in a bucket that delivers wrong bytes: what is filed, what is told, and what a read makes of it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import s3fs
from cutting_proxy import CuttingProxy, FlipByte, Line, cutting
from object_store import ObjectStore
from simulated import simulated_tissue, write_tiff
from sqlalchemy import delete, select, update
from working_house import WorkingHouse, working_house

from ultraread.datasets import block_digests
from ultraread.datasets.block_digests import BLOCK_BYTES, BlockDigests
from ultraread.datasets.geometry import whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import operator_scale
from ultraread.datasets.slide_address import SlideAddress, address_of
from ultraread.datasets.slide_digest import digest_in_blocks, digest_slide
from ultraread.datasets.stored_file import open_file
from ultraread.errors import IntegrityFailed
from ultraread.serving.decoding.pool import DecodingPool
from ultraread.serving.read_slide import ReadRequest, confirm_digest, prepare_slide
from ultraread.serving.storage.backup import Backup
from ultraread.serving.storage.places import target_at
from ultraread.serving.storage.restore import Restore
from ultraread.serving.storage.retention import expire
from ultraread.serving.storage.scrub import Scrubber
from ultraread.serving.storage.slide_store import open_slide_store
from ultraread.serving.store.block_tables import SlideBlocksRow
from ultraread.serving.store.duplicate import copy_to_file
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.tables import SlideRow, StoredRow


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """Of more than one block."""
    return write_tiff(tmp_path / "field.tif", simulated_tissue(640, 512))


@pytest.fixture
def working(tmp_path: Path, object_store: ObjectStore) -> Iterator[WorkingHouse]:
    with working_house(tmp_path / "house", slides_url=object_store.bucket()) as working:
        yield working


@pytest.fixture
def line(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[CuttingProxy]:
    """Everything of this test goes to the server this way."""
    with cutting(object_store.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        s3fs.S3FileSystem.clear_instance_cache()
        yield proxy
    s3fs.S3FileSystem.clear_instance_cache()


def address(working: WorkingHouse, slide_id: str) -> SlideAddress:
    with working.house.store.reading() as session:
        found = open_slide_store(working.house.settings)
        return found.address(session, session.get_one(SlideRow, slide_id))


def blocks(working: WorkingHouse, slide_id: str) -> list[BlockDigests | None]:
    return [file.blocks for file in address(working, slide_id).files]


def forget(store: Store) -> None:
    """As a slide that an earlier version filed."""
    with store.writing() as session:
        session.execute(delete(SlideBlocksRow))


def kept(store: Store) -> list[tuple[str, str, int, bytes]]:
    with store.reading() as session:
        rows = session.scalars(select(SlideBlocksRow)).all()
        return [(row.site, row.slide_id, row.block_bytes, row.digests) for row in rows]


def once_wrong(proxy: CuttingProxy) -> FlipByte:
    """A fault that spoils one answer, and heals itself."""

    class Once(FlipByte):
        def answered(self, line: Line, piece: bytes) -> bytes:
            told = FlipByte.answered(self, line, piece)
            if self.flipped:
                proxy.heal()
            return told

    proxy.fault = fault = Once(5_000)
    return fault


def test_a_filed_slide_in_a_bucket_is_opened_with_the_digests_of_its_blocks(
    working: WorkingHouse, slide: Path
) -> None:
    (of_file,) = blocks(working, working.file(slide))
    (taken,) = (file.blocks for file in digest_in_blocks(address_of(slide))[1].files)
    assert of_file == taken
    assert slide.stat().st_size > BLOCK_BYTES


def test_a_wrong_byte_while_a_read_scores_is_fetched_again(
    working: WorkingHouse, slide: Path, line: CuttingProxy, caplog: pytest.LogCaptureFixture
) -> None:
    slide_id = working.file(slide)
    undisturbed = working.read(slide_id)
    fault = once_wrong(line)
    read_id = working.read(slide_id)
    assert fault.flipped
    assert "came wrong and is fetched again" in caplog.text
    results = [working.house.settings.result_dir(one, 1) / slide_id for one in (undisturbed, read_id)]
    assert len({(folder / "findings.json").read_bytes() for folder in results}) == 1


def test_a_slide_that_is_read_where_it_lies_is_held_against_its_first_pass(
    working: WorkingHouse, slide: Path, object_store: ObjectStore, line: CuttingProxy
) -> None:
    place = f"{object_store.bucket()}/field.tif"
    object_store.files().put_file(str(slide), place)
    with closing(DecodingPool()) as pool:
        request = ReadRequest(operator_scale(4.6, "as Dr Example said", 0.05))
        prepared = prepare_slide(address_of(place), working.model, request, open_one=pool.open)
        assert prepared.digest == digest_slide(address_of(slide))
        with pool.open(prepared.address) as opened, open_slide(slide) as same:
            fault, box = once_wrong(line), whole(same.info.images[0].size)
            assert (opened.read_box(0, 0, box) == same.read_box(0, 0, box)).all()
        assert fault.flipped
        confirm_digest(prepared)
        object_store.files().pipe_file(place, slide.read_bytes() + b"more")
        with pytest.raises(IntegrityFailed):
            confirm_digest(prepared)


def test_a_byte_that_changed_for_good_fails_the_read_and_names_file_and_block(
    working: WorkingHouse, slide: Path, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_digests, "PAUSES_S", (0.0, 0.0))
    slide_id = working.file(slide)
    changed = bytearray(slide.read_bytes())
    changed[BLOCK_BYTES + 5] ^= 1
    (file,) = address(working, slide_id).files
    object_store.files().pipe_file(file.location, bytes(changed))
    read_id = working.request(slide_id)
    assert working.run()
    row = working.row(read_id)
    assert (row.state, row.error_code) == ("failed", "integrity_failed")
    assert row.error_what == "block 1 of file 0 is not what it was when the slide was digested"


def test_an_object_of_another_size_is_not_opened(
    working: WorkingHouse, slide: Path, object_store: ObjectStore
) -> None:
    filed = address(working, working.file(slide))
    (file,) = filed.files
    object_store.files().pipe_file(file.location, slide.read_bytes() + b"more")
    with pytest.raises(IntegrityFailed, match=r"^file 0 has \d+ bytes, and had \d+"):
        open_file(file.location, file.name, file.blocks)
    with closing(DecodingPool()) as pool, pytest.raises(IntegrityFailed, match=r"^file 0 has"):
        pool.open(filed)


def test_a_slide_that_was_filed_before_is_read_without_and_learns_them_from_a_scrub(
    working: WorkingHouse, slide: Path
) -> None:
    slide_id = working.file(slide)
    filed = kept(working.house.store)
    forget(working.house.store)
    assert blocks(working, slide_id) == [None]
    working.read(slide_id)
    assert not Scrubber(working.house).scrub().damages
    assert kept(working.house.store) == filed


def test_nothing_is_learnt_of_a_damaged_copy(
    working: WorkingHouse, slide: Path, object_store: ObjectStore
) -> None:
    (file,) = address(working, working.file(slide)).files
    forget(working.house.store)
    object_store.files().pipe_file(file.location, slide.read_bytes()[:-1] + b"x")
    assert len(Scrubber(working.house).scrub().damages) == 1
    assert kept(working.house.store) == []


def test_digests_that_are_another_slides_are_refused(working: WorkingHouse, slide: Path) -> None:
    slide_id = working.file(slide)
    with working.house.store.writing() as session:
        session.execute(update(SlideBlocksRow).values(digests=b"short"))
    with pytest.raises(IntegrityFailed, match="are not those of its files"):
        address(working, slide_id)


def test_they_go_with_the_slide(working: WorkingHouse, slide: Path) -> None:
    working.file(slide)
    past = update(StoredRow).where(StoredRow.kind == "slide").values(retain_until="2000-01-01T00:00:00.000Z")
    with working.house.store.writing() as session:
        session.execute(past)
    assert [one.kind for one in expire(working.house, "a test")] == ["slide"]
    assert kept(working.house.store) == []


def test_a_backup_brings_them_back_and_so_does_a_copy_of_the_database(
    working: WorkingHouse, slide: Path, tmp_path: Path
) -> None:
    working.file(slide)
    filed, place = kept(working.house.store), target_at(str(tmp_path / "backup"))
    Backup(working.house, place).make(lambda _total: lambda _bytes: None)
    there = working.house.settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    Restore(place, there, "a test").run(None, lambda _total: lambda _bytes: None)
    copy_to_file(working.house.store, tmp_path / "copy.db")
    for database in (there.database_file, tmp_path / "copy.db"):
        with closing(open_store(f"sqlite:///{database}")) as store:
            assert kept(store) == filed
