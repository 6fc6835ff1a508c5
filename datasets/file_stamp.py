"""Whether a file of this machine is still the one that it was, without reading it."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stamp:
    """What of a file changes when another one takes its name, or when it is written to."""

    inode: int
    bytes: int
    mtime_ns: int


def stamp_of(found: os.stat_result) -> Stamp:
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)
