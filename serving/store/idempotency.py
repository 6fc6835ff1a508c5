"""One answer for one Idempotency-Key of a site, however often and however many at once it is asked for."""

from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.orm import Session

from ultraread.errors import IdempotencyConflict, IdempotencyRunning
from ultraread.serving.store.engine import Store
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.scope import site_of
from ultraread.serving.store.tables import IdempotencyRow, Json
from ultraread.serving.store.workers import is_there

INTERRUPTED = 0
"""`status` of a request whose answer was never written: its process died. The next repeat takes it up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a POST that creates answers with."""

    status: int
    location: str
    body: Json


@dataclass(frozen=True, slots=True)
class Reserved:
    """The id that what is created shall have; after an interruption it may be there already."""

    subject_id: str
    was_interrupted: bool = False


def begin(
    store: Store, key: str, request_sha256: str, owner: str | None = None, at_it: bool = True
) -> Answer | Reserved:
    """Return the answer that was given before, or the id that the thing to be created shall have.

    `owner` is the worker that answers: where it falls silent, a repeat is taken up by another one. `at_it`
    tells whether this worker is answering the same request right now; if not, an outage kept it from that.
    Raises IdempotencyConflict where the key came with another request, IdempotencyRunning where this one is
    being answered.
    """
    with store.writing() as session:
        row = session.get(IdempotencyRow, (site_of(session), key))
        if row is None:
            return _reserve(session, key, request_sha256, owner)
        if row.request_sha256 != request_sha256:
            raise IdempotencyConflict("this Idempotency-Key was used for another request")
        put_down = not at_it and row.owner is not None and row.owner == owner
        if row.status is None and not put_down and (row.owner is None or is_there(session, row.owner)):
            raise IdempotencyRunning("the first request with this Idempotency-Key is being answered")
        if not row.status:
            row.status, row.owner = None, owner
            return Reserved(row.subject_id, was_interrupted=True)
        return Answer(row.status, row.location or "", row.body or {})


def complete(store: Store, key: str, answer: Answer) -> None:
    """Keep the answer for repeats."""
    with store.writing() as session:
        row = session.get_one(IdempotencyRow, (site_of(session), key))
        row.status, row.location, row.body = answer.status, answer.location, answer.body


def forget(store: Store, key: str) -> None:
    """The request was refused and made nothing: it may be sent again."""
    with store.writing() as session:
        session.delete(session.get_one(IdempotencyRow, (site_of(session), key)))


def release_interrupted(store: Store) -> None:
    """At the start of the only process that answers: whatever is still being answered, is not.

    Where there are several, the silence of their owner tells.
    """
    with store.writing() as session:
        unanswered = update(IdempotencyRow).where(IdempotencyRow.status.is_(None))
        session.execute(unanswered.values(status=INTERRUPTED))


def _reserve(session: Session, key: str, request_sha256: str, owner: str | None) -> Reserved:
    row = IdempotencyRow(key=key, request_sha256=request_sha256, subject_id=new_id(), owner=owner)
    session.add(row)
    return Reserved(row.subject_id)
