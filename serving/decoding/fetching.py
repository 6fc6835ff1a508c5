"""Objects of a store, for processes without network and credentials: the service fetches the ranges."""

import socket
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from threading import Lock
from typing import Any

import fsspec

from ultraread.datasets.block_digests import BlockCache
from ultraread.datasets.slide_address import FileAddress, SlideAddress
from ultraread.datasets.stored_file import REMOTE, StoredFile, is_remote, open_file
from ultraread.errors import SlideNotFound
from ultraread.serving.decoding.messages import Fetch, Fetched, receive, send, told

MOST_OPENED = 64


class FetchedFiles(fsspec.AbstractFileSystem):  # type: ignore[misc]  # fsspec is published without types
    """What datasets/stored_file asks of an object store: sizes and ranges."""

    protocol = "s3"
    cachable = False
    channel: socket.socket

    def size(self, path: str) -> int:
        """Raises FileNotFoundError, OSError."""
        return int(self._asked(Fetch(REMOTE + path)))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_more: object) -> bytes:
        """Raises OSError."""
        return bytes(self._asked(Fetch(REMOTE + path, start or 0, end)))

    def _asked(self, wanted: Fetch) -> Any:  # noqa: ANN401  # bytes or a size
        send(self.channel, wanted)
        answer: Fetched = told(receive(self.channel))
        if answer.failure == FileNotFoundError.__name__:
            raise FileNotFoundError(wanted.location)
        if answer.value is None:
            raise OSError(answer.failure)
        return answer.value


def fetch_through(channel: socket.socket) -> None:
    """From now on `s3://` addresses are asked for over the channel."""
    FetchedFiles.channel = channel
    fsspec.register_implementation("s3", FetchedFiles, clobber=True)


class Fetcher:
    """The service's side: fetches from the objects of one slide, and from no others. Thread-safe.

    What the process is handed has been held against the digests of its blocks, where they are known.
    """

    def __init__(self, files: Iterable[FileAddress]) -> None:
        self._files = {file.location: file for file in files}
        self._opened: OrderedDict[str, StoredFile] = OrderedDict()
        self._cache = BlockCache()
        self._lock = Lock()

    def __call__(self, wanted: Fetch) -> Fetched:
        """Raises IntegrityFailed, StorageUnreachable: here, where no library takes them for damage."""
        if wanted.location not in self._files:
            return Fetched(None, FileNotFoundError.__name__)
        try:
            file = self._open(self._files[wanted.location], is_new=wanted.end is None)
            if wanted.end is None:
                return Fetched(file.size)
            return Fetched(file.read_at(wanted.start, wanted.end - wanted.start))
        except SlideNotFound:
            return Fetched(None, FileNotFoundError.__name__)

    def _open(self, address: FileAddress, is_new: bool) -> StoredFile:
        """The object; its size is asked for where the process asks. A slide may have 100,000 of them."""
        with self._lock:
            opened = self._opened.get(address.location)
        if opened is None or is_new:
            opened = open_file(address.location, address.name, address.blocks, self._cache)
            with self._lock:
                self._opened[address.location] = opened
                while len(self._opened) > MOST_OPENED:
                    self._opened.popitem(last=False)
        return opened


def fetcher_of(address: SlideAddress) -> Fetcher:
    return Fetcher(file for file in address.files if is_remote(file.location))


def as_sent(address: SlideAddress) -> SlideAddress:
    """Without digests: whoever fetches has confirmed what a decoding process gets."""
    return replace(address, files=tuple(replace(file, blocks=None) for file in address.files))
