"""Find the first event of a trail that is not as it was written, and say what happened to it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ultraread.serving.audit.chain import GENESIS
from ultraread.serving.audit.signing import Checkpoint
from ultraread.serving.audit.trail import Head, StoredEvent, Trail


class FaultKind(StrEnum):
    """What was done to a trail."""

    EDITED = "edited"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    REPLACED = "replaced"
    """Events were written anew, with hashes that fit each other."""
    FORGED = "forged"
    """A checkpoint's signature does not hold, or nobody who is known made it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that is wrong, at this event."""

    sequence: int
    kind: FaultKind
    told: str


@dataclass(slots=True)
class SiteReport:
    """What was found in the trail of one site."""

    site: str
    first: int = 1
    """Number of the event that the search began with."""
    events: int = 0
    sealed: int = 0
    """Events that came into the chain later than they were written."""
    unsealed: int = 0
    """Events that wait for that; a version without a chain wrote them."""
    signed_upto: int = 0
    """The last event that a checkpoint which holds vouches for; 0: unsigned."""
    signed_at: str = ""
    public_keys: list[str] = field(default_factory=list)
    """Of the checkpoints that hold."""
    fault: Fault | None = None


def verify_trail(
    trail: Trail, public_keys: Sequence[str] = (), elsewhere: Iterable[Checkpoint] = ()
) -> SiteReport:
    """Hold every event against its hash and its place, and the chain against every checkpoint.

    `public_keys` are those of known signers (hex): with them, a checkpoint by anybody else is a fault;
    without them, signatures are only held against the keys that the checkpoints themselves name. `elsewhere`
    are checkpoints that were kept outside of the trail: they tell of an end that was cut off.
    """
    return _verify(trail, _of_site(trail, elsewhere), public_keys)


def verify_recent(trail: Trail, most: int, elsewhere: Iterable[Checkpoint] = ()) -> SiteReport:
    """The same from the last checkpoint on, and of the last `most` events at most; quick on a trail of years.

    What was before is believed: only `verify_trail` finds what was done to that.
    """
    checkpoints = _of_site(trail, elsewhere)
    upto = _end_of(trail, trail.head())
    signed = max((one.sequence for one in checkpoints), default=1)
    first = max(1, min(signed, upto), upto - most + 1)
    return _verify(trail, [one for one in checkpoints if one.sequence >= first], first=first)


def _verify(
    trail: Trail, checkpoints: Sequence[Checkpoint], public_keys: Sequence[str] = (), first: int = 1
) -> SiteReport:
    report = SiteReport(trail.site, first, unsealed=trail.unsealed())
    head = trail.head()
    walk = _Walk(first, _end_of(trail, head), {one.sequence for one in checkpoints}, _before(trail, first))
    report.fault = walk.fault_in(trail)
    report.events, report.sealed = walk.last.sequence, walk.sealed
    faults = (_fault_at_the_end(trail, head, walk.last), _fault_in(checkpoints, walk, public_keys))
    report.fault = report.fault or next((fault for fault in faults if fault), None)
    _note_signatures(report, checkpoints, walk)
    return report


def _end_of(trail: Trail, head: Head | None) -> int:
    """Number of the last event."""
    return head.sequence if head else trail.largest()


def _before(trail: Trail, first: int) -> Head:
    """What a walk that begins with event `first` goes on from: what that event says of the one before."""
    if first == 1:
        return Head(0, GENESIS)
    event = next((stored.event for stored in trail.events(first, first - 1)), None)
    return Head(first - 1, event.previous if event else GENESIS)


