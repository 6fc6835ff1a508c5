"""One writer for each byte of a file, among the threads of all processes that open it."""

import fcntl
import struct
import time

from ultraread.errors import Unavailable

_FLOCK = "hhqqi4x"
"""`struct flock` of Linux on 64 bits: type, whence, start, length, pid."""
LONGEST_WAIT_S = 30.0
LOOK_S = 0.01


def wait_alone(descriptor: int, start: int, end: int) -> None:
    """Hold [start, end) until the descriptor is closed; who opened the file anew holds none of it.

    Raises Unavailable where another one holds some of it for LONGEST_WAIT_S.
    """
    wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, 0, start, end - start, 0)
    until = time.monotonic() + LONGEST_WAIT_S
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
        except BlockingIOError:
            if time.monotonic() > until:
                raise Unavailable("another request writes these bytes", "Send the part again.") from None
            time.sleep(LOOK_S)
        else:
            return
