"""Calibration records in the store: records are added, never changed or removed, so that a read can name them
by the number of the last one it could use.
"""

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from ultraread.datasets.calibration import (
    CalibrationRecord,
    Calibrations,
    StatedInstrument,
    checked_calibrations,
)
from ultraread.serving.store.access_tables import SiteRow
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.scope import site_of
from ultraread.serving.store.tables import CalibrationRow, Json

SUBJECT = "calibrations"
"""What events of the audit trail are about."""


class Numbered(NamedTuple):
    """A record with its number at its site: 1, 2, 3 ... in the order in which they came, without a gap."""

    number: int
    row: CalibrationRow


def import_calibrations(session: Session, records: Sequence[CalibrationRecord], who: str) -> list[Numbered]:
    """Add the records that are not there yet, and return the rows of all, in their order.

    Raises CalibrationInvalid where one contradicts another of the same place and date.
    """
    _wait_for_the_site(session)
    there = {record: one for one, record in _records(session)}
    new = [record for record in dict.fromkeys(records) if record not in there]
    if new:
        checked_calibrations([record.model_dump() for record in (*there, *new)])
        rows = [CalibrationRow(record=record.model_dump(mode="json")) for record in new]
        session.add_all(rows)
        session.flush()
        added = [Numbered(number, row) for number, row in enumerate(rows, start=len(there) + 1)]
        there |= dict(zip(new, added, strict=True))
        told = {"added": len(new), "first": added[0].number, "last": added[-1].number}
        AuditLog(session).append(who, "calibrations_imported", SUBJECT, told)
    return [there[record] for record in records]


def page_of_calibrations(session: Session, after: int, limit: int) -> list[Numbered]:
    """Of the session's site, in the order in which they came, from the one that follows number `after`."""
    rows = session.scalars(_of_site(site_of(session)).offset(after).limit(limit))
    return [Numbered(number, row) for number, row in enumerate(rows, start=after + 1)]


def last_calibration(session: Session) -> int:
    """The number of the newest record of the session's site; 0 without any."""
    of_site = CalibrationRow.site == site_of(session)
    return session.scalar(select(func.count()).select_from(CalibrationRow).where(of_site)) or 0


def calibrations_of(session: Session, request: Json, site: str | None = None) -> Calibrations | None:
    """What a read of this request may use, of its site; None of a read asked before there were records.

    Without `site`, that of the session: the service's own sessions are of none, and have to name it.
    """
    if request.get("as_of") is None:
        return None
    records = [
        record for one, record in _records(session, site) if one.number <= request["calibrations_upto"]
    ]
    return Calibrations(
        records=tuple(records),
        as_of=dt.date.fromisoformat(request["as_of"]),
        stated=StatedInstrument(**(request.get("instrument") or {})),
    )


def _wait_for_the_site(session: Session) -> None:
    """Imports of one site follow each other, or numbers could change when the slower one is through."""
    session.execute(select(SiteRow.id).where(SiteRow.id == site_of(session)).with_for_update())


def _records(session: Session, site: str | None = None) -> list[tuple[Numbered, CalibrationRecord]]:
    rows = session.scalars(_of_site(site or site_of(session)))
    return [
        (Numbered(number, row), CalibrationRecord.model_validate(row.record))
        for number, row in enumerate(rows, start=1)
    ]


def _of_site(site: str) -> Select[CalibrationRow]:
    return select(CalibrationRow).where(CalibrationRow.site == site).order_by(CalibrationRow.sequence)
