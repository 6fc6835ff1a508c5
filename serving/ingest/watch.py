"""Slides that a scanner writes into a folder are sent as any client sends them, and moved away when filed.

Nothing is lost and nothing filed twice, whenever this process dies: uploads are noted before the slide is
filed with them, under a key that is made from the slide's bytes and name, and the service answers a key once.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ultraread.datasets.digest import sha256_of_stream
from ultraread.datasets.file_stamp import Stamp
from ultraread.datasets.slide_digest import sha256_of_files
from ultraread.errors import (
    AuthForbidden,
    AuthRequired,
    IdempotencyConflict,
    InputRefused,
    ModelRefused,
    NotFound,
    ReadRefused,
    RequestInvalid,
    SlideTypeMismatch,
    StorageFull,
    StorageUnreachable,
    UltraReadError,
    UploadConflict,
    UploadTooLarge,
)
from ultraread.serving.client import Client
from ultraread.serving.ingest.journal import Journal
from ultraread.serving.ingest.regular import FileMoved, opened
from ultraread.serving.ingest.watched import FILED, REFUSED, Settling, Unit, units_of
from ultraread.serving.send_file import CONNECTIONS, at_once, send_file
from ultraread.serving.storage.durable import is_full

LOOK_S = 1.0
LONGEST_WAIT_S = 60.0
OURS = (RequestInvalid, AuthRequired, AuthForbidden, ModelRefused)
"""What no waiting changes: this command was not told rightly what to ask for."""

Json = dict[str, Any]
Tell = Callable[[Json], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is stated of every slide of the folder; `read` is None where none is asked for."""

    url: str
    record: Mapping[str, Any] = field(default_factory=dict)
    read: Mapping[str, Any] | None = field(default_factory=dict)


