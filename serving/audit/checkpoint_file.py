"""The file that keeps every signed checkpoint beside the database: it only grows."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from ultraread.errors import AuditChainBroken, RequestInvalid, Unavailable
from ultraread.serving.audit.signing import Checkpoint
from ultraread.serving.audit.trail import AT_ONCE, checkpoint_of, readable
from ultraread.serving.storage.durable import full_storage_coded
from ultraread.serving.store.audit_tables import AuditCheckpointRow, AuditHeadRow
from ultraread.serving.store.clock import utc_in
from ultraread.serving.store.engine import Store

BLOCK_BYTES = 1 << 16
NEWEST_LINES = 1000
"""The end of the file, as far as it is searched for the newest checkpoint."""
FLAGS = os.O_RDWR | os.O_APPEND
KEPT = (
    "Make its folder, or correct audit_checkpoint_file. What was signed is kept in the database, and is "
    "appended with the next checkpoint, or at once by `ultraread audit sign`."
)


def append_missing(file: Path, store: Store) -> None:
    """Append every checkpoint of the table that the file lacks, a site's in their order.

    They are on the disk before this returns; replicas take turns. Raises Unavailable where the file cannot be
    written, StorageFull where there is no room.
    """
    with _coded(file), open(os.open(file, FLAGS | os.O_CREAT, 0o600), "r+b") as lines:
        fcntl.flock(lines, fcntl.LOCK_EX)
        _drop_cut_line(lines)
        with store.reading() as session, readable(session):
            lines.writelines(_line(one) for one in _missing(session, lines))
        lines.flush()
        os.fsync(lines.fileno())


def refuse_unwritable(file: Path) -> None:
    """Raise Unavailable where checkpoints could not be appended; makes and changes nothing."""
    with _coded(file):
        try:
            os.close(os.open(file, FLAGS))
        except FileNotFoundError:
            os.close(os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY))
            if not os.access(file.parent, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None


def lacks_newest(file: Path, session: Session, before_s: float = 0) -> bool:
    """Whether the checkpoint that was signed last, `before_s` ago or earlier, is not at the file's end."""
    *_, newest = (None, *_newest_of_sites(session, before_s))
    if newest is None:
        return False
    if not newest.holds or not file.exists():
        return True
    with file.open("rb") as lines:
        return _line(newest).rstrip() not in islice(_from_the_end(lines), NEWEST_LINES)


def checkpoints_in(file: Path) -> Iterator[Checkpoint]:
    """What a file of checkpoints, or an export, says of them. A last line that a crash cut is left out.

    Raises RequestInvalid where the file cannot be read, AuditChainBroken where a line is damaged.
    """
    try:
        lines = file.read_text(errors="replace").split("\n")
    except OSError as failure:
        raise RequestInvalid(
            f"{file} cannot be read ({failure.strerror})", "Check --checkpoint."
        ) from failure
    for number, line in enumerate(lines[:-1], start=1):
        try:
            body = json.loads(line)
            if body.get("kind", "checkpoint") == "checkpoint":
                yield Checkpoint.from_json(body)
        except (ValueError, KeyError, TypeError, AttributeError) as damaged:
            raise AuditChainBroken(f"line {number} of {file.name} is damaged") from damaged


@contextmanager
def _coded(file: Path) -> Iterator[None]:
    try:
        with full_storage_coded(f"checkpoints in audit_checkpoint_file {file}; the database keeps them"):
            yield
    except OSError as failure:
        told = f"audit_checkpoint_file {file} cannot be written ({failure.strerror})"
        raise Unavailable(told, KEPT) from failure


def _line(checkpoint: Checkpoint) -> bytes:
    return json.dumps(checkpoint.as_json()).encode() + b"\n"


def _drop_cut_line(lines: BinaryIO) -> None:
    """What a crash left of a line would spoil the next one. A whole file is not cut: it may only grow."""
    cut = next(_from_the_end(lines))
    if cut:
        lines.truncate(lines.seek(0, os.SEEK_END) - len(cut))


def _from_the_end(lines: BinaryIO) -> Iterator[bytes]:
    """What stands after the last line break, then each line, the last one first; block by block."""
    at, begun = lines.seek(0, os.SEEK_END), b""
    while at:
        size = min(at, BLOCK_BYTES)
        at = lines.seek(at - size)
        begun, *whole = (lines.read(size) + begun).split(b"\n")
        yield from reversed(whole)
    yield begun


def _missing(session: Session, lines: BinaryIO) -> Iterator[Checkpoint]:
    """In an order that leaves the newest one last; what somebody changed in the table is none."""
    sites = [one.site for one in _newest_of_sites(session)]
    kept = _newest_kept(session, lines, set(sites))
    for site in sites:
        yield from (one for one in _signed_after(session, site, kept.get(site)) if one.holds)


def _newest_of_sites(session: Session, before_s: float = 0) -> list[Checkpoint]:
    """Of each site, its last checkpoint; the site that was signed last comes last."""
    row = AuditCheckpointRow
    query = select(row).order_by(row.sequence.desc(), row.at.desc()).limit(1)
    if before_s:
        query = query.where(row.at <= utc_in(-before_s))
    sites = session.scalars(select(AuditHeadRow.site)).all()
    newest = [checkpoint_of(one) for site in sites for one in session.scalars(query.where(row.site == site))]
    return sorted(newest, key=lambda one: one.at)


def _newest_kept(session: Session, lines: BinaryIO, sites: set[str]) -> dict[str, Checkpoint]:
    """Of each site, the last line that the table knows too: others are forged, or of before a restore."""
    kept: dict[str, Checkpoint] = {}
    for line in _from_the_end(lines):
        if len(kept) == len(sites):
            break
        one = _parsed(line)
        if one and one.site in sites - kept.keys() and one.holds and _is_in_table(session, one):
            kept[one.site] = one
    return kept


def _parsed(line: bytes) -> Checkpoint | None:
    """None where the line is no checkpoint."""
    try:
        body: Any = json.loads(line)
        return Checkpoint.from_json(body)
    except (ValueError, KeyError, TypeError):
        return None


def _is_in_table(session: Session, one: Checkpoint) -> bool:
    row = session.get(AuditCheckpointRow, (one.site, one.sequence, one.public_key))
    return row is not None and checkpoint_of(row) == one


def _signed_after(session: Session, site: str, kept: Checkpoint | None) -> Iterator[Checkpoint]:
    row = AuditCheckpointRow
    query = select(row).where(row.site == site)
    if kept is not None:
        by_another_key = and_(row.sequence == kept.sequence, row.at > kept.at)
        query = query.where(or_(row.sequence > kept.sequence, by_another_key))
    ordered = query.order_by(row.sequence, row.at).execution_options(yield_per=AT_ONCE)
    yield from map(checkpoint_of, session.scalars(ordered))
