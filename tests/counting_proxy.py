"""Between a program and a server on loopback: counts what the server sends back, byte by byte."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

PIECE_BYTES = 65_536


class CountingProxy:
    """Passes everything on; `sent_back` counts the server's bytes, headers among them.

    Once they reach `silent_from`, it hangs up on everybody.
    """

    def __init__(self, server: str) -> None:
        told = urlsplit(server)
        self._server = (told.hostname or "", told.port or 80)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.sent_back = 0
        self.silent_from: int | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    @property
    def _is_silent(self) -> bool:
        return self.silent_from is not None and self.sent_back >= self.silent_from

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server:
            asked = threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True)
            asked.start()
            self._pass_on(server, client, counts=True)
            asked.join()

    def _pass_on(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        with suppress(OSError):  # either side left
            while not self._is_silent and (piece := source.recv(PIECE_BYTES)):
                with self._lock:
                    self.sent_back += len(piece) if counts else 0
                target.sendall(piece)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@contextmanager
def counting(server: str) -> Iterator[CountingProxy]:
    """A proxy before the server, gone at the end."""
    proxy = CountingProxy(server)
    try:
        yield proxy
    finally:
        proxy.close()
