"""Calibration records in the store: records are added, never changed or removed, so that a read can name them
by the number of the last one it could use.
"""

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ultraread.datasets.calibration import (
    CalibrationRecord,
    Calibrations,
    StatedInstrument,
    checked_calibrations,
)
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.tables import CalibrationRow, Json

SUBJECT = "calibrations"
"""What events of the audit trail are about."""


def import_calibrations(
    session: Session, records: Sequence[CalibrationRecord], who: str
) -> list[CalibrationRow]:
    """Add the records that are not there yet, and return the rows of all, in their order.

    Raises CalibrationInvalid where one contradicts another of the same place and date.
    """
    there = {record: row for row, record in _records(session)}
    new = [record for record in dict.fromkeys(records) if record not in there]
    if new:
        checked_calibrations([record.model_dump() for record in (*there, *new)])
        rows = [CalibrationRow(record=record.model_dump(mode="json")) for record in new]
        session.add_all(rows)
        session.flush()
        there |= dict(zip(new, rows, strict=True))
        told = {"added": len(new), "first": rows[0].sequence, "last": rows[-1].sequence}
        AuditLog(session).append(who, "calibrations_imported", SUBJECT, told)
    return [there[record] for record in records]


def page_of_calibrations(session: Session, after: int, limit: int) -> Sequence[CalibrationRow]:
    """Rows in the order in which they came, from the one that follows `after`."""
    query = select(CalibrationRow).where(CalibrationRow.sequence > after)
    return session.scalars(query.order_by(CalibrationRow.sequence).limit(limit)).all()


def last_calibration(session: Session) -> int:
    """The number of the newest record; 0 without any."""
    return session.scalar(select(func.max(CalibrationRow.sequence))) or 0


def calibrations_of(session: Session, request: Json) -> Calibrations | None:
    """What a read of this request may use; None of a read that was asked before there were records."""
    if request.get("as_of") is None:
        return None
    records = [record for row, record in _records(session) if row.sequence <= request["calibrations_upto"]]
    return Calibrations(
        records=tuple(records),
        as_of=dt.date.fromisoformat(request["as_of"]),
        stated=StatedInstrument(**(request.get("instrument") or {})),
    )


def _records(session: Session) -> list[tuple[CalibrationRow, CalibrationRecord]]:
    rows = session.scalars(select(CalibrationRow).order_by(CalibrationRow.sequence))
    return [(row, CalibrationRecord.model_validate(row.record)) for row in rows]
