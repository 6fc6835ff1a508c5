"""Calibration records: what a microscope's pixel was measured to be, with what, when, and until when."""

import csv
import datetime as dt
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ultraread.datasets.plain_text import Line
from ultraread.datasets.scale import (
    PRINTING_NM_PER_PX,
    SMALLEST_NM_PER_PX,
    ScaleOrigin,
    StatedScale,
)
from ultraread.datasets.slide import Acquisition
from ultraread.errors import (
    CalibrationAmbiguous,
    CalibrationExpired,
    CalibrationInvalid,
    CalibrationMissing,
    ScalesDisagree,
)

MAX_RECORDS = 10_000
SAME_MAGNIFICATION = 0.005
"""Relative: magnifications are rounded where they are shown."""

_DATE_FORMATS = ("%a %b %d %H:%M:%S %Y", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d, %Y")
_COMPACT_DATE = re.compile(r"(\d{8})(\d{2,6}(\.\d+)?)?([+-]\d{4})?")
_SLASHED_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})\b.*")


class CalibrationRecord(BaseModel):
    """One measured pixel size of one microscope, camera and magnification; a row of the CSV file.

    A pixel's size depends on the camera and its binning as much as on the lens: each binning is a camera of
    its own here. `tolerance` is relative, as measured: 0.016 for a good internal standard. `by` is a person,
    and stays out of every result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    microscope: Line = Field(description="As the instrument's files name it, or as you state it at a read.")
    camera: Line = Field(description="As the files name it, or as you state it; each binning by itself.")
    magnification: Annotated[float, Field(gt=0)]
    nm_per_px: Annotated[float, Field(ge=SMALLEST_NM_PER_PX, lt=PRINTING_NM_PER_PX)]
    tolerance: Annotated[float, Field(gt=0, lt=0.5, description="Relative, as measured: 0.016 is 1.6 %.")]
    date: dt.date
    standard: Line = Field(description="What was measured: a grating replica, a catalase crystal.")
    expires: dt.date = Field(description="Last day on which the record counts.")
    by: Line = Field(description="Who measured it; stays out of every result.")

    @model_validator(mode="after")
    def _expires_after_it_was_made(self) -> Self:
        if self.expires < self.date:
            raise ValueError("expires before its date")
        return self

    @property
    def place(self) -> tuple[str, str, float]:
        """What it is the pixel size of."""
        return _folded(self.microscope), _folded(self.camera), self.magnification


COLUMNS = tuple(CalibrationRecord.model_fields)


@dataclass(frozen=True, slots=True)
class StatedInstrument:
    """What a person states where files do not, or to call an instrument as the records do."""

    microscope: str = ""
    camera: str = ""
    magnification: float | None = None

    @property
    def is_stated(self) -> bool:
        return bool(self.microscope or self.camera or self.magnification)


@dataclass(frozen=True, slots=True)
class Calibrations:
    """The records that a read may use, what is stated of the instrument, and the day that counts.

    That is the day on which the image was made, where the file tells it, else `as_of`, the day of the
    request: it is part of the request, so that the same request gives the same result later.
    """

    records: tuple[CalibrationRecord, ...]
    as_of: dt.date
    stated: StatedInstrument = StatedInstrument()

    def scale_of(self, made: Acquisition) -> StatedScale | None:
        """The pixel size that the records tell of an image; None where nothing says which one counts.

        Raises CalibrationExpired, CalibrationAmbiguous, CalibrationMissing, and ScalesDisagree where another
        magnification is stated than the file's.
        """
        return matching(_as_stated(made, self.stated), self.records, self.as_of, self.stated.is_stated)


def read_calibrations(text: str) -> tuple[CalibrationRecord, ...]:
    """Parse a CSV file with the columns of CalibrationRecord. Raises CalibrationInvalid, by row."""
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True, restkey="more")
    try:
        named = rows.fieldnames or ()
        if len(named) == 1 and any(other in named[0] for other in ";\t"):
            raise CalibrationInvalid("columns have to be separated by commas")
        missing = set(COLUMNS) - set(named)
        if missing:
            raise CalibrationInvalid(f"columns are missing: {', '.join(sorted(missing))}")
        return checked_calibrations(list(rows), first_row=2)
    except csv.Error as failure:
        raise CalibrationInvalid(f"row {rows.line_num} is no CSV ({failure})") from failure


def checked_calibrations(rows: Sequence[Any], first_row: int = 1) -> tuple[CalibrationRecord, ...]:
    """Parse rows of named values. Raises CalibrationInvalid that names the first row that is wrong, and why.

    Two records of the same place and date with different pixel sizes are wrong, whichever is right.
    """
    if not 0 < len(rows) <= MAX_RECORDS:
        raise CalibrationInvalid(f"{len(rows)} records; 1 to {MAX_RECORDS} are taken")
    records = tuple(_checked(row, number) for number, row in enumerate(rows, start=first_row))
    ordered = sorted(enumerate(records, start=first_row), key=lambda numbered: _made(numbered[1]))
    for _, together in groupby(ordered, key=lambda numbered: _made(numbered[1])):
        _refuse_different(list(together))
    return records


def matching(
    made: Acquisition, records: Iterable[CalibrationRecord], as_of: dt.date, is_demanded: bool = False
) -> StatedScale | None:
    """The pixel size of the newest record of an instrument that was valid on the day that counts.

    None where the microscope or the magnification is not known, or where no record is of them. A record is
    only looked for by both: magnification alone is no unit. `is_demanded` raises CalibrationMissing instead.
    Raises CalibrationExpired where there are records but none was valid that day, CalibrationAmbiguous where
    they are of several cameras and the image does not tell which.
    """
    of_instrument = [record for record in records if _is_of(record, made)]
    if not of_instrument:
        if is_demanded:
            raise CalibrationMissing("no calibration record is of the microscope, camera and magnification")
        return None
    if len({record.place for record in of_instrument}) > 1:
        cameras = sorted({record.camera for record in of_instrument})
        raise CalibrationAmbiguous(f"records of {len(cameras)} cameras fit: {', '.join(cameras)}")
    day, whose = _day_of(made.acquired, as_of)
    valid = [record for record in of_instrument if record.date <= day <= record.expires]
    if not valid:
        raise CalibrationExpired(_why_none_is_valid(of_instrument, day, whose))
    return _scale(_newest(valid), day, whose)


def date_of(text: str) -> dt.date | None:
    """The day in an instrument's own text; None where it cannot be told, as day and month in 3/4/2026."""
    plain = text.strip()
    try:
        return dt.datetime.fromisoformat(plain).date()
    except ValueError:
        pass
    if compact := _COMPACT_DATE.fullmatch(plain):
        return _parsed(compact[1], "%Y%m%d")
    if slashed := _SLASHED_DATE.fullmatch(plain):
        return _slashed(*(int(part) for part in slashed.groups()))
    return next((found for shape in _DATE_FORMATS if (found := _parsed(plain, shape))), None)


