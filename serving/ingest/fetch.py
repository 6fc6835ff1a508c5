"""Slides that lie in an object store, copied in: from listed places only, and as they were at one moment."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ultraread.datasets.slide_address import FileAddress, address_of
from ultraread.datasets.stored_file import REMOTE, remote_files
from ultraread.errors import SlideChanged, SlideNotFound, StorageUnreachable, UltraReadError, UrlNotAllowed
from ultraread.serving.limits.urls import allowed_s3
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.tables import MAIN_SITE
from ultraread.serving.store.uploads import Part, Uploads

PIECE_BYTES = 8 * 2**20
SITE = "{site}"
PRECONDITION_FAILED = 412


@dataclass(frozen=True, slots=True)
class _Object:
    """An object as it was found; ranges are asked of this state of it alone."""

    files: Any
    bucket: str
    key: str
    size: int
    etag: str

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Place and bytes. Raises SlideChanged, StorageUnreachable."""
        for start in range(0, self.size, PIECE_BYTES):
            end = min(start + PIECE_BYTES, self.size)
            with _answering():
                piece: bytes = _waited(self.files, _range(self, start, end))
            if len(piece) != end - start:
                raise StorageUnreachable("the object store sent less than it was asked for")
            yield start, piece


def fetch_slide(uploads: Uploads, url: str, prefixes: Sequence[str]) -> list[str]:
    """Copy the object, or all below the prefix that is a slide, into uploads; return their ids in order.

    Raises UrlNotAllowed, SlideNotFound, SlideTypeMismatch; SlideChanged where an object is another one at the
    end than at the beginning; UploadTooLarge, QuotaExceeded, StorageFull, StorageUnreachable. Nothing is left
    then.
    """
    address = address_of(allowed_s3(url.rstrip("/"), prefixes))
    fetched: list[str] = []
    try:
        copied = []
        for file in address.files:
            fetched.append(new_id())
            copied.append(_fetch(uploads, fetched[-1], file, prefixes))
        if [_found(file.location) for file in address.files] != copied:
            raise SlideChanged("an object changed while it was copied")
    except BaseException:
        drop_all(uploads, fetched)
        raise
    return fetched


def places_of(site: str, listed: Sequence[str]) -> list[str]:
    """Of the listed prefixes those that are for this site: with its name, or for `main` without any."""
    mine = [place for place in listed if SITE in place or site == MAIN_SITE]
    return [place.replace(SITE, site) for place in mine]


def drop_all(uploads: Uploads, upload_ids: Sequence[str]) -> None:
    """Forget those that are there."""
    for upload_id in upload_ids:
        try:
            uploads.drop(uploads.find(upload_id))
        except UltraReadError:
            continue


def _fetch(uploads: Uploads, upload_id: str, file: FileAddress, prefixes: Sequence[str]) -> _Object:
    """Return it as it was copied."""
    found = _found(allowed_s3(file.location, prefixes))
    uploads.open(upload_id, _inside(file.name), found.size)
    digest = hashlib.sha256()
    for start, piece in found.pieces():
        digest.update(piece)
        last = digest.hexdigest() if start + len(piece) == found.size else None
        with tempfile.TemporaryFile(dir=uploads.folder) as staged:
            staged.write(piece)
            staged.flush()
            uploads.put(upload_id, Part(start, found.size, len(piece), staged), last)
    return found


def _inside(name: str) -> str:
    """The name of a file in its slide. Raises UrlNotAllowed where it would lead out of it."""
    if any(part in {"", ".", ".."} for part in name.split("/")) or "\\" in name or not name.isprintable():
        raise UrlNotAllowed("a key is no plain path", "Rename the object.")
    return name


def _found(location: str) -> _Object:
    files, _ = remote_files(location)
    bucket, _, key = location.removeprefix(REMOTE).partition("/")
    with _answering():
        head = files.call_s3("head_object", Bucket=bucket, Key=key)
    return _Object(files, bucket, key, int(head["ContentLength"]), str(head["ETag"]))


async def _range(of: _Object, start: int, end: int) -> bytes:
    answer = await of.files._call_s3(
        "get_object", Bucket=of.bucket, Key=of.key, Range=f"bytes={start}-{end - 1}", IfMatch=of.etag
    )
    async with answer["Body"] as body:
        piece = await _at_most(body, end - start + 1)  # a store without ranges sends all there is
    if str(answer["ETag"]) != of.etag:  # from a store that takes no conditions
        raise SlideChanged("an object changed while it was copied")
    return piece


async def _at_most(body: Any, count: int) -> bytes:  # noqa: ANN401
    piece = bytearray()
    while len(piece) < count and (more := await body.read(count - len(piece))):
        piece += more
    return bytes(piece)


def _waited(files: Any, coroutine: Any) -> Any:  # noqa: ANN401  # fsspec is published without types
    from fsspec.asyn import sync

    async def wait() -> Any:  # noqa: ANN401
        return await coroutine

    return sync(files.loop, wait)


@contextmanager
def _answering() -> Iterator[None]:
    """Of all that botocore and aiohttp can raise, an object that is gone or another one is no outage."""
    try:
        yield
    except UltraReadError:
        raise
    except FileNotFoundError as failure:
        raise SlideNotFound("there is no such object") from failure
    except Exception as failure:
        if _status(failure) == PRECONDITION_FAILED:
            raise SlideChanged("an object changed while it was copied") from failure
        raise StorageUnreachable(f"the object store does not answer ({type(failure).__name__})") from failure


def _status(failure: BaseException) -> int | None:
    answer = getattr(failure.__cause__ or failure, "response", None) or {}
    status: int | None = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status
