"""Which walls of a decoding process do not stand on this machine, asked from inside of one."""

import socket
from collections.abc import Callable
from pathlib import Path

SECCOMP, LANDLOCK = "seccomp", "Landlock"


def fallen_walls(file: str) -> list[str]:
    """Names of those that kept this process from nothing; `file`: one that a decoder has no use for."""
    tries: dict[str, Callable[[], object]] = {
        SECCOMP: lambda: socket.socket().close(),
        LANDLOCK: lambda: Path(file).open("rb").close(),
    }
    return [wall for wall, reach in tries.items() if _succeeds(reach)]


def _succeeds(reach: Callable[[], object]) -> bool:
    try:
        reach()
    except PermissionError:
        return False
    return True
