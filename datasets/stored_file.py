"""The bytes of one file of a slide, wherever they lie: on a disk, or in an object store read by ranges."""

import errno
import io
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from ultraread.datasets.block_digests import PAUSES_S, BlockCache, BlockDigests, ConfirmedRanges
from ultraread.errors import IntegrityFailed, SlideNotFound, StorageUnreachable, UrlNotAllowed

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

REMOTE = "s3://"
HEADER_BLOCK_BYTES = 32 * 2**10
"""What small reads of a library that parses headers fetch at a time from an object store."""
EXACT_FROM_BYTES = 4 * 2**10
"""Reads from this size on, of stored tiles and tables of offsets, fetch just what they ask for."""
KEPT_BLOCKS = 32
LARGE_READ_BYTES = 2**20


class StoredFile(Protocol):
    """An opened file. `name` is its name inside the slide and may identify a patient: never print it."""

    name: str
    size: int

    def read_at(self, offset: int, count: int) -> bytes:
        """Return the bytes [offset, offset + count), fewer at the end. Safe to call from threads.

        Raises OSError, StorageUnreachable; IntegrityFailed where blocks are known, and come wrong.
        """
        ...

    def stream(self) -> BinaryIO:
        """A new seekable stream over the file, for libraries that parse; whoever asks closes it."""
        ...

    def close(self) -> None: ...


class _OfNoFile(io.BufferedReader):
    """A stream that has no file: by its descriptor, libraries would take it for leave to open neighbours.

    Nothing is allocated that the file cannot fill: libraries ask for as many bytes as a header declares.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > LARGE_READ_BYTES:
            here = self.tell()
            size = min(size, max(0, self.seek(0, io.SEEK_END) - here))
            self.seek(here)
        return super().read(size)

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


class LocalFile:
    """A file on this machine; `pread` lets threads share it without a lock."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path
        self._descriptor = _descriptor_of(str(path), os.O_RDONLY)
        self.size = os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, count: int) -> bytes:
        if self._descriptor < 0:
            raise ValueError("read of a closed slide")
        return os.pread(self._descriptor, count, offset)

    def stream(self) -> BinaryIO:
        return _OfNoFile(io.FileIO(self._path, opener=_descriptor_of))

    def close(self) -> None:
        """Close the file; the number of its descriptor, which may soon be another file's, is forgotten."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _descriptor_of(path: str, flags: int) -> int:
    """Open a file. Raises SlideNotFound; StorageUnreachable where no more files may be open."""
    name = Path(path).name
    try:
        return os.open(path, flags)
    except FileNotFoundError as failure:
        raise SlideNotFound(f"there is no file {path}") from failure
    except PermissionError as failure:
        raise SlideNotFound(f"{name} may not be opened", "Ask for permission to read it.") from failure
    except OSError as failure:
        if failure.errno in (errno.EMFILE, errno.ENFILE):
            remedy = "Raise how many files may be open at once (ulimit -n), or try again."
            raise StorageUnreachable(f"a file cannot be opened: {failure.strerror}", remedy) from failure
        raise SlideNotFound(f"{name} cannot be opened: {failure.strerror}") from failure


class RemoteFile:
    """An object, fetched by ranges; where its blocks' digests are known, only what they confirm."""

    def __init__(
        self,
        location: str,
        name: str,
        blocks: BlockDigests | None = None,
        cache: BlockCache | None = None,
    ) -> None:
        self.name = name
        self._files, self._path = remote_files(location)
        self.size = self._size(location, PAUSES_S if blocks else ())
        if blocks is not None and blocks.size != self.size:
            raise IntegrityFailed(
                f"file {blocks.file} has {self.size} bytes, and had {blocks.size} when the slide was digested"
            )
        self._confirmed = ConfirmedRanges(self._fetched, blocks, cache) if blocks else None

    def _size(self, location: str, pauses_s: Sequence[float]) -> int:
        """Where the object is said to be gone, ask again after each pause: stores lose sight of objects."""
        for pause_s in pauses_s:
            with suppress(SlideNotFound):
                return self._looked_up(location)
            self._files.invalidate_cache(self._path)
            time.sleep(pause_s)
        return self._looked_up(location)

    def _looked_up(self, location: str) -> int:
        try:
            return int(self._files.size(self._path))
        except FileNotFoundError as failure:
            raise SlideNotFound(f"there is no object {location}") from failure
        except Exception as failure:  # botocore and aiohttp have a tree of errors each
            raise StorageUnreachable(f"{location} cannot be reached ({type(failure).__name__})") from failure

    def read_at(self, offset: int, count: int) -> bytes:
        if self._confirmed is not None:
            return self._confirmed.read_at(offset, count)
        wanted = min(offset + count, self.size) - offset
        if wanted <= 0:
            return b""
        fetched = self._fetched(offset, wanted)
        if len(fetched) != wanted:
            raise StorageUnreachable(f"{len(fetched)} bytes of a slide came where {wanted} were asked for")
        return fetched

    def _fetched(self, offset: int, count: int) -> bytes:
        """Whatever the store answers. Raises StorageUnreachable."""
        try:
            return bytes(self._files.cat_file(self._path, start=offset, end=offset + count))
        except Exception as failure:
            raise StorageUnreachable(
                f"a range of a slide cannot be fetched ({type(failure).__name__})"
            ) from failure

    def stream(self) -> BinaryIO:
        return cast(BinaryIO, _RangeStream(self))

    def close(self) -> None:
        """No connection stays open for one file."""


class _RangeStream(io.RawIOBase):
    """A seekable stream over an object: small reads come from a few kept blocks, larger ones exactly."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__()
        self._file = file
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, "a seek before the start of the file")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        read = self._small if len(view) < EXACT_FROM_BYTES else self._file.read_at
        held = read(self._at, len(view))
        view[: len(held)] = held
        self._at += len(held)
        return len(held)

    def readall(self) -> bytes:
        held = self._file.read_at(self._at, max(0, self._file.size - self._at))
        self._at += len(held)
        return held

    def _small(self, offset: int, count: int) -> bytes:
        first, last = offset // HEADER_BLOCK_BYTES, (offset + count - 1) // HEADER_BLOCK_BYTES
        joined = b"".join(self._block(number) for number in range(first, last + 1))
        start = offset - first * HEADER_BLOCK_BYTES
        return joined[start : start + count]

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._blocks[number] = self._file.read_at(number * HEADER_BLOCK_BYTES, HEADER_BLOCK_BYTES)
        self._blocks.move_to_end(number)
        if len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return self._blocks[number]


def open_file(
    location: str, name: str, blocks: BlockDigests | None = None, cache: BlockCache | None = None
) -> StoredFile:
    """Open a local path or an `s3://` address; ranges of the latter are held against `blocks`.

    Raises SlideNotFound, UrlNotAllowed, StorageUnreachable; IntegrityFailed where its size is another one.
    """
    if is_remote(location):
        return RemoteFile(location, name, blocks, cache)
    return LocalFile(Path(location), name)


def is_remote(location: str) -> bool:
    """Whether it is an object's address. Raises UrlNotAllowed for any other scheme and for chains of them."""
    if "::" in location or ("://" in location and not location.startswith(REMOTE)):
        raise UrlNotAllowed(f"{location.partition(':')[0]}: addresses are not opened")
    return location.startswith(REMOTE)


def remote_files(location: str) -> tuple[Any, str]:
    """The object store's file system and the path in it; credentials come from its own environment."""
    import fsspec

    return cast(tuple[Any, str], fsspec.core.url_to_fs(location))
