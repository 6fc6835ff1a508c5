"""What makes bytes outlast a loss of power; a full disk is a fact of its own, told with its code."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ultraread.errors import StorageFull

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The disk is full, the quota is used up, or the file may not grow (RLIMIT_FSIZE, the file system)."""


def is_full(failure: BaseException) -> bool:
    """Whether it failed for want of room."""
    return isinstance(failure, OSError) and failure.errno in NO_ROOM


@contextmanager
def full_storage_coded(what: str) -> Iterator[None]:
    """Raise StorageFull where `what` could not be written for want of room; other errors pass."""
    try:
        yield
    except OSError as failure:
        if is_full(failure):
            raise StorageFull(f"there is no room for {what}") from failure
        raise


def fsync(path: Path) -> None:
    """Make a file, or the names in a folder, outlast a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
