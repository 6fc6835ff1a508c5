"""A prefix of an S3 bucket as a place of copies: files go up in parts and appear when all are there."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ultraread.errors import IntegrityFailed, StorageUnreachable, UltraReadError
from ultraread.serving.storage.target import PIECE_BYTES, StoredName, confirm, digest_of_pieces

MAX_PARTS = 9000
"""S3 takes 10,000 parts of an object."""


@dataclass(frozen=True, slots=True)
class ObjectPrefix:
    """Credentials, endpoint and region come from the environment or the files that botocore reads."""

    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def location(self, name: str) -> str:
        return f"s3://{self.bucket}/{self._key(name)}"

    def check(self) -> None:
        with _answering(), _bucket_there():
            _files().call_s3("head_bucket", Bucket=self.bucket)

    def put(self, file: StoredName, pieces: Iterator[bytes]) -> None:
        part_bytes = max(PIECE_BYTES, -(-file.bytes // MAX_PARTS))
        parts = regrouped(pieces, part_bytes)
        first = next(parts, b"")
        if len(first) < part_bytes:
            confirm(file, digest_of_pieces(iter([first])))
            self._call("put_object", file.name, Body=first)
        else:
            self._put_parts(file, chain([first], parts))
        self._confirm(file)

    def pieces(self, name: str) -> Iterator[bytes]:
        """By ranges: a connection that breaks costs one of them."""
        size = self.size(name)
        if size is None:
            raise FileNotFoundError(name)
        for start in range(0, size, PIECE_BYTES):
            with _answering():
                yield bytes(_files().cat_file(self._path(name), start=start, end=start + PIECE_BYTES))

    def size(self, name: str) -> int | None:
        with suppress(FileNotFoundError), _answering():
            return int(_files().size(self._path(name)))
        return None

    def remove(self, name: str) -> None:
        self._call("delete_object", name)

    def names(self, below: str) -> list[str]:
        with suppress(FileNotFoundError), _answering():
            found = _files().find(self._path(below))
            return sorted(each.removeprefix(self._path("")) for each in found)
        return []

    def _put_parts(self, file: StoredName, parts: Iterator[bytes]) -> None:
        """Nothing is to be seen before the last call; an upload that fails leaves no parts behind."""
        upload = {"UploadId": self._call("create_multipart_upload", file.name)["UploadId"]}
        try:
            sent = self._sent(file, parts, upload)
            self._call("complete_multipart_upload", file.name, MultipartUpload={"Parts": sent}, **upload)
        except BaseException:
            with suppress(Exception):  # the failure itself is what has to be told
                self._call("abort_multipart_upload", file.name, **upload)
            raise

    def _sent(self, file: StoredName, parts: Iterator[bytes], upload: dict[str, Any]) -> list[dict[str, Any]]:
        digest, size, sent = hashlib.sha256(), 0, []
        for number, part in enumerate(parts, start=1):
            digest.update(part)
            size += len(part)
            answer = self._call("upload_part", file.name, PartNumber=number, Body=part, **upload)
            sent.append({"PartNumber": number, "ETag": answer["ETag"]})
        confirm(file, (digest.hexdigest(), size))
        return sent

    def _confirm(self, file: StoredName) -> None:
        """Read it again; what came out otherwise is taken away."""
        try:
            confirm(file, digest_of_pieces(self.pieces(file.name)))
        except IntegrityFailed:
            self.remove(file.name)
            raise

    def _call(self, what: str, name: str, **more: Any) -> Any:  # noqa: ANN401  # botocore's answers
        with _answering(), _bucket_there():
            return _files().call_s3(what, Bucket=self.bucket, Key=self._key(name), **more)

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _path(self, name: str) -> str:
        return f"{self.bucket}/{self._key(name)}"


def regrouped(pieces: Iterator[bytes], part_bytes: int) -> Iterator[bytes]:
    """The same bytes in parts of exactly this size; the last one may be smaller."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= part_bytes:
            yield bytes(waiting[:part_bytes])
            del waiting[:part_bytes]
    if waiting:
        yield bytes(waiting)


def _files() -> Any:  # noqa: ANN401  # fsspec is published without types
    """The object store as fsspec sees it, remembering no listing: others write there too."""
    import fsspec

    return fsspec.filesystem("s3", use_listings_cache=False)


@contextmanager
def _answering() -> Iterator[None]:
    """Of all that botocore and aiohttp can raise, only a missing object is more than an outage."""
    try:
        yield
    except (FileNotFoundError, UltraReadError):
        raise
    except Exception as failure:
        raise StorageUnreachable(f"the object store does not answer ({type(failure).__name__})") from failure


@contextmanager
def _bucket_there() -> Iterator[None]:
    """Where no object is asked for, what is missing is the bucket."""
    try:
        yield
    except FileNotFoundError as failure:
        raise StorageUnreachable("there is no such bucket", "Make it, or correct the address.") from failure
