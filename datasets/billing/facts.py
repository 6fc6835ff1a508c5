"""What a record shows of the digitization code: yes, no, or None where it cannot tell.

None is never better than yes or no: taking a fact away never answers a question in the record's favour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ultraread.datasets.scan_record.record import ScanRecord
from ultraread.datasets.scan_record.statement import (
    CaptureMode,
    DigitizedObject,
    Moment,
    PlaceKind,
    Purpose,
)

DIGITIZATION = "0856T"
"""Add-on code for digitizing glass slides for diagnostic electron microscopy."""
PRIMARY = "88348"
"""The primary service: diagnostic electron microscopy."""
IN_FORCE = date(2024, 1, 1)
SUNSET = date(2029, 1, 1)
"""A code of category III ends after five years unless it is renewed."""
MOST_A_DATE = 1

NEVER_REPORTABLE = frozenset(
    {Purpose.ARCHIVE, Purpose.EDUCATION, Purpose.RESEARCH, Purpose.DATABASE, Purpose.CONFERENCE, Purpose.QA}
)


@dataclass(frozen=True, slots=True)
class Facts:
    """The record that is asked about, and all records of its case, itself included."""

    record: ScanRecord
    case: Sequence[ScanRecord]


def has_primary(facts: Facts) -> bool | None:
    dates = [record.date_of_service for record in facts.case if record.primary_procedure == PRIMARY]
    if not dates:
        return False
    day = facts.record.date_of_service
    if day is not None and day in dates:
        return True
    return None if day is None or None in dates else False


def is_one_unit(facts: Facts) -> bool | None:
    units = facts.record.digitization_units
    return None if units is None else units == 1


def is_alone_on_its_date(facts: Facts) -> bool | None:
    return _at_most(_units_on_the_date(facts), MOST_A_DATE)


def has_a_primary_unit(facts: Facts) -> bool | None:
    units = facts.record.primary_units
    return None if units is None else _at_most(_units_on_the_date(facts), units)


def _units_on_the_date(facts: Facts) -> list[int | None]:
    """Units of each record of the case that may count on this record's date; None where that is unknown."""
    others = [record for record in facts.case if record.id != facts.record.id]
    return [facts.record.digitization_units, *(_units_beside(other, facts.record) for other in others)]


def _units_beside(other: ScanRecord, record: ScanRecord) -> int | None:
    made = other.digitized
    days = (other.date_of_service, record.date_of_service)
    if None not in days and days[0] != days[1]:
        return 0
    if made.object not in {None, DigitizedObject.SEMITHIN_GLASS}:
        return 0
    if made.purpose not in {None, Purpose.PRIMARY} or other.digitization_units == 0:
        return 0
    unknown = None in days or made.object is None or made.purpose is None
    return None if unknown else other.digitization_units


def _at_most(units: Sequence[int | None], most: int) -> bool | None:
    known = sum(each for each in units if each is not None)
    if known > most:
        return False
    return None if None in units else True


def is_primary_purpose(facts: Facts) -> bool | None:
    purpose = facts.record.digitized.purpose
    return None if purpose is None else purpose not in NEVER_REPORTABLE


def is_first_read(facts: Facts) -> bool | None:
    purpose = facts.record.digitized.purpose
    return None if purpose is None else purpose != Purpose.SECOND_READ


def came_before(facts: Facts) -> bool | None:
    moment = facts.record.moment
    return None if moment is None else moment == Moment.BEFORE


def is_glass(facts: Facts) -> bool | None:
    found = facts.record.digitized.object
    if found in {None, DigitizedObject.GRID}:
        return None
    return found == DigitizedObject.SEMITHIN_GLASS


def is_whole_or_live(facts: Facts) -> bool | None:
    mode = facts.record.digitized.capture_mode
    if mode in {None, CaptureMode.MONTAGE}:
        return None
    return mode != CaptureMode.STATIC


def was_digitized_by_somebody(facts: Facts) -> bool | None:
    return True if facts.record.digitized.operator else None


def is_reviewed(facts: Facts) -> bool | None:
    review = facts.record.quality_review
    return None if review is None else review.complete


def says_digital(facts: Facts) -> bool | None:
    return facts.record.interpretation.report_says_digital


def names_system(facts: Facts) -> bool | None:
    return facts.record.interpretation.report_names_system


def names_physician(facts: Facts) -> bool | None:
    return True if facts.record.interpretation.physician else None


def is_lawful_place(facts: Facts) -> bool | None:
    told = facts.record.interpretation
    if told.place_kind == PlaceKind.OTHER:
        return False
    return True if told.place and told.place_kind and told.clia_number else None


def states_necessity(facts: Facts) -> bool | None:
    return True if facts.record.order.order and facts.record.order.necessity else None


def knows_the_payer(facts: Facts) -> bool | None:
    return True if facts.record.order.payer_policy else None


def is_in_force(facts: Facts) -> bool | None:
    day = facts.record.date_of_service
    if day is None or day >= SUNSET:
        return None
    return day >= IN_FORCE
