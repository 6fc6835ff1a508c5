"""Objects of a store, for processes without network and credentials: the service fetches the ranges."""

import socket
from collections.abc import Iterable
from typing import Any

import fsspec

from ultraread.datasets.slide_address import SlideAddress
from ultraread.datasets.stored_file import REMOTE, remote_files
from ultraread.serving.decoding.messages import Fetch, Fetched, receive, send, told


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
    """The service's side: fetches from the objects of one slide, and from no others."""

    def __init__(self, locations: Iterable[str]) -> None:
        self._locations = frozenset(locations)

    def __call__(self, wanted: Fetch) -> Fetched:
        if wanted.location not in self._locations:
            return Fetched(None, FileNotFoundError.__name__)
        try:
            files, path = remote_files(wanted.location)
            if wanted.end is None:
                return Fetched(int(files.size(path)))
            return Fetched(bytes(files.cat_file(path, start=wanted.start, end=wanted.end)))
        except Exception as failure:  # botocore and aiohttp have a tree of errors each
            return Fetched(None, type(failure).__name__)


def fetcher_of(address: SlideAddress) -> Fetcher:
    return Fetcher(file.location for file in address.files if file.location.startswith(REMOTE))
