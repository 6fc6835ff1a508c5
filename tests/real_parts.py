"""Servers and tools that tests are held against: what a machine lacks is a named skip, or a failure in CI."""

import os
import shutil
import socket
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

LOOPBACK = "127.0.0.1"
MUST_BE_THERE = "ULTRAREAD_CI"
"""Variable of the environment under which nothing may be left out."""


def need(what: str, there: bool) -> None:
    """Go on where it is there; skip by name where it is not, or fail where everything has to be."""
    if there:
        return
    if os.environ.get(MUST_BE_THERE):
        pytest.fail(f"{what} is not on this machine, and {MUST_BE_THERE} is set", pytrace=False)
    pytest.skip(f"{what} is not on this machine")


def program(name: str, *folders: str) -> Path | None:
    """The newest program of this name in these folders (patterns) or on the path, if there is one."""
    found = [path for folder in folders for path in Path("/").glob(f"{folder.lstrip('/')}/{name}")]
    newest = max(found, default=None, key=lambda path: (len(str(path)), str(path)))
    on_path = shutil.which(name)
    return newest or (Path(on_path) if on_path else None)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def kill_with_children(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL to a server and to every process that it started."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def listening_beyond_loopback() -> list[str]:
    """Where this process and all that it started can be reached from other machines.

    Servers that other tests of this process talk to are not the service's.
    """
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    own = [process for process in processes if process.name() not in {"weed", "postgres", "nginx"}]
    sockets = [(process.name(), one) for process in own for one in process.net_connections("tcp")]
    listening = [(name, str(one.laddr.ip)) for name, one in sockets if one.status == psutil.CONN_LISTEN]
    loopback = {LOOPBACK, "::1", f"::ffff:{LOOPBACK}"}
    return sorted({f"{name} on {address}" for name, address in listening if address not in loopback})
