"""What is put into a place is whole or not there, in a folder and in an object store alike."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import ObjectStore

from ultraread.errors import IntegrityFailed, RequestInvalid, StorageFull, StorageUnreachable, UrlNotAllowed
from ultraread.serving.storage.object_target import regrouped
from ultraread.serving.storage.places import target_at
from ultraread.serving.storage.target import UNFINISHED, Folder, StoredName, Target, digest_at

PART = 8 * 2**20
TWO_PARTS = bytes(range(256)) * (PART // 256) + b"and a little more"


def stored(name: str, data: bytes) -> StoredName:
    return StoredName(name, hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.parametrize("data", [b"", b"bytes of a slide", TWO_PARTS], ids=["none", "few", "two parts"])
def test_what_is_put_comes_back(target: Target, data: bytes) -> None:
    target.put(stored("id/0.tif", data), iter([data[:7], data[7:]]))
    assert b"".join(target.pieces("id/0.tif")) == data
    assert target.size("id/0.tif") == len(data)
    assert target.names("id") == ["id/0.tif"]


@pytest.mark.parametrize("data", [b"bytes of a slide", TWO_PARTS], ids=["few", "two parts"])
def test_bytes_that_are_not_the_file_leave_nothing(target: Target, data: bytes) -> None:
    with pytest.raises(IntegrityFailed, match=r"id/0\.tif"):
        target.put(stored("id/0.tif", b"another one"), iter([data]))
    assert (target.names("id"), target.size("id/0.tif"), digest_at(target, "id/0.tif")) == ([], None, None)


def test_a_source_that_breaks_off_leaves_nothing(target: Target) -> None:
    def breaks() -> Iterator[bytes]:
        yield TWO_PARTS
        raise StorageUnreachable("the other place")

    with pytest.raises(StorageUnreachable, match="the other place"):
        target.put(stored("id/0.tif", TWO_PARTS * 2), breaks())
    assert target.names("id") == []


def test_a_good_file_is_put_in_place_of_a_damaged_one(target: Target) -> None:
    target.put(stored("id/0.tif", b"damaged"), iter([b"damaged"]))
    good = stored("id/0.tif", b"as it was")
    target.put(good, iter([b"as it was"]))
    assert digest_at(target, "id/0.tif") == good.digest


def test_what_is_removed_is_gone_and_may_be_removed_again(target: Target) -> None:
    target.put(stored("id/0.tif", b"1"), iter([b"1"]))
    for _ in range(2):
        target.remove("id/0.tif")
        assert digest_at(target, "id/0.tif") is None


def test_a_folder_that_is_empty_then_goes_too(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "kept")
    folder.put(stored("id/0.tif", b"1"), iter([b"1"]))
    folder.remove("id/0.tif")
    assert list(folder.path.iterdir()) == []


def test_a_link_costs_no_second_copy(tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(b"1")
    Folder(tmp_path / "kept").link(stored("id/0.tif", b"1"), upload)
    assert (tmp_path / "kept/id/0.tif").samefile(upload)


def test_a_full_disk_is_told_with_its_code_and_leaves_nothing(tmp_path: Path) -> None:
    def full() -> Iterator[bytes]:
        yield b"1"
        raise OSError(errno.ENOSPC, "Simulated: no space left on device")

    with pytest.raises(StorageFull):
        Folder(tmp_path).put(stored("id/0.tif", b"12"), full())
    assert Folder(tmp_path).names("id") == []


def test_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    Folder(tmp_path / "kept").put(stored("id/0.tif", b"1"), iter([b"1"]))
    file = tmp_path / "kept/id/0.tif"
    assert [path.stat().st_mode & 0o077 for path in (file, file.parent)] == [0, 0]


def test_a_bucket_that_is_not_there_is_unreachable(object_store: object) -> None:
    assert object_store
    with pytest.raises(StorageUnreachable):
        target_at("s3://nobody-made-this").put(stored("id/0.tif", b"1"), iter([b"1"]))


def test_a_place_says_whether_anything_can_be_kept_there(object_store: ObjectStore, tmp_path: Path) -> None:
    for good in (object_store.bucket(), str(tmp_path / "not there yet")):
        target_at(good).check()
    (tmp_path / "file").touch()
    for bad in ("s3://nobody-made-this", str(tmp_path / "file/below")):
        with pytest.raises(StorageUnreachable):
            target_at(bad).check()


def test_what_a_process_that_died_left_behind_is_no_file_and_goes_after_a_day(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.put(stored("id/0.tif", b"1"), iter([b"1"]))
    left = [tmp_path / "id" / f"{UNFINISHED}{name}" for name in ("young", "old")]
    for path in left:
        path.touch()
    os.utime(left[1], (0, 0))
    assert folder.names("id") == ["id/0.tif"]
    folder.put(stored("id/1.tif", b"2"), iter([b"2"]))
    assert [path.exists() for path in left] == [True, False]


@pytest.mark.parametrize(
    "url", ["simplecache::s3://b/k", "file:///etc", "https://example.org/b", "zip://a::s3://b"]
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        target_at(url)


def test_an_address_without_a_bucket_is_refused() -> None:
    with pytest.raises(RequestInvalid):
        target_at("s3:///prefix")


def test_parts_are_bounded_however_the_bytes_arrive() -> None:
    assert list(regrouped(iter([b"a", b"bcdefg", b"h"]), 3)) == [b"abc", b"def", b"gh"]
