"""The bytes of one file of a slide, wherever they lie: on a disk, or in an object store read by ranges."""

import os
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from ultraread.errors import SlideNotFound, StorageUnreachable, UrlNotAllowed

REMOTE = "s3://"
HEADER_BLOCK_BYTES = 64 * 2**10
"""What a library that parses headers fetches at a time from an object store."""


class StoredFile(Protocol):
    """An opened file. `name` is its name inside the slide and may identify a patient: never print it."""

    name: str
    size: int

    def read_at(self, offset: int, count: int) -> bytes:
        """Return the bytes [offset, offset + count), fewer at the end. Safe to call from threads.

        Raises OSError, or StorageUnreachable.
        """
        ...

    def stream(self) -> BinaryIO:
        """A new seekable stream over the file, for libraries that parse; whoever asks closes it."""
        ...

    def close(self) -> None: ...


class LocalFile:
    """A file on this machine; `pread` lets threads share it without a lock."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except PermissionError as failure:
            raise SlideNotFound(
                f"{path.name} may not be opened", "Ask for permission to read it."
            ) from failure
        except OSError as failure:
            raise SlideNotFound(f"there is no file {path}") from failure
        self.size = os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, count: int) -> bytes:
        if self._descriptor < 0:
            raise ValueError("read of a closed slide")
        return os.pread(self._descriptor, count, offset)

    def stream(self) -> BinaryIO:
        return self._path.open("rb")

    def close(self) -> None:
        """Close the file; the number of its descriptor, which may soon be another file's, is forgotten."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class RemoteFile:
    """An object, of which only the ranges that are asked for are fetched."""

    def __init__(self, location: str, name: str) -> None:
        self.name = name
        self._files, self._path = remote_files(location)
        try:
            self.size = int(self._files.size(self._path))
        except FileNotFoundError as failure:
            raise SlideNotFound(f"there is no object {location}") from failure
        except Exception as failure:  # botocore and aiohttp have a tree of errors each
            raise StorageUnreachable(f"{location} cannot be reached ({type(failure).__name__})") from failure

    def read_at(self, offset: int, count: int) -> bytes:
        end = min(offset + count, self.size)
        if end <= offset:
            return b""
        try:
            return bytes(self._files.cat_file(self._path, start=offset, end=end))
        except Exception as failure:
            raise StorageUnreachable(
                f"a range of a slide cannot be fetched ({type(failure).__name__})"
            ) from failure

    def stream(self) -> BinaryIO:
        return cast(
            BinaryIO,
            self._files.open(self._path, "rb", block_size=HEADER_BLOCK_BYTES, cache_type="readahead"),
        )

    def close(self) -> None:
        """No connection stays open for one file."""


def open_file(location: str, name: str) -> StoredFile:
    """Open a local path or an `s3://` address. Raises SlideNotFound, UrlNotAllowed, StorageUnreachable."""
    return RemoteFile(location, name) if is_remote(location) else LocalFile(Path(location), name)


def is_remote(location: str) -> bool:
    """Whether it is an object's address. Raises UrlNotAllowed for any other scheme and for chains of them."""
    if "::" in location or ("://" in location and not location.startswith(REMOTE)):
        raise UrlNotAllowed(f"{location.partition(':')[0]}: addresses are not opened")
    return location.startswith(REMOTE)


def remote_files(location: str) -> tuple[Any, str]:
    """The object store's file system and the path in it; credentials come from its own environment."""
    import fsspec

    return cast(tuple[Any, str], fsspec.core.url_to_fs(location))