def _checked(row: Any, number: int) -> CalibrationRecord:  # noqa: ANN401  # whatever CSV or JSON holds
    try:
        return CalibrationRecord.model_validate(row)
    except ValidationError as failure:
        raise CalibrationInvalid(f"row {number}: {'; '.join(_in_words(failure))}") from failure


def _in_words(failure: ValidationError) -> Iterator[str]:
    for error in failure.errors():
        column = ".".join(str(part) for part in error["loc"])
        if error["type"].startswith("date_"):
            yield f"{column} has to be YYYY-MM-DD"
            continue
        yield f"{column}{': ' if column else ''}{error['msg'].removeprefix('Value error, ')}"


def _made(record: CalibrationRecord) -> tuple[str, str, float, dt.date]:
    return (*record.place, record.date)


def _refuse_different(together: Sequence[tuple[int, CalibrationRecord]]) -> None:
    (first, one), *others = together
    for number, other in others:
        if (other.nm_per_px, other.tolerance) != (one.nm_per_px, one.tolerance):
            raise CalibrationInvalid(f"rows {first} and {number} are of the same place and date, and differ")


def _as_stated(made: Acquisition, stated: StatedInstrument) -> Acquisition:
    """What is stated counts before what the file says, but a magnification may not contradict it."""
    both = stated.magnification, made.magnification
    if both[0] and both[1] and not _same_magnification(both[0], both[1]):
        raise ScalesDisagree(
            f"a magnification of {both[0]:g} is stated; the file says {both[1]:g}",
            "Leave it out, or find out which is right.",
        )
    return Acquisition(
        microscope=stated.microscope or made.microscope,
        camera=stated.camera or made.camera,
        magnification=stated.magnification or made.magnification,
        acquired=made.acquired,
    )


def _is_of(record: CalibrationRecord, made: Acquisition) -> bool:
    if not made.microscope or not made.magnification:
        return False
    return (
        _folded(record.microscope) == _folded(made.microscope)
        and _same_magnification(record.magnification, made.magnification)
        and (not made.camera or _folded(record.camera) == _folded(made.camera))
    )


def _same_magnification(one: float, other: float) -> bool:
    return abs(one - other) <= SAME_MAGNIFICATION * max(one, other)


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())


def _day_of(acquired: str, as_of: dt.date) -> tuple[dt.date, str]:
    made = date_of(acquired)
    return (made, "the image was made") if made else (as_of, "the read was asked for")


def _why_none_is_valid(records: Sequence[CalibrationRecord], day: dt.date, whose: str) -> str:
    nearest = max(records, key=lambda record: (record.date <= day, record.expires))
    told = f"of {nearest.date}, {nearest.standard}, expires {nearest.expires}"
    return f"the calibration record ({told}) was not valid on {day}, when {whose}"


def _newest(valid: Sequence[CalibrationRecord]) -> CalibrationRecord:
    """Raises CalibrationAmbiguous where two of the same day differ."""
    newest = max(record.date for record in valid)
    of_that_day = {(record.nm_per_px, record.tolerance): record for record in valid if record.date == newest}
    if len(of_that_day) > 1:
        raise CalibrationAmbiguous(f"two calibration records of {newest} state different pixel sizes")
    return next(iter(of_that_day.values()))


def _scale(record: CalibrationRecord, day: dt.date, whose: str) -> StatedScale:
    reason = f"measured with {record.standard} on {record.date}, valid on {day}, when {whose}"
    return StatedScale(
        record.nm_per_px, record.nm_per_px, ScaleOrigin.CALIBRATION_RECORD, record.tolerance, reason
    )


def _slashed(first: int, second: int, year: int) -> dt.date | None:
    """Month and day in either order where only one order is a date."""
    days = {found for order in ((first, second), (second, first)) if (found := _date(year, *order))}
    return days.pop() if len(days) == 1 else None


def _date(year: int, month: int, day: int) -> dt.date | None:
    try:
        return dt.date(year, month, day)
    except ValueError:
        return None


def _parsed(text: str, shape: str) -> dt.date | None:
    try:
        return dt.datetime.strptime(text, shape).replace(tzinfo=dt.UTC).date()
    except ValueError:
        return None
