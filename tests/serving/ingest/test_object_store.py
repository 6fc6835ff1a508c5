"""Slides in from a bucket and results out to one, with a real S3 server."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from command_line import ultraread
from filed import file_a_slide, new_read
from object_store import ObjectStore
from serving_api import got, served
from simulated import simulated_tissue, write_tiff

from ultraread.errors import SlideChanged, SlideNotFound, UrlNotAllowed
from ultraread.serving.api.app import create_api
from ultraread.serving.ingest import fetch as fetching
from ultraread.serving.ingest.deliver import MANIFEST, ResultCopier
from ultraread.serving.ingest.fetch import fetch_slide, places_of
from ultraread.serving.settings import Settings, prepare_folders
from ultraread.serving.store.engine import Store, open_store
from ultraread.serving.store.jobs import Jobs, ReadResult
from ultraread.serving.store.outbox import pending
from ultraread.serving.store.tables import ReadState
from ultraread.serving.store.uploads import Uploads, open_uploads


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(data_dir=tmp_path / "data")
    prepare_folders(made)
    return made


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with closing(open_store(f"sqlite:///{settings.data_dir}/ultraread.db")) as opened:
        yield opened


@pytest.fixture
def uploads(settings: Settings, store: Store) -> Uploads:
    return open_uploads(settings, store)


@pytest.fixture
def bucket(object_store: ObjectStore) -> str:
    return object_store.bucket()


def test_an_object_and_a_folder_are_copied_in(
    uploads: Uploads, object_store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "PIECE_BYTES", 1000)
    data = bytes(range(250)) * 10
    for key in ("one.tif", "folder/f2.tif", "folder/f10.tif", "folder/notes.txt"):
        object_store.files().pipe_file(f"{bucket}/in/{key}", data)
    (one,) = fetch_slide(uploads, f"{bucket}/in/one.tif", [f"{bucket}/in"])
    row = uploads.find(one)
    assert (row.file_name, row.sha256) == ("one.tif", hashlib.sha256(data).hexdigest())
    assert uploads.path(row).read_bytes() == data
    fields = fetch_slide(uploads, f"{bucket}/in/folder/", [f"{bucket}/in"])
    assert [uploads.find(each).file_name for each in fields] == ["f2.tif", "f10.tif"]


@pytest.mark.parametrize(
    "url",
    [
        "{bucket}/other/one.tif",
        "{bucket}/inside/one.tif",
        "{bucket}/in/../other/one.tif",
        "simplecache::{bucket}/in/one.tif",
        "zip://a.tif::{bucket}/in/one.zip",
        "reference::{bucket}/in/one.json",
        "file:///etc/passwd",
        "{bucket}/in/one.tif?versionId=1",
    ],
)
def test_what_is_not_listed_is_not_asked_for(uploads: Uploads, bucket: str, url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        fetch_slide(uploads, url.format(bucket=bucket), [f"{bucket}/in"])
    with pytest.raises(UrlNotAllowed):
        fetch_slide(uploads, f"{bucket}/in/one.tif", [])


def test_an_object_that_is_not_there_is_not_found(uploads: Uploads, bucket: str) -> None:
    with pytest.raises(SlideNotFound):
        fetch_slide(uploads, f"{bucket}/in/none.tif", [f"{bucket}/in"])


@pytest.mark.parametrize("changed_at", [1, 3])
def test_an_object_that_changes_meanwhile_is_refused_and_nothing_is_left(
    uploads: Uploads,
    object_store: ObjectStore,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    changed_at: int,
) -> None:
    monkeypatch.setattr(fetching, "PIECE_BYTES", 1000)
    key, files = f"{bucket}/in/one.tif", object_store.files()
    files.pipe_file(key, bytes(3000))
    parts = 0

    def put_and_change(self: Uploads, *args: object) -> object:
        nonlocal parts
        parts += 1
        if parts == changed_at:
            files.pipe_file(key, b"x" * 3000)
        return put(self, *args)  # type: ignore[arg-type]

    put = Uploads.put
    monkeypatch.setattr(Uploads, "put", put_and_change)
    with pytest.raises(SlideChanged):
        fetch_slide(uploads, key, [f"{bucket}/in"])
    assert list(uploads.folder.iterdir()) == []


def test_an_object_that_changes_while_another_one_of_its_slide_is_copied_is_refused(
    uploads: Uploads, object_store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, put, copied = object_store.files(), Uploads.put, []
    for name in ("f1.tif", "f2.tif"):
        files.pipe_file(f"{bucket}/in/folder/{name}", bytes(3000))

    def put_and_change(self: Uploads, *args: object) -> object:
        copied.append(args)
        if len(copied) == 2:
            files.pipe_file(f"{bucket}/in/folder/f1.tif", b"x" * 3000)
        return put(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Uploads, "put", put_and_change)
    with pytest.raises(SlideChanged):
        fetch_slide(uploads, f"{bucket}/in/folder", [f"{bucket}/in"])
    assert list(uploads.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("site", "places"),
    [("main", ["s3://a/in", "s3://a/main/in"]), ("north", ["s3://a/north/in"])],
)
def test_each_site_has_places_of_its_own(site: str, places: list[str]) -> None:
    assert places_of(site, ["s3://a/in", "s3://a/{site}/in"]) == places


def test_submit_files_what_lies_below_a_listed_place_and_nothing_else(
    settings: Settings, object_store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    local = write_tiff(tmp_path / "local.tif", simulated_tissue(96, 64))
    remote = write_tiff(tmp_path / "remote.tif", simulated_tissue(96, 64, seed=1))
    for key in ("in/one.tif", "elsewhere/one.tif"):
        object_store.files().put_file(str(remote), f"{bucket}/{key}")
    with served(create_api(settings.model_copy(update={"ingest_urls": (f"{bucket}/in",)}))) as url:
        where = ("--no-read", "--json", "--url", url)
        done = ultraread("submit", local, f"{bucket}/in/one.tif", "--case", "C-1", *where)
        slides = [got(url, f"/v1/slides/{one['slide_id']}").json() for one in done.printed["filed"]]
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (local, remote)]
        assert [slide["files"][0]["sha256"] for slide in slides] == digests
        again = ultraread("submit", f"{bucket}/in/one.tif", "--case", "C-1", *where).printed["filed"]
        assert (again[0]["slide_id"], again[0]["was_there"]) == (slides[1]["id"], True)
        refused = ultraread("submit", f"{bucket}/elsewhere/one.tif", *where)
        missing = ultraread("submit", f"{bucket}/in/none.tif", *where)
    assert (refused.status, refused.problem["code"]) == (3, "url_not_allowed")
    assert "the operator has not listed this place" in refused.problem["detail"]
    assert missing.problem["code"] == "slide_not_found"


def ended_read(settings: Settings, store: Store) -> str:
    jobs = Jobs(store, lease_s=60, max_attempts=3)
    jobs.enqueue(new_read(file_a_slide(store)), "a test")
    claim = jobs.claim("a test")
    assert claim is not None
    folder = settings.result_dir(claim.read.id, claim.epoch) / "s-1"
    folder.mkdir(parents=True)
    files = []
    for name, text in (("findings.json", "{}"), ("tiles.csv", "minx\n")):
        (folder / name).write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        called = f"{claim.read.id}/{folder.parent.name}/s-1/{name}"
        files.append({"name": called, "sha256": digest, "bytes": len(text)})
    jobs.finish(claim, ReadState.SUCCEEDED, ReadResult(files=tuple(files)))
    return claim.read.id


def test_a_result_is_delivered_once_and_its_manifest_last(
    settings: Settings, store: Store, object_store: ObjectStore, bucket: str
) -> None:
    read_id = ended_read(settings, store)
    copier = ResultCopier(settings.model_copy(update={"deliver_url": f"{bucket}/out"}), store)
    assert [copier.copy_next() for _ in range(3)] == [True, True, False]
    files, folder = object_store.files(), f"{bucket}/out/main/{read_id}"
    manifest = json.loads(files.cat_file(f"{folder}/{MANIFEST}"))
    assert [one["name"] for one in manifest["files"]] == ["s-1/findings.json", "s-1/tiles.csv"]
    for one in manifest["files"]:
        assert hashlib.sha256(files.cat_file(f"{folder}/{one['name']}")).hexdigest() == one["sha256"]
    assert "result_copy" not in {row.kind for row in pending(store)}


def test_a_place_that_is_away_is_waited_for_and_what_is_half_there_is_completed(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    read_id, place = ended_read(settings, store), tmp_path / "share"
    place.write_text("not mounted")
    copier = ResultCopier(settings.model_copy(update={"deliver_url": str(place)}), store, first_wait_s=0)
    assert [copier.copy_next() for _ in range(2)] == [True, True]
    (waiting,) = [row for row in pending(store) if row.kind == "result_copy"]
    assert waiting.error == "storage_unreachable"
    place.unlink()
    half = place / "main" / read_id / "s-1"
    half.mkdir(parents=True)
    (half / "findings.json").write_text("half")
    assert copier.copy_next()
    assert sorted(path.name for path in (place / "main" / read_id).rglob("*.*")) == [
        "findings.json", MANIFEST, "tiles.csv",
    ]  # fmt: skip
    assert (half / "findings.json").read_text() == "{}"
