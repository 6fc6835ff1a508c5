"""Landlock: from some moment on, this process opens no file but those below the places that it names."""

import ctypes
import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

from ultraread.serving.decoding.sandbox import PR_SET_NO_NEW_PRIVS, control

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Calls of Linux, of the same number on every machine (landlock(7))."""
ASKED_VERSION = 1
BENEATH_A_PLACE = 1
READ_FILE, READ_FOLDER = 1 << 2, 1 << 3
RIGHTS_OF_VERSION_1 = 13
"""To files; versions 2, 3 and 5 know one more each: to move, to shorten, to control devices."""
NETWORK, OTHER_PROCESSES = 0b11, 0b11
"""To bind and to connect, from version 4 on; abstract sockets and signals, from version 6 on."""


class _Handled(ctypes.Structure):
    """What is refused but for rules; a kernel that knows fewer members takes those that it does not as 0."""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("place", ctypes.c_int32))


def version() -> int:
    """Of the kernel's Landlock; 0 where it has none, or where a container refuses it."""
    if sys.platform != "linux":
        return 0
    with suppress(OSError):
        return _called(CREATE_RULESET, None, 0, ASKED_VERSION)
    return 0


def open_only(places: Iterable[str], known: int) -> None:
    """Of files, read only these and what is below them, for good; for a process of one thread.

    `known`: the version of Landlock that is used; with 0, nothing happens. Raises OSError.
    """
    if not known:
        return
    handled = _handled(known)
    rules = _called(CREATE_RULESET, ctypes.byref(handled), ctypes.sizeof(handled), 0)
    try:
        for place in places:
            _allow(rules, place)
        control(PR_SET_NO_NEW_PRIVS, 1)
        _called(RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _handled(known: int) -> _Handled:
    rights = RIGHTS_OF_VERSION_1 + sum(known >= one for one in (2, 3, 5))
    return _Handled((1 << rights) - 1, NETWORK if known >= 4 else 0, OTHER_PROCESSES if known >= 6 else 0)


def _allow(rules: int, place: str) -> None:
    """A place that is not there, or is closed to this user, is none that could be read."""
    try:
        opened = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        is_folder = stat.S_ISDIR(os.fstat(opened).st_mode)
        rule = _Beneath(READ_FILE | READ_FOLDER if is_folder else READ_FILE, opened)
        _called(ADD_RULE, rules, BENEATH_A_PLACE, ctypes.byref(rule), 0)
    finally:
        os.close(opened)


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _called(call: int, *arguments: object) -> int:
    longs = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    answer: int = _libc().syscall(ctypes.c_long(call), *longs)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer
