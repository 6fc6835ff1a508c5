"""What a scan record has to show before it supports the digitization code: one rule each, with its source.

Codes stand as codes, their meaning in words of our own. Every rule that cannot be answered asks a coder, or
says that the record does not support the code: what is unknown never counts in favour. The sources are public
pages that tell of the code set, which belongs to the American Medical Association and is not quoted here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ultraread.datasets.billing.facts import (
    DIGITIZATION,
    IN_FORCE,
    PRIMARY,
    SUNSET,
    Facts,
    came_before,
    has_a_primary_unit,
    has_primary,
    is_alone_on_its_date,
    is_first_read,
    is_glass,
    is_in_force,
    is_lawful_place,
    is_one_unit,
    is_primary_purpose,
    is_reviewed,
    is_whole_or_live,
    knows_the_payer,
    names_physician,
    names_system,
    says_digital,
    states_necessity,
    was_digitized_by_somebody,
)

CAP_CODES = "cap.org, how to use digital pathology codes"
CAP_TODAY = "captodayonline.com ?p=102637, April 2026"
CODES_2024 = "aapc.com, CPT 2024 digitization"
CODE_PAGES = "codingahead and openpayer, 0856T"
LABORATORY_CODES = "msnllc.com, 2024 codes"
COVERAGE = "g2intelligence, coverage of electron microscopy"
SUNSET_RULE = f"{CAP_CODES}; rvuedge, 0856T"
OWN = "UltraRead's own rule"

OTHER_PURPOSES = "archive, education, research, a database, a conference or quality assurance"


class Support(StrEnum):
    """What a record, or one rule about it, comes to."""

    SUPPORTS = "supports"
    DOES_NOT_SUPPORT = "does_not_support"
    ASK_CODER = "ask_coder"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule says in one of its three cases, and why."""

    answer: Support
    why: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One question. `holds` answers yes, no, or None where the record cannot tell."""

    id: str
    question: str
    looks_at: str
    source: str
    holds: Callable[[Facts], bool | None]
    met: str
    unmet: Outcome
    unknown: Outcome

    def outcome(self, facts: Facts) -> Outcome:
        held = self.holds(facts)
        if held is None:
            return self.unknown
        return Outcome(Support.SUPPORTS, self.met) if held else self.unmet


def _refuses(why: str) -> Outcome:
    return Outcome(Support.DOES_NOT_SUPPORT, why)


def _asks(why: str) -> Outcome:
    return Outcome(Support.ASK_CODER, why)


RULES = (
    Rule(
        "primary_procedure",
        f"Does the case have {PRIMARY} on the date of service?",
        "`primary_procedure` and `date_of_service` of all records of the case",
        f"{CODE_PAGES}; {LABORATORY_CODES}",
        has_primary,
        f"{PRIMARY} is recorded for the case on this date.",
        _refuses(f"No record of the case states {PRIMARY} on this date: the code stands only beside it."),
        _asks(f"{PRIMARY} is recorded, but not on which date."),
    ),
    Rule(
        "units_of_record",
        "Does this record stand for exactly one unit?",
        "`digitization_units`",
        LABORATORY_CODES,
        is_one_unit,
        "The record stands for one unit.",
        _refuses("The record stands for more than one unit, or another record stands for its unit."),
        _asks("How many units this record stands for is not stated."),
    ),
    Rule(
        "units_on_date",
        "Is it the only unit of the case on that date?",
        "`digitization_units`, `date_of_service`, `digitized` of all records of the case",
        f"{LABORATORY_CODES}: limit of one a date, as reported there",
        is_alone_on_its_date,
        "No other record of the case stands for a unit on this date.",
        _refuses("The records of the case stand for more than one unit on this date."),
        _asks("Whether other records of the case stand for a unit on this date is not stated."),
    ),
    Rule(
        "units_of_primary",
        "Are there no more units than of the primary service?",
        "`primary_units`, and the units of all records of the case on the date",
        f"{LABORATORY_CODES}: one to one with the primary unit",
        has_a_primary_unit,
        "There are no more units than of the primary service.",
        _refuses("There are more units than of the primary service."),
        _asks("Units of the primary service, or of other records of the case, are not stated."),
    ),
    Rule(
        "purpose",
        f"Was it digitized for something else than {OTHER_PURPOSES}?",
        "`digitized.purpose`",
        LABORATORY_CODES,
        is_primary_purpose,
        f"It was digitized for none of these: {OTHER_PURPOSES}.",
        _refuses(f"It was digitized for {OTHER_PURPOSES}."),
        _asks("What it was digitized for is not stated."),
    ),
    Rule(
        "second_read",
        "Is it something else than a second read?",
        "`digitized.purpose`",
        f"{OWN}, from {CAP_TODAY}: the first diagnosis has to be read digitally",
        is_first_read,
        "It was not digitized for a second read.",
        _refuses("A second read makes no second unit, neither of digitizing nor of the primary service."),
        _asks("Whether it was digitized for a second read is not stated."),
    ),
    Rule(
        "before_interpretation",
        "Was it digitized before the case was first interpreted?",
        "`interpretation.digitized`, or `digitized.ended` and `interpretation.first_interpreted`",
        f"{CAP_TODAY}; {LABORATORY_CODES}",
        came_before,
        "It was digitized before the first interpretation.",
        _refuses("It was digitized after the first interpretation."),
        _asks("Whether it was digitized before or after the first interpretation is not stated."),
    ),
    Rule(
        "object",
        "Was a glass slide digitized?",
        "`digitized.object`",
        f"{CODES_2024}; {CODE_PAGES}",
        is_glass,
        "A semi-thin section on glass was digitized.",
        _refuses("Film or an earlier file was digitized, not a glass slide."),
        _asks("What was digitized is not stated, or it is a grid: no source found tells how that counts."),
    ),
    Rule(
        "capture_mode",
        "Was the slide captured whole, or viewed live?",
        "`digitized.capture_mode`",
        f"{LABORATORY_CODES} (its words may be meant of mobile devices only)",
        is_whole_or_live,
        "The slide was captured whole, or viewed live.",
        _refuses("Static micrographs were taken."),
        _asks("How is not stated, or it is a montage: no source found tells how that counts."),
    ),
    Rule(
        "operator",
        "Is it recorded who digitized?",
        "`digitized.operator`",
        f"{CODE_PAGES}; {CAP_CODES}: the code is for the work of clinical staff",
        was_digitized_by_somebody,
        "Who digitized is recorded.",
        _asks("Who digitized is not stated."),
        _asks("Who digitized is not stated."),
    ),
    Rule(
        "quality_review",
        "Was the record reviewed as it stands, and found complete and accurate?",
        "`quality_review`",
        OWN,
        is_reviewed,
        "The record was reviewed as it stands, and found complete and accurate.",
        _refuses("The review found the record incomplete or not accurate."),
        _asks("No quality review of the record as it stands."),
    ),
    Rule(
        "digital_statement",
        "Does the report say that the case was read digitally?",
        "`interpretation.report_says_digital`",
        LABORATORY_CODES,
        says_digital,
        "The report says that the case was read digitally.",
        _refuses("The report does not say that the case was read digitally."),
        _asks("Whether the report says that the case was read digitally is not stated."),
    ),
    Rule(
        "system_named",
        "Does the report name the system that made the images?",
        "`interpretation.report_names_system`",
        LABORATORY_CODES,
        names_system,
        "The report names the system.",
        _refuses("The report does not name the system."),
        _asks("Whether the report names the system is not stated."),
    ),
    Rule(
        "physician",
        "Is the interpreting physician recorded?",
        "`interpretation.physician`",
        CAP_TODAY,
        names_physician,
        "The interpreting physician is recorded.",
        _asks("The interpreting physician is not stated."),
        _asks("The interpreting physician is not stated."),
    ),
    Rule(
        "place",
        "Was it interpreted in a CLIA laboratory, or at a remote place under one?",
        "`interpretation.place`, `place_kind`, `clia_number`",
        CAP_TODAY,
        is_lawful_place,
        "Place and CLIA number are recorded.",
        _refuses("It was interpreted at a place that is neither."),
        _asks("Place, its kind, or CLIA number is not stated."),
    ),
    Rule(
        "necessity",
        "Are order and necessity recorded?",
        "`order.order`, `order.necessity`",
        COVERAGE,
        states_necessity,
        "Order and necessity are recorded.",
        _asks("Order or necessity is not stated."),
        _asks("Order or necessity is not stated."),
    ),
    Rule(
        "payer_policy",
        "Is the payer's policy known?",
        "`order.payer_policy`",
        SUNSET_RULE,
        knows_the_payer,
        "A note on the payer's policy is recorded.",
        _asks("No note on the payer's policy."),
        _asks("No note on the payer's policy."),
    ),
    Rule(
        "in_force",
        f"Was {DIGITIZATION} in force on the date of service?",
        "`date_of_service`",
        f"{CODES_2024}; {SUNSET_RULE}",
        is_in_force,
        f"The date lies between {IN_FORCE} and {SUNSET}.",
        _refuses(f"The date lies before {IN_FORCE}."),
        _asks(f"The date is not stated, or not before {SUNSET}, when the code ends unless it is renewed."),
    ),
)
"""In the order in which they are told."""
