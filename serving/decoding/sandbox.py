"""The walls of a decoding process: bounded memory; no file, network, program or other process; no orphan."""

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
LOAD, IS_EQUAL, IS_AT_LEAST, HAS_ANY, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
CALL_AT, ARCHITECTURE_AT, ARGUMENTS_AT, ARGUMENT_BYTES = 0, 4, 16, 8
"""Places of the call's number, of the architecture and of arguments in what the kernel hands to a filter
(seccomp(2)); of an argument, the lower half comes first."""
X32_CALLS = 0x40000000
_Step = tuple[int, int, int, int]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True)
class _Calls:
    """Numbers of calls on one kind of machine (linux/audit.h, asm/unistd.h).

    Of `signalling` the first argument is a process, of `limiting` too, where 0 stands for who calls. Beside
    each call of `opening` stands which argument its flags are.
    """

    architecture: int
    forbidden: tuple[int, ...]
    signalling: tuple[int, ...]
    limiting: int
    opening: tuple[tuple[int, int], ...]


CALLS = {
    "x86_64": _Calls(
        architecture=0xC000003E,
        forbidden=(
            41, 59, 322, 101, 310, 311, 438, 425,  # socket execve* ptrace process_vm_* pidfd_getfd io_uring
            129, 200, 297, 424,  # rt_sigqueueinfo tkill rt_tgsigqueueinfo pidfd_send_signal
            76, 77, 285, 437, 85, 133, 259,  # truncate ftruncate fallocate openat2 creat mknod*
            82, 264, 316, 83, 258, 84,  # rename* mkdir* rmdir
            86, 265, 87, 263, 88, 266,  # link* unlink* symlink*
            90, 91, 268, 452, 92, 93, 94, 260,  # chmod fchmod* chown fchown lchown fchownat
        ),
        signalling=(62, 234),  # kill tgkill
        limiting=302,  # prlimit64
        opening=((2, 1), (257, 2)),  # open openat
    ),
    "aarch64": _Calls(
        architecture=0xC00000B7,
        forbidden=(
            198, 221, 281, 117, 270, 271, 438, 425,
            138, 130, 240, 424,
            45, 46, 47, 437, 33,
            38, 276, 34, 37, 35, 36,
            52, 53, 452, 54, 55,
        ),
        signalling=(129, 131),
        limiting=261,
        opening=((56, 2),),
    ),
}  # fmt: skip
"""What is forbidden in one order: other programs and networks, signals, files, names of files, rights."""


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
        control(PR_SET_PDEATHSIG, signal.SIGKILL)
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
    """Refuse all that `CALLS` names by a filter in the kernel, where it has one for this machine."""
    if sys.platform != "linux" or platform.machine() not in CALLS:
        return
    _follow(_filter(CALLS[platform.machine()], os.getpid()))


def _follow(program: list[_Step]) -> None:
    instructions = (_Instruction * len(program))(*(_Instruction(*each) for each in program))
    control(PR_SET_NO_NEW_PRIVS, 1)
    of_length = _Program(len(program), instructions)
    control(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(of_length))


def _filter(calls: _Calls, own: int) -> list[_Step]:
    """(code, jump where true, jump where false, value) of each instruction; the last one refuses."""
    bounded = [
        *(step for call in calls.signalling for step in _only(call, 0, (IS_EQUAL, 0, 1, own))),
        *_only(calls.limiting, 0, (IS_EQUAL, 0, 1, 0)),
        *(step for call, at in calls.opening for step in _only(call, at, (HAS_ANY, 1, 0, WRITING))),
    ]
    last = 5 + len(calls.forbidden) + len(bounded)
    refused = [(IS_EQUAL, last - at - 1, 0, call) for at, call in enumerate(calls.forbidden, start=4)]
    return [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (IS_EQUAL, 0, last - 2, calls.architecture),
        (LOAD, 0, 0, CALL_AT),
        (IS_AT_LEAST, last - 4, 0, X32_CALLS),
        *refused,
        *bounded,
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]


def _only(call: int, argument: int, test: _Step) -> list[_Step]:
    """Allow a call whose argument lets `test` go to the next step, refuse it where it goes one further."""
    return [
        (IS_EQUAL, 0, 4, call),
        (LOAD, 0, 0, ARGUMENTS_AT + ARGUMENT_BYTES * argument),
        test,
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]


def control(*arguments: int) -> None:
    """prctl(2), whatever it answers."""
    libc = ctypes.CDLL(None, use_errno=True)
    longs = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:5]]
    libc.prctl(ctypes.c_int(arguments[0]), *longs[1:])
