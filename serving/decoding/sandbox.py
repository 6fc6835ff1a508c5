"""The walls of a decoding process: bounded memory, no file written, no network, no program, no orphan."""

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
LOAD, IS_EQUAL, IS_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
CALL_AT, ARCHITECTURE_AT = 0, 4
"""Places of the call's number and of the architecture in what the kernel hands to a filter (seccomp(2))."""
X32_CALLS = 0x40000000
FORBIDDEN = {
    "x86_64": (0xC000003E, (41, 59, 101, 311, 322, 425)),
    "aarch64": (0xC00000B7, (198, 221, 117, 271, 281, 425)),
}
"""By machine: its audit architecture, and the numbers of socket, execve, ptrace, process_vm_writev, execveat
and io_uring_setup (linux/audit.h, asm/unistd.h)."""


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def die_with(parent: int) -> None:
    """Be killed when process `parent` ends, however it ends."""
    if sys.platform == "linux":
        _control(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def wall_in(memory_bytes: int) -> None:
    """Bound this process for good; `memory_bytes` count from what it has mapped now."""
    with contextlib.suppress(OSError):  # the kernel takes it before any other when memory ends
        Path("/proc/self/oom_score_adj").write_text("1000")
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, mapped + memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    _refuse_calls()


def _refuse_calls() -> None:
    """Refuse sockets and programs by a filter in the kernel, where it has one for this machine."""
    if sys.platform != "linux" or platform.machine() not in FORBIDDEN:
        return
    program = _filter(*FORBIDDEN[platform.machine()])
    instructions = (_Instruction * len(program))(*(_Instruction(*each) for each in program))
    _control(PR_SET_NO_NEW_PRIVS, 1)
    of_length = _Program(len(program), instructions)
    _control(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(of_length))


def _filter(architecture: int, forbidden: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """(code, jump where true, jump where false, value) of each instruction; the last one refuses."""
    last = 5 + len(forbidden)
    tests = [(IS_EQUAL, last - at - 1, 0, call) for at, call in enumerate(forbidden, start=4)]
    return [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (IS_EQUAL, 0, last - 2, architecture),
        (LOAD, 0, 0, CALL_AT),
        (IS_AT_LEAST, last - 4, 0, X32_CALLS),
        *tests,
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]


def _control(*arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    longs = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:5]]
    libc.prctl(ctypes.c_int(arguments[0]), *longs[1:])
