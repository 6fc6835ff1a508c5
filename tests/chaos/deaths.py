"""Real deaths at named points: a worker sends itself SIGKILL right before or right after a write.

Points are found by what reaches the database, the file system or the network, not by calls in the product:
the statement that a transaction holds, the rename that a file gets, the request that is sent.
"""

import os
import re
import signal
import sys
from dataclasses import dataclass, field
from typing import Any

from chaos.journal import Journal
from sqlalchemy import Connection, Engine, event

TRANSACTIONS = {
    "finish": re.compile(r"INSERT INTO outbox"),
    "claim": re.compile(r"UPDATE reads SET ((?! WHERE ).)*\bepoch="),
    "bind": re.compile(r"UPDATE reads SET ((?! WHERE ).)*\bbinding="),
    "checkpoint": re.compile(
        r"UPDATE reads SET ((?! WHERE ).)*\btiles_(total|done)=|INSERT INTO read_ranges"
    ),
    "outbox-mark": re.compile(r"UPDATE outbox SET ((?! WHERE ).)*\bsent="),
    "outbox-take": re.compile(r"UPDATE outbox SET ((?! WHERE ).)*\battempts="),
}
"""The first that matches a statement of a transaction names it."""
REQUESTS = {"send-create": "/runs/create", "send-figures": "/runs/log-batch", "send-end": "/runs/update"}
RENAMES = {"checkpoint-file": re.compile(r"\.npz$"), "result-folder": re.compile(r"/result-\d+$")}
POINTS = (
    *(f"{name}.{when}" for name in (*TRANSACTIONS, *REQUESTS) for when in ("before", "after")),
    *(f"{name}.before" for name in RENAMES),
)


@dataclass(slots=True)
class Deaths:
    """Dies at the `passing`th passing of `point`."""

    point: str
    passing: int
    journal: Journal
    seen: dict[int, set[str]] = field(default_factory=dict)

    def lay(self, engine: Engine) -> None:
        """Lay the trap."""
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "before_cursor_execute", self._execute)
        commit = engine.dialect.do_commit

        def do_commit(connection: Any) -> None:  # noqa: ANN401  # a connection of the driver's
            names = self.seen.pop(id(connection), set())
            self._pass(names, "before")
            commit(connection)
            self._pass(names, "after")

        engine.dialect.do_commit = do_commit  # type: ignore[method-assign]
        sys.addaudithook(self._audit)
        self._lay_requests()

    def _begin(self, connection: Connection) -> None:
        self.seen[self._key(connection)] = set()

    def _execute(self, connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        flat = " ".join(statement.split())
        name = next((name for name, words in TRANSACTIONS.items() if words.search(flat)), None)
        if name:
            self.seen.setdefault(self._key(connection), set()).add(name)

    @staticmethod
    def _key(connection: Connection) -> int:
        return id(connection.connection)

    def _lay_requests(self) -> None:
        from requests.adapters import HTTPAdapter

        send = HTTPAdapter.send

        def sending(adapter: HTTPAdapter, request: Any, *rest: Any, **options: Any) -> Any:  # noqa: ANN401
            names = {name for name, path in REQUESTS.items() if path in str(request.url)}
            self._pass(names, "before")
            answer = send(adapter, request, *rest, **options)
            self._pass(names, "after")
            return answer

        HTTPAdapter.send = sending  # type: ignore[method-assign]

    def _audit(self, what: str, arguments: tuple[Any, ...]) -> None:
        if what == "os.rename":
            target = os.fspath(arguments[1])
            self._pass({name for name, words in RENAMES.items() if words.search(str(target))}, "before")

    def _pass(self, names: set[str], when: str) -> None:
        if self.point not in {f"{name}.{when}" for name in names}:
            return
        self.passing -= 1
        if self.passing <= 0:
            self.journal.tell("dies", self.point)
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()
