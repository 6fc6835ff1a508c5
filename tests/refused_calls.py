"""A kernel without the walls of decoding processes, as some containers make one."""

import platform

from ultraread.serving.decoding.landlock import CREATE_RULESET
from ultraread.serving.decoding.sandbox import (
    ALLOW,
    ARGUMENTS_AT,
    CALL_AT,
    IS_EQUAL,
    LOAD,
    PR_SET_SECCOMP,
    REFUSE,
    RETURN,
    _follow,
)

PRCTL = {"x86_64": 157, "aarch64": 167}


def refuse_walls() -> None:
    """From now on this process, and whatever it starts, is refused Landlock and filters of calls."""
    _follow(
        [
            (LOAD, 0, 0, CALL_AT),
            (IS_EQUAL, 4, 0, CREATE_RULESET),
            (IS_EQUAL, 0, 2, PRCTL[platform.machine()]),
            (LOAD, 0, 0, ARGUMENTS_AT),
            (IS_EQUAL, 1, 0, PR_SET_SECCOMP),
            (RETURN, 0, 0, ALLOW),
            (RETURN, 0, 0, REFUSE),
        ]
    )
