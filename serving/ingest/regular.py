"""Files of a folder that others write to, opened without following links: what is checked is what is read."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ultraread.datasets.file_stamp import Stamp, stamp_of
from ultraread.errors import SlideNotRegular

_NO_FILE = {errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.EMLINK}


class FileMoved(Exception):
    """The file is not the one that it was: look at it again later."""


@contextmanager
def opened(folder: Path, name: str, stamp: Stamp | None = None) -> Iterator[BinaryIO]:
    """Open the file `name`, `/` between its folders, below `folder`.

    Raises SlideNotRegular for links, pipes, devices, and a file with a second name, through which it could
    change; FileMoved where it is gone or no longer what `stamp` says.
    """
    descriptor = _descend(folder, PurePosixPath(name).parts)
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        refuse_irregular(found)
        if stamp is not None and stamp_of(found) != stamp:
            raise FileMoved
        yield stream


def refuse_irregular(found: os.stat_result) -> None:
    """Raise SlideNotRegular unless it is a file with one name."""
    if not stat.S_ISREG(found.st_mode):
        raise SlideNotRegular("it is no regular file")
    if found.st_nlink > 1:
        raise SlideNotRegular("the file has a second name elsewhere")


def open_folder(path: Path) -> int:
    """A descriptor of the folder itself, not of what a link leads to. Raises SlideNotRegular, FileMoved."""
    return _open(str(path), os.O_RDONLY | os.O_DIRECTORY, None)


def _descend(folder: Path, parts: tuple[str, ...]) -> int:
    at = open_folder(folder)
    for number, part in enumerate(parts, start=1):
        is_last = number == len(parts)
        flags = os.O_RDONLY | (os.O_NONBLOCK if is_last else os.O_DIRECTORY)
        try:
            below = _open(part, flags, at)
        finally:
            os.close(at)
        at = below
    return at


def _open(name: str, flags: int, at: int | None) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    except FileNotFoundError as gone:
        raise FileMoved from gone
    except OSError as failure:
        if failure.errno in _NO_FILE:
            raise SlideNotRegular("it is no regular file") from failure
        raise