@dataclass(slots=True)
class Watch:
    """Files what settles in `folder`; `tell` hears what became of each slide."""

    folder: Path
    client: Client
    wanted: Wanted
    tell: Tell
    settle_s: float
    with_marker: bool = False
    _settling: Settling = field(init=False)
    _waiting: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By name or key: when to try again, and how long was waited last."""
    _moving: dict[str, Json] = field(default_factory=dict)
    """By key, moves that did not end: what is told when they do."""

    def __post_init__(self) -> None:
        self._settling = Settling(self.settle_s)

    def run(self, *, once: bool = False) -> None:
        """Look again and again; `once`: until nothing is left. Raises Unavailable where another watches."""
        with self._journal.held():
            self._moving = {key: {"event": "moved", "key": key} for key in self._journal.unfinished()}
            while self.look() or not once:
                time.sleep(min(LOOK_S, self.settle_s / 4 or 0.01))

    def look(self) -> int:
        """File what has settled; return how many units were there before."""
        now = time.monotonic()
        try:
            moving = self._finish_moves(now)
            units = units_of(self.folder, with_marker=self.with_marker)
        except OSError as failure:
            self.tell({"event": "waiting", "code": _coded(failure).code, "again_in_s": LOOK_S})
            return 1
        for unit in self._settling.settled(units, now):
            if self._is_due(unit.name, now) and not moving & set(unit.names):
                self._try(unit)
        return len(units)

    def _finish_moves(self, now: float) -> set[str]:
        """Names that are still to be moved: what is left of a series is no slide of its own."""
        for key in [each for each in self._moving if self._is_due(each, now)]:
            try:
                self._journal.finish_move(key)
            except OSError as failure:
                self._put_off(key, _coded(failure))
            else:
                self.tell(self._moving.pop(key))
                self._waiting.pop(key, None)
        return {name for key in self._moving for name in self._journal.moving(key)}

    def _is_due(self, name: str, now: float) -> bool:
        return self._waiting.get(name, (0.0, 0.0))[0] <= now

    @property
    def _journal(self) -> Journal:
        return Journal(self.folder)

    def _try(self, unit: Unit) -> None:
        try:
            self._file(unit)
        except FileMoved:
            return  # written to again: it has to settle anew
        except UltraReadError as failure:
            if isinstance(failure, OURS):
                raise
            self._put_off(unit.name, failure)
        except OSError as failure:
            self._put_off(unit.name, _coded(failure))
        else:
            self._waiting.pop(unit.name, None)

    def _put_off(self, name: str, failure: UltraReadError) -> None:
        last_s = self._waiting.get(name, (0.0, LOOK_S / 2))[1]
        wait_s = min(LONGEST_WAIT_S, 2 * last_s)
        self._waiting[name] = time.monotonic() + wait_s, wait_s
        self.tell({"event": "waiting", "code": failure.code, "again_in_s": wait_s})

    def _file(self, unit: Unit) -> None:
        if unit.refusal is not None:
            self._refuse(_key(self.wanted, unit, ""), unit, unit.refusal)
            return
        try:
            digests = self._digests(unit)
        except InputRefused as refused:
            self._refuse(_key(self.wanted, unit, ""), unit, refused)
            return
        key = _key(self.wanted, unit, sha256_of_files(digests))
        try:
            known = self._filed(key, unit, digests)
        except InputRefused as refused:
            self._refuse(key, unit, refused)
            return
        except _Unfit as unfit:
            self._refuse(key, unit, unfit.error)
            return
        told = {name: known.get(name) for name in ("slide_id", "scan_record_id", "read_id", "read_refused")}
        self._move(key, unit, FILED, told, told)

    def _refuse(self, key: str, unit: Unit, refused: UltraReadError) -> None:
        told = {"code": refused.code, "what": refused.what, "remedy": refused.remedy}
        self._move(key, unit, REFUSED, told, {"code": refused.code})

    def _move(self, key: str, unit: Unit, place: str, note: Json, told: Json) -> None:
        """What cannot be moved now is moved later, and is no slide until then. OSError before that."""
        event = {"event": place, "key": key, **told}
        try:
            self._journal.move(key, unit, place, {"key": key, **note})
        except OSError as failure:
            if not self._journal.moving(key):
                raise
            self._moving[key] = event
            self._put_off(key, _coded(failure))
        else:
            self.tell(event)

    def _digests(self, unit: Unit) -> list[str]:
        if not unit.sent:
            raise SlideTypeMismatch("a folder without images", "Put the image files into it.")
        digests = []
        for name, stamp in unit.sent:
            with opened(self.folder, name, stamp) as stream:
                digests.append(sha256_of_stream(stream))
        return digests

    def _filed(self, key: str, unit: Unit, digests: list[str]) -> Json:
        known = self._journal.of(key)
        if "slide_id" not in known:
            known = self._slide(key, unit, digests, known)
        if self.wanted.read is not None and not known.keys() & {"read_id", "read_refused"}:
            known |= self._read(key, known["slide_id"])
            self._journal.note(key, known)
        return known

    def _slide(self, key: str, unit: Unit, digests: list[str], known: Json) -> Json:
        """Once more with what was noted; with new uploads where those are not all there."""
        attempt = known.get("attempt", 0)
        if "uploads" in known:
            try:
                return self._file_uploads(key, attempt, known["uploads"])
            except (NotFound, UploadConflict):
                attempt += 1
        stop = threading.Event()
        pairs = zip(unit.sent, digests, strict=True)
        sending = [partial(self._send, unit, file, digest, stop) for file, digest in pairs]
        uploads = at_once(sending, CONNECTIONS, stop)
        while True:
            self._journal.note(key, {"uploads": uploads, "attempt": attempt})
            try:
                return self._file_uploads(key, attempt, uploads)
            except IdempotencyConflict:  # with an earlier journal, which somebody has deleted
                attempt += 1

    def _send(self, unit: Unit, file: tuple[str, Stamp], digest: str, stop: threading.Event) -> str:
        name, stamp = file
        connections = max(1, CONNECTIONS // len(unit.files))
        try:
            with opened(self.folder, name, stamp) as stream:
                return send_file(
                    self.client,
                    stream,
                    unit.inside(name),
                    sha256=digest,
                    connections=connections,
                    stop=stop,
                )
        except (RequestInvalid, UploadTooLarge) as unfit:
            raise _Unfit(unfit) from unfit

    def _file_uploads(self, key: str, attempt: int, uploads: list[str]) -> Json:
        once = f"watch-{key}-{attempt}"
        slide = self.client.file_or_find(uploads, idempotency_key=once, **self.wanted.record).slide
        known = {"slide_id": slide["id"], "scan_record_id": slide["scan_record_id"]}
        self._journal.note(key, known)
        return known

    def _read(self, key: str, slide_id: str) -> Json:
        """A slide that must not be read stays filed."""
        stated = dict(self.wanted.read or {})
        try:
            read = self.client.request_read(
                idempotency_key=f"watch-{key}-read", slide_ids=[slide_id], **stated
            )
        except ReadRefused as refused:
            return {"read_refused": {"code": refused.code, "what": refused.what, "remedy": refused.remedy}}
        return {"read_id": read["id"]}


def _coded(failure: OSError) -> UltraReadError:
    if is_full(failure):
        return StorageFull("there is no room in the watched folder")
    return StorageUnreachable(f"the watched folder does not answer ({failure.strerror})")


class _Unfit(Exception):
    """The service takes no file of this name or size."""

    def __init__(self, error: UltraReadError) -> None:
        super().__init__(error.code)
        self.error = error


def _key(wanted: Wanted, unit: Unit, sha256: str) -> str:
    """Of the slide's bytes and name, and of where it is filed."""
    told = "\n".join((wanted.url, str(wanted.record.get("case_id")), unit.name, sha256))
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:32]
