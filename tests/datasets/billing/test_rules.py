"""What records support: each rule at each of its answers, and nothing unknown ever counts in favour."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scan_records import COMPLETE, a_record

from ultraread.datasets.billing.rules import RULES, Support
from ultraread.datasets.billing.support import BillingSupport, combined, rule_table, support_of
from ultraread.datasets.scan_record.changes import merged
from ultraread.datasets.scan_record.record import ScanRecord, scan_record_schema

ROOT = Path(__file__).resolve().parents[3]
GUIDE = ROOT / "docs" / "guides" / "scan-record.md"
YES, NO, ASK = Support.SUPPORTS, Support.DOES_NOT_SUPPORT, Support.ASK_CODER
FORBIDDEN = re.compile("billable|reimburs", re.IGNORECASE)


def judged(record: ScanRecord, *beside: ScanRecord) -> BillingSupport:
    return support_of(record, [record, *beside])


def of_rule(support: BillingSupport, rule: str) -> Support:
    (found,) = [reason.answer for reason in support.reasons if reason.rule == rule]
    return found


def test_a_record_that_is_complete_in_everything_supports_the_code() -> None:
    support = judged(a_record())
    assert {reason.rule for reason in support.reasons if reason.answer != YES} == set()
    assert (support.code, support.answer) == ("0856T", YES)


def test_a_record_of_which_nothing_is_known_does_not_support_it_for_want_of_a_primary_service() -> None:
    support = judged(a_record(base={}))
    assert support.answer == NO
    assert [reason.rule for reason in support.reasons if reason.answer == NO] == ["primary_procedure"]
    assert {reason.answer for reason in support.reasons} == {NO, ASK}


DECISIVE: list[tuple[str, dict[str, Any], Support]] = [
    ("primary_procedure", {"primary_procedure": "88305"}, NO),
    ("primary_procedure", {"primary_procedure": None}, NO),
    ("primary_procedure", {"date_of_service": None}, ASK),
    ("units_of_record", {"digitization_units": 2}, NO),
    ("units_of_record", {"digitization_units": 0}, NO),
    ("units_of_record", {"digitization_units": None}, ASK),
    ("units_of_primary", {"primary_units": None}, ASK),
    ("units_of_primary", {"digitization_units": 2}, NO),
    *[
        ("purpose", {"digitized": {"purpose": purpose}}, NO)
        for purpose in ("archive", "education", "research", "database", "conference", "qa")
    ],
    ("purpose", {"digitized": {"purpose": None}}, ASK),
    ("second_read", {"digitized": {"purpose": "second_read"}}, NO),
    (
        "before_interpretation",
        {"digitized": {"ended": None}, "interpretation": {"digitized": "after"}},
        NO,
    ),
    (
        "before_interpretation",
        {"digitized": {"ended": "2026-11-24T12:00:00Z"}, "interpretation": {"digitized": None}},
        NO,
    ),
    (
        "before_interpretation",
        {"digitized": {"ended": None}, "interpretation": {"digitized": None}},
        ASK,
    ),
    ("object", {"digitized": {"object": "film"}}, NO),
    ("object", {"digitized": {"object": "prior_file"}}, NO),
    ("object", {"digitized": {"object": "grid"}}, ASK),
    ("object", {"digitized": {"object": None}}, ASK),
    ("capture_mode", {"digitized": {"capture_mode": "static"}}, NO),
    ("capture_mode", {"digitized": {"capture_mode": "montage"}}, ASK),
    ("capture_mode", {"digitized": {"capture_mode": "live_view"}}, YES),
    ("operator", {"digitized": {"operator": None}}, ASK),
    ("quality_review", {"quality_review": None}, ASK),
    ("quality_review", {"quality_review": {"complete": False}}, NO),
    (
        "digital_statement",
        {"interpretation": {"report_says_digital": False, "report_statement": None}},
        NO,
    ),
    ("digital_statement", {"interpretation": {"report_says_digital": None}}, ASK),
    ("system_named", {"interpretation": {"report_names_system": False}}, NO),
    ("system_named", {"interpretation": {"report_names_system": None}}, ASK),
    ("physician", {"interpretation": {"physician": None}}, ASK),
    ("place", {"interpretation": {"place_kind": "other"}}, NO),
    ("place", {"interpretation": {"place": None}}, ASK),
    ("place", {"interpretation": {"clia_number": None}}, ASK),
    ("necessity", {"order": {"necessity": None}}, ASK),
    ("payer_policy", {"order": {"payer_policy": None}}, ASK),
    ("in_force", {"date_of_service": "2023-12-31"}, NO),
    ("in_force", {"date_of_service": "2029-01-01"}, ASK),
]


@pytest.mark.parametrize(("rule", "change", "answer"), DECISIVE)
def test_one_fact_decides_its_rule_and_the_whole(rule: str, change: dict[str, Any], answer: Support) -> None:
    support = judged(a_record(**change))
    assert of_rule(support, rule) == answer
    assert support.answer == combined([YES, answer]) or support.answer == NO


def test_every_rule_is_asked_by_these_tests_and_can_be_left_unanswered() -> None:
    of_others = {"units_on_date"}
    assert {rule for rule, _, _ in DECISIVE} | of_others == {rule.id for rule in RULES}
    assert all(YES not in {rule.unknown.answer, rule.unmet.answer} for rule in RULES)


BESIDE: list[tuple[dict[str, Any], Support]] = [
    ({}, NO),
    ({"digitization_units": 0}, YES),
    ({"digitization_units": None}, ASK),
    ({"date_of_service": "2026-11-25"}, YES),
    ({"date_of_service": None}, ASK),
    ({"digitized": {"object": "grid"}, "digitization_units": None}, YES),
    ({"digitized": {"purpose": "research"}, "digitization_units": None}, YES),
    ({"digitized": {"purpose": None}}, ASK),
]


@pytest.mark.parametrize(("change", "answer"), BESIDE)
def test_units_are_counted_over_the_records_of_the_case(change: dict[str, Any], answer: Support) -> None:
    support = judged(a_record(), a_record("r-2", **change))
    assert of_rule(support, "units_on_date") == answer
    assert of_rule(support, "units_of_primary") == answer
    assert support.answer == answer


def test_more_units_than_one_a_date_are_not_supported_however_many_the_primary_service_has() -> None:
    support = judged(a_record(primary_units=2), a_record("r-2"))
    assert (of_rule(support, "units_of_primary"), of_rule(support, "units_on_date")) == (YES, NO)


def test_the_primary_service_may_be_recorded_with_another_slide_of_the_case_on_the_date() -> None:
    field = a_record("r-2", digitized={"object": "grid"}, digitization_units=0)
    glass = a_record(primary_procedure=None)
    assert of_rule(judged(glass, field), "primary_procedure") == YES
    assert of_rule(judged(glass, _with(field, date_of_service="2026-11-23")), "primary_procedure") == NO
    assert of_rule(judged(glass, _with(field, date_of_service=None)), "primary_procedure") == ASK


@pytest.mark.parametrize(
    ("answers", "whole"),
    [((YES, YES), YES), ((YES, ASK), ASK), ((ASK, NO, YES), NO), ((), YES)],
)
def test_any_refusal_wins_then_any_question(answers: tuple[Support, ...], whole: Support) -> None:
    assert combined(answers) == whole


WORDS: dict[str, list[Any]] = {
    "primary_procedure": ["88305"],
    "date_of_service": ["2023-05-01", "2026-11-25", "2030-01-01"],
    "primary_units": [2],
    "digitization_units": [0, 2],
    "digitized.object": ["grid", "film", "prior_file"],
    "digitized.capture_mode": ["live_view", "montage", "static"],
    "digitized.purpose": ["second_read", "archive", "qa"],
    "digitized.ended": ["2026-11-24T12:00:00Z"],
    "interpretation.place_kind": ["remote_under_clia", "other"],
    "interpretation.report_names_system": [False],
    "quality_review.complete": [False],
}
"""Values other than those of the complete record, field by field."""
FACTS = sorted(
    f"{name}.{inner}" if inner else name
    for name, value in COMPLETE.items()
    for inner in (value if isinstance(value, dict) and name != "quality_review" else [""])
)


def _patch(name: str, value: Any) -> dict[str, Any]:  # noqa: ANN401
    outer, _, inner = name.partition(".")
    return {outer: {inner: value}} if inner else {outer: value}


def _stated(changes: dict[str, Any]) -> dict[str, Any]:
    """The complete statement with other values; what then contradicts itself is left unstated."""
    stated = merged(COMPLETE, {"interpretation": {"digitized": None, "report_statement": None}})
    for name, value in changes.items():
        stated = merged(stated, _patch(name, value))
    return dict(stated)


statements = st.fixed_dictionaries({}, optional={n: st.sampled_from(v) for n, v in WORDS.items()}).map(
    _stated
)
removals = st.sets(st.sampled_from(FACTS), min_size=1, max_size=6)


@given(st.lists(st.tuples(statements, removals), min_size=1, max_size=3), st.sets(st.integers(0, 2)))
def test_taking_facts_away_never_turns_an_answer_into_support(
    case: list[tuple[dict[str, Any], set[str]]], of_records: set[int]
) -> None:
    stated = [each for each, _ in case]
    less = [_without(each, gone if n in of_records else set()) for n, (each, gone) in enumerate(case)]
    _assert_no_better(_judged_together(stated), _judged_together(less), f"{case} {of_records}")


def _judged_together(case: list[dict[str, Any]]) -> BillingSupport:
    """What the first of these statements supports, in a case with the others."""
    records = [a_record(f"r-{number}", base=stated) for number, stated in enumerate(case)]
    return support_of(records[0], records)


def _assert_no_better(before: BillingSupport, after: BillingSupport, what: str) -> None:
    for old, new in zip(before.reasons, after.reasons, strict=True):
        assert old.answer == YES or new.answer != YES, f"{old.rule}: without {what}"
    assert before.answer == YES or after.answer != YES, what


SINGLE_CHANGES = [{}, *({name: value} for name, values in WORDS.items() for value in values)]


@pytest.mark.parametrize("changes", SINGLE_CHANGES, ids=str)
@pytest.mark.parametrize("changed", [0, 1], ids=["its own", "of the record beside"])
def test_each_single_fact_taken_from_two_records_never_makes_an_answer_better(
    changes: dict[str, Any], changed: int
) -> None:
    stated = [_stated(changes if number == changed else {}) for number in range(2)]
    before = _judged_together(stated)
    for poorer in range(2):
        for name in FACTS:
            less = [_without(each, {name} if n == poorer else set()) for n, each in enumerate(stated)]
            _assert_no_better(before, _judged_together(less), f"{name} of {poorer}")


@given(statements)
def test_a_second_read_never_supports(stated: dict[str, Any]) -> None:
    second = a_record(base=merged(stated, {"digitized": {"purpose": "second_read"}}))
    assert judged(second).answer == NO


def test_what_a_coder_decided_changes_no_answer() -> None:
    decided = a_record(coder={"decision": "report it", "name": "C"}, digitized={"purpose": "research"})
    assert judged(decided).answer == NO
    assert judged(decided).coder.decision == "report it"


def test_no_text_speaks_of_payment_as_due() -> None:
    outputs = [judged(a_record(**change)).model_dump_json() for _, change, _ in DECISIVE]
    assert [text for text in [*_texts_of_the_room(), *outputs] if FORBIDDEN.search(text)] == []


def test_the_guide_shows_the_rules_as_the_code_has_them() -> None:
    assert rule_table() in GUIDE.read_text(), (
        'python -c "from ultraread.datasets.billing.support import rule_table; print(rule_table())"'
    )


def test_every_rule_has_its_own_name_question_and_source() -> None:
    assert len({rule.id for rule in RULES}) == len({rule.question for rule in RULES}) == len(RULES)
    assert all(rule.source and rule.looks_at and rule.question.endswith("?") for rule in RULES)


def _texts_of_the_room() -> Iterator[str]:
    yield from (path.read_text() for path in (ROOT / "datasets").glob("billing/*.py"))
    yield GUIDE.read_text()
    yield (ROOT / "docs" / "adr" / "0019-scan-record.md").read_text()
    yield (ROOT / "serving" / "api" / "scan_records.py").read_text()
    yield (ROOT / "serving" / "cli_records.py").read_text()
    yield json.dumps(scan_record_schema())


def _with(record: ScanRecord, **changes: Any) -> ScanRecord:  # noqa: ANN401
    return ScanRecord.model_validate(merged(record.as_json(), changes))


def _without(stated: dict[str, Any], names: set[str]) -> dict[str, Any]:
    for name in names:
        stated = merged(stated, _patch(name, None))
    return stated
