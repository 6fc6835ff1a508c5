"""A decoding process as the service sees it: asked within a time limit, and killed beyond it."""

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any

from ultraread.datasets.slide import TileUnreadable
from ultraread.errors import DecodeCrash, DecodeTimeout, Unavailable
from ultraread.serving.decoding.messages import (
    Answer,
    Ended,
    Fetch,
    Fetched,
    Raised,
    Refused,
    Request,
    Unreadable,
    receive,
    send,
    told,
)
from ultraread.serving.decoding.nursery_words import Birth
from ultraread.serving.decoding.shared_memory import SharedMemory
from ultraread.serving.metrics import DECODE_WORKER_DEATHS

START_S = 60.0
"""A nursery imports for a fifth of a second; on a machine that swaps, for many."""
END_S = 5.0
SEE_LIMITS = "See the service's log, and `ulimit -u` and `ulimit -v`."
KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
ONE_THREAD = {
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""Threads of libraries would reserve address space that counts against the limit, and survive no fork."""
Fetching = Callable[[Fetch], Fetched]


class DecodingProcess:
    """One process with its channel. Not for several threads at once."""

    def __init__(self, channel: socket.socket, handle: int | None, memory_bytes: int) -> None:
        self._channel = channel
        self._handle = handle
        self._memory_bytes = memory_bytes
        self.is_alive = True

    def ask(self, request: Request, limit_s: float, fetch: Fetching | None = None) -> Any:  # noqa: ANN401
        """What the process answers; the seconds in which `fetch` waits for a store count for nothing.

        Raises DecodeTimeout and DecodeCrash, after which the process is dead; TileUnreadable; what else of
        ours was raised there.
        """
        until = time.monotonic() + limit_s
        try:
            send(self._channel, request, until)
            while isinstance(message := told(receive(self._channel, until)), Fetch):
                started = time.monotonic()
                fetched = fetch(message) if fetch else Fetched(None, "PermissionError")
                until += time.monotonic() - started
                send(self._channel, fetched, until)
        except TimeoutError as late:
            self.kill()
            DECODE_WORKER_DEATHS.add(reason="timeout")
            raise DecodeTimeout(f"decoding took more than {limit_s:g} s") from late
        except (Ended, pickle.UnpicklingError) as gone:
            self.kill()
            DECODE_WORKER_DEATHS.add(reason="crash")
            raise DecodeCrash("the process that decoded it ended") from gone
        except BaseException:  # an interrupt: the channel is in the middle of something
            self.kill()
            raise
        return self._value(message)

    def _value(self, message: object) -> Any:  # noqa: ANN401  # as the request says
        match message:
            case Answer(value):
                return value
            case Refused(error):
                raise error
            case Unreadable(why):
                raise TileUnreadable(why)
            case Raised(name) if name == MemoryError.__name__:
                DECODE_WORKER_DEATHS.add(reason="memory")
                raise DecodeCrash(f"decoding needs more than {self._memory_bytes >> 20} MiB")
            case Raised(name):
                raise DecodeCrash(f"decoding failed ({name})")
        self.kill()
        raise DecodeCrash("the process that decoded it answered what it was not asked")

    def kill(self) -> None:
        """End it now, and wait until its memory is free."""
        if not self.is_alive:
            return
        self.is_alive = False
        self._channel.close()
        if self._handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            _wait_for(self._handle, END_S)
            os.close(self._handle)


class Nursery:
    """Starts decoding processes; started itself when first needed, and again when it died. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._control: socket.socket | None = None
        self._end: Callable[[], object] = lambda: None

    def start(self, memory_bytes: int, shared: SharedMemory | None) -> DecodingProcess:
        """Raises Unavailable where the machine has no room for one more process."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                handle = self._born(
                    Birth(memory_bytes, shared.size if shared else 0, sys.path), theirs, shared
                )
            except BaseException:
                ours.close()
                raise
        return DecodingProcess(ours, handle, memory_bytes)

    def close(self) -> None:
        """End the nursery and whatever it started."""
        with self._lock:
            self._end()
            self._control = None

    def _born(self, birth: Birth, channel: socket.socket, shared: SharedMemory | None) -> int | None:
        descriptors = [channel.fileno()] + ([shared.descriptor] if shared else [])
        message = pickle.dumps(birth)
        with self._lock:
            for _ in range(2):  # a nursery that died is found out by asking it
                try:
                    control = self._control or self._started()
                    return _handed_over(control, message, descriptors)
                except (Ended, OSError):
                    self._end()
                    self._control = None
        raise Unavailable("no process can be started to decode in", SEE_LIMITS)

    def _started(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        code = "import sys; sys.path[:] = sys.argv[2:]; "
        code += "from ultraread.serving.decoding.nursery import main; main(int(sys.argv[1]))"
        with theirs:
            process = subprocess.Popen(  # noqa: S603  # this Python, and code of ours
                [sys.executable, "-c", code, str(theirs.fileno()), *sys.path],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment | ONE_THREAD,
                start_new_session=True,
            )
        ours.settimeout(START_S)
        self._control = ours
        self._end = weakref.finalize(self, _ended, ours, process)
        return ours


def _handed_over(control: socket.socket, message: bytes, descriptors: list[int]) -> int | None:
    """The new process's handle; None where it has died since. Raises Ended, OSError, TimeoutError."""
    socket.send_fds(control, [message], descriptors)
    answer, handles, _, _ = socket.recv_fds(control, 1, 1)
    if not answer:
        raise Ended
    return handles[0] if handles else None


def _wait_for(handle: int, most_s: float) -> None:
    """By poll: select takes no descriptor above 1023, and a service that many follow has more."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll(1000 * most_s)


def _ended(control: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    control.close()
    process.kill()
    process.wait()
