"""Between a program and a server on loopback: real faults of a network, put on and taken off while it runs.

`CountingProxy` counts; this one also refuses, resets, stalls, cuts and spoils what passes.
"""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from counting_proxy import PIECE_BYTES, CountingProxy

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which closing sends RST instead of FIN."""
VERBS = (b"GET ", b"HEAD ", b"PUT ", b"POST ", b"DELETE ", b"PATCH ")
HEADERS_BYTES = 1500


@dataclass(slots=True)
class Line:
    """One connection; `answered` counts the bytes that the client got, `is_marked` is a fault's own note."""

    client: socket.socket
    server: socket.socket
    answered: int = 0
    is_marked: bool = False

    def reset(self) -> None:
        """RST to both sides."""
        for side in (self.client, self.server):
            with suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def end(self) -> None:
        """FIN to both sides."""
        for side in (self.client, self.server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


class Fault:
    """No fault: everything passes. What a method returns is passed on; None where nothing is."""

    def connected(self, line: Line) -> bool:
        """Whether a new connection may go on."""
        return True

    def asked(self, line: Line, piece: bytes) -> bytes | None:
        return piece

    def answered(self, line: Line, piece: bytes) -> bytes | None:
        return piece


class Reset(Fault):
    """Every connection is reset, new ones at once and old ones at their next byte."""

    def connected(self, line: Line) -> bool:
        line.reset()
        return False

    def asked(self, line: Line, piece: bytes) -> None:
        line.reset()


class Stall(Fault):
    """Connections stand, and nothing passes until the fault is taken off."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def asked(self, line: Line, piece: bytes) -> bytes:
        self.over.wait()
        return piece

    def answered(self, line: Line, piece: bytes) -> bytes:
        self.over.wait()
        return piece


@dataclass
class Slow(Fault):
    """Each answer comes later by this."""

    seconds: float

    def answered(self, line: Line, piece: bytes) -> bytes:
        time.sleep(self.seconds)
        return piece


@dataclass
class CutAfter(Fault):
    """An answer ends after so many bytes of the connection, in order (FIN) or not (RST)."""

    sent_bytes: int
    in_order: bool = False

    def answered(self, line: Line, piece: bytes) -> bytes | None:
        left = self.sent_bytes - line.answered
        if len(piece) < left:
            return piece
        with suppress(OSError):
            line.client.sendall(piece[: max(0, left)])
        (line.end if self.in_order else line.reset)()
        return None


@dataclass
class CutReply(Fault):
    """What contains `asking` reaches the server and is done there; the reply is lost with the connection."""

    asking: bytes
    times: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, line: Line, piece: bytes) -> bytes:
        with self.lock:
            if self.times and self.asking in piece:
                self.times -= 1
                line.is_marked = True
        return piece

    def answered(self, line: Line, piece: bytes) -> bytes | None:
        if not line.is_marked:
            return piece
        line.reset()
        return None


@dataclass
class FlipByte(Fault):
    """Of what is answered in pieces longer than headers are, one byte a piece is another one.

    `flipped` counts them.
    """

    at: int
    flipped: int = 0

    def answered(self, line: Line, piece: bytes) -> bytes:
        if len(piece) <= HEADERS_BYTES:
            return piece
        self.flipped += 1
        place = HEADERS_BYTES + self.at % (len(piece) - HEADERS_BYTES)
        return piece[:place] + bytes([piece[place] ^ 1]) + piece[place + 1 :]


@dataclass
class Answer(Fault):
    """HTTP: every `each`th request gets this status and body, and never reaches the server."""

    status: int
    body: bytes = b""
    each: int = 1
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, line: Line, piece: bytes) -> bytes | None:
        if not piece.startswith(VERBS):
            return piece
        with self.lock:
            self.count += 1
            if self.count % self.each:
                return piece
        head = (
            f"HTTP/1.1 {self.status} Fault\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
        )
        with suppress(OSError):
            line.client.sendall(head.encode() + self.body)
        line.end()
        return None


class CuttingProxy(CountingProxy):
    """Has one fault at a time; `port` stays the same. `met` counts what came by while there was one."""

    def __init__(self, server: str) -> None:
        self._fault: Fault = Fault()
        self._lines: list[Line] = []
        self.met = 0
        super().__init__(server)
        self.port = int(self._listening.getsockname()[1])

    @property
    def fault(self) -> Fault:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        before, self._fault = self._fault, fault
        if isinstance(before, Stall):
            before.over.set()

    def heal(self) -> None:
        self.fault = Fault()

    def cut_all(self) -> None:
        """Reset every connection that is open now."""
        for line in list(self._lines):
            line.reset()

    def close(self) -> None:
        self.heal()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        super().close()
        self.cut_all()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return
            with server:
                self._serve_line(Line(client, server))

    def _serve_line(self, line: Line) -> None:
        for side in (line.client, line.server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._meet()
        if not self._fault.connected(line):
            return
        self._lines.append(line)
        try:
            asking = threading.Thread(target=self._ask, args=(line,), daemon=True)
            asking.start()
            self._reply(line)
            asking.join()
        finally:
            self._lines.remove(line)

    def _meet(self) -> None:
        with self._lock:
            self.met += type(self._fault) is not Fault

    def _ask(self, line: Line) -> None:
        with suppress(OSError, ValueError):  # either side left
            while piece := line.client.recv(PIECE_BYTES):
                self._meet()
                passed = self._fault.asked(line, piece)
                if passed is None:
                    break
                line.server.sendall(passed)
        with suppress(OSError):
            line.server.shutdown(socket.SHUT_WR)

    def _reply(self, line: Line) -> None:
        with suppress(OSError, ValueError):
            while piece := line.server.recv(PIECE_BYTES):
                self._meet()
                passed = self._fault.answered(line, piece)
                if passed is None:
                    break
                line.client.sendall(passed)
                line.answered += len(passed)
                with self._lock:
                    self.sent_back += len(passed)
        line.end()


@contextmanager
def cutting(server: str) -> Iterator[CuttingProxy]:
    """A proxy before the server (`http://host:port` or `postgresql://…`), gone at the end."""
    proxy = CuttingProxy(server)
    try:
        yield proxy
    finally:
        proxy.close()
