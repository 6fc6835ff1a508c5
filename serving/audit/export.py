"""The trail of a site as one file of JSON lines, which can be verified without the database.

The first line says what it is, then follow the events, the checkpoints, and where the chain ends.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultraread.datasets.table_cells import as_cell
from ultraread.errors import AuditChainBroken, RequestInvalid
from ultraread.serving.audit.chain import Event
from ultraread.serving.audit.signing import Checkpoint
from ultraread.serving.audit.trail import DatabaseTrail, Head, StoredEvent

FORMAT = "ultraread-audit-1"
CSV_COLUMNS = (
    "sequence",
    "at",
    "who",
    "what",
    "subject",
    "why",
    "detail",
    "old",
    "new",
    "sealed",
    "previous",
    "hash",
)


def exported(trail: DatabaseTrail, now: str) -> Iterator[dict[str, Any]]:
    """The lines of an export, up to the event that is the last one now."""
    head = trail.head() or Head(0, "")
    checkpoints = [one for one in trail.checkpoints() if one.sequence <= head.sequence]
    keys = sorted({one.public_key for one in checkpoints})
    yield {"kind": "trail", "format": FORMAT, "site": trail.site, "exported": now, "public_keys": keys}
    for stored in trail.events(head.sequence):
        body = stored.event.as_json() if stored.event else {"sequence": stored.sequence}
        yield {"kind": "event", **body, "hash": stored.hash}
    for checkpoint in checkpoints:
        yield {"kind": "checkpoint", **checkpoint.as_json()}
    yield {"kind": "end", "sequence": head.sequence, "hash": head.hash}


def csv_row(event: dict[str, Any]) -> list[str]:
    """An event for table programs: JSON in its cells, and nothing that one would run as a formula."""
    cells = (event[name] for name in CSV_COLUMNS)
    texts = (one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in cells)
    return [as_cell(one) for one in texts]


@dataclass(frozen=True, slots=True)
class ExportedTrail:
    """An export, line by line."""

    file: Path
    site: str

    def head(self) -> Head:
        """Raises AuditChainBroken where the file has no end."""
        for line in self._lines("end"):
            return Head(int(line["sequence"]), str(line["hash"]))
        raise AuditChainBroken(f"{self.file.name} is cut off: it has no end", "Export it again.")

    def events(self, upto: int, after: int = 0) -> Iterator[StoredEvent]:
        for line in self._lines("event"):
            number = int(line["sequence"])
            if after < number <= upto:
                yield StoredEvent(number, _event(line), str(line["hash"]))

    def largest(self) -> int:
        return max((int(line["sequence"]) for line in self._lines("event")), default=0)

    def unsealed(self) -> int:
        return 0

    def checkpoints(self) -> Iterator[Checkpoint]:
        for line in self._lines("checkpoint"):
            yield Checkpoint.from_json(line)

    def _lines(self, kind: str) -> Iterator[dict[str, Any]]:
        """Raises AuditChainBroken where a line is none of an export."""
        with self.file.open(errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                body = _parsed(line)
                if body is None:
                    raise AuditChainBroken(f"line {number} of {self.file.name} is damaged")
                if body["kind"] == kind:
                    yield body


def open_export(file: Path) -> ExportedTrail:
    """Raises RequestInvalid where the file is no export."""
    try:
        with file.open(errors="replace") as lines:
            first = _parsed(lines.readline())
    except OSError as failure:
        raise RequestInvalid(f"{file} cannot be read ({failure.strerror})", "Check the path.") from failure
    if first is None or first.get("format") != FORMAT or not isinstance(first.get("site"), str):
        raise RequestInvalid(f"{file} is no export of an audit trail", "Make one: ultraread audit export.")
    return ExportedTrail(file, first["site"])


_NEEDED = {
    "trail": {"format", "site"},
    "event": {"sequence", "hash"},
    "checkpoint": {*Checkpoint.__slots__},
    "end": {"sequence", "hash"},
}


def _parsed(line: str) -> dict[str, Any] | None:
    """A line's JSON; None where it is damaged."""
    try:
        body = json.loads(line)
    except ValueError:
        return None
    if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
        return None
    numbered = isinstance(body.get("sequence", 0), int)
    return body if numbered and _NEEDED.get(body["kind"], {"?"}) <= body.keys() else None


def _event(line: dict[str, Any]) -> Event | None:
    try:
        return Event.from_json(line)
    except KeyError:
        return None
