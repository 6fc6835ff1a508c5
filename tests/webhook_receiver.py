"""A receiver of webhooks, as a process: it answers what a file says, and writes down what it gets."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Receiver:
    """Where it listens; `answers`: statuses in order, the last one for ever; "hang" answers nothing, "drip" a
    byte now and then, for ever."""

    folder: Path
    port: int = 0
    process: "subprocess.Popen[str] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/told"

    def answers(self, *statuses: int | str) -> None:
        (self.folder / "answers").write_text(json.dumps(statuses))

    def start(self) -> None:
        """On the port that it had before."""
        command = [sys.executable, __file__, str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def got(self) -> list[dict[str, Any]]:
        """{headers, body, status} of each request so far."""
        log = self.folder / "got"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@contextmanager
def receiving(folder: Path) -> Iterator[Receiver]:
    """A running receiver that takes everything."""
    receiver = Receiver(folder)
    receiver.answers(200)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


class _Handler(BaseHTTPRequestHandler):
    folder: Path

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        answers = json.loads((self.folder / "answers").read_text())
        status = answers[0]
        (self.folder / "answers").write_text(json.dumps(answers[1:] or answers))
        with (self.folder / "got").open("a") as log:
            log.write(json.dumps({"headers": dict(self.headers), "body": body, "status": status}) + "\n")
        if status == "hang":
            time.sleep(60)
            return
        if status == "drip":
            self._drip()
            return
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", f"http://{self.headers['Host']}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _drip(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        with suppress(OSError):
            while True:
                self.wfile.write(b"a")
                time.sleep(0.1)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
        """Nothing on stderr."""


def _serve(folder: Path, port: int) -> None:
    _Handler.folder = folder
    with ThreadingHTTPServer(("127.0.0.1", port), _Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
