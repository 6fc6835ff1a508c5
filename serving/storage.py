"""A full disk is a fact of its own, told with its code wherever it is met."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ultraread.errors import StorageFull


@contextmanager
def full_storage_coded(what: str) -> Iterator[None]:
    """Raise StorageFull where `what` could not be written for want of room; other errors pass."""
    try:
        yield
    except OSError as failure:
        if failure.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(f"there is no room for {what}") from failure
        raise