@dataclass(slots=True)
class _Walk:
    """Along the chain, up to the first fault."""

    first: int
    upto: int
    wanted: set[int]
    """Numbers of events whose hash a checkpoint states."""
    last: Head
    sealed: int = 0
    hashes: dict[int, str] = field(default_factory=dict)

    def fault_in(self, trail: Trail) -> Fault | None:
        for stored, following in _with_the_next(trail.events(self.upto, self.last.sequence)):
            fault = self._fault_at(stored, following)
            if fault or stored.event is None:
                return fault
            self.last = Head(stored.sequence, stored.hash)
            self.sealed += stored.event.sealed
            if stored.sequence in self.wanted:
                self.hashes[stored.sequence] = stored.hash
        return None

    def _fault_at(self, stored: StoredEvent, following: StoredEvent | None) -> Fault | None:
        number, expected = stored.sequence, self.last.sequence + 1
        if number > expected:
            return Fault(expected, FaultKind.REMOVED, _missing(expected, number - 1))
        if number < expected:
            return Fault(number, FaultKind.INSERTED, f"two events have the number {number}")
        if not stored.is_whole_as(number):
            return self._fault_of_changed(stored, following)
        if stored.event and stored.event.previous != self.last.hash:
            return self._fault_of_replaced(stored, following)
        return None

    def _fault_of_changed(self, stored: StoredEvent, following: StoredEvent | None) -> Fault:
        """The number is part of what is hashed: what was only moved still tells where it stood."""
        number, place = stored.sequence, self._place(stored)
        next_place = self._place(following) if following else None
        if place == number + 1 and next_place != number:
            return Fault(
                number, FaultKind.REMOVED, f"event {number} is gone, and event {place} has its number"
            )
        if place == number - 1 or (place is None and next_place == number):
            put_in = number if place is None else place
            return Fault(
                put_in, FaultKind.INSERTED, f"event {put_in} was put in, and what followed renumbered"
            )
        if place is not None:
            return Fault(number, FaultKind.REORDERED, f"event {place} stands in the place of event {number}")
        return Fault(number, FaultKind.EDITED, f"event {number} is not what its hash says")

    def _fault_of_replaced(self, stored: StoredEvent, following: StoredEvent | None) -> Fault:
        is_genuine = following is None or bool(following.event and following.event.previous == stored.hash)
        number = self.last.sequence if is_genuine and self.last.sequence else stored.sequence
        told = f"event {number} was written anew: it does not fit the one that follows or precedes it"
        return Fault(number, FaultKind.REPLACED, told)

    def _place(self, stored: StoredEvent) -> int | None:
        """The number with which these bytes have the stored hash: where the event was written."""
        near = range(max(1, stored.sequence - 2), stored.sequence + 3)
        places = (*near, *range(self.first, self.upto + 2))
        return next((place for place in places if stored.is_whole_as(place)), None)


def _fault_at_the_end(trail: Trail, head: Head | None, last: Head) -> Fault | None:
    if head is None:
        return (
            Fault(last.sequence, FaultKind.REMOVED, "nothing says where the chain ends")
            if last.sequence
            else None
        )
    if head.sequence > last.sequence:
        told = f"{_missing(last.sequence + 1, head.sequence)} at the end"
        return Fault(last.sequence + 1, FaultKind.TRUNCATED, told)
    if head.hash != last.hash:
        return Fault(last.sequence, FaultKind.REPLACED, f"event {last.sequence} is not the one that was last")
    now = trail.head()
    if (
        now and trail.largest() > now.sequence
    ):  # asked in this order, an event that is written meanwhile is none
        told = f"event {now.sequence + 1} was not written by UltraRead"
        return Fault(now.sequence + 1, FaultKind.INSERTED, told)
    return None


def _fault_in(checkpoints: Sequence[Checkpoint], walk: _Walk, public_keys: Sequence[str]) -> Fault | None:
    for one in checkpoints:
        if not one.holds:
            told = f"the signature of the checkpoint at event {one.sequence} does not hold"
            return Fault(one.sequence, FaultKind.FORGED, told)
        if public_keys and one.public_key not in public_keys:
            told = f"the checkpoint at event {one.sequence} is signed by a key that is none of those named"
            return Fault(one.sequence, FaultKind.FORGED, told)
        if one.sequence > walk.last.sequence:
            told = f"{_missing(walk.last.sequence + 1, one.sequence)} at the end; that of {one.at} is signed"
            return Fault(walk.last.sequence + 1, FaultKind.TRUNCATED, told)
        if walk.hashes.get(one.sequence) != one.hash:
            told = f"event {one.sequence} is not the one that was signed at {one.at}"
            return Fault(one.sequence, FaultKind.REPLACED, told)
    return None


def _note_signatures(report: SiteReport, checkpoints: Sequence[Checkpoint], walk: _Walk) -> None:
    held = [one for one in checkpoints if one.holds and walk.hashes.get(one.sequence) == one.hash]
    if held:
        report.signed_upto, report.signed_at = held[-1].sequence, held[-1].at
        report.public_keys = sorted({one.public_key for one in held})


def _of_site(trail: Trail, elsewhere: Iterable[Checkpoint]) -> list[Checkpoint]:
    there = {*trail.checkpoints(), *(one for one in elsewhere if one.site == trail.site)}
    return sorted(there, key=lambda one: (one.sequence, one.at, one.public_key))


def _with_the_next(events: Iterable[StoredEvent]) -> Iterator[tuple[StoredEvent, StoredEvent | None]]:
    before: StoredEvent | None = None
    for one in events:
        if before is not None:
            yield before, one
        before = one
    if before is not None:
        yield before, None


def _missing(first: int, last: int) -> str:
    return f"event {first} is missing" if first == last else f"events {first} to {last} are missing"
