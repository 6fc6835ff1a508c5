"""What a scan record supports: every rule's answer with its reason. It decides nothing; a coder does."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ultraread.datasets.billing.facts import DIGITIZATION, Facts
from ultraread.datasets.billing.rules import RULES, Outcome, Rule, Support
from ultraread.datasets.scan_record.record import ScanRecord
from ultraread.datasets.scan_record.statement import Coder

NOTE = (
    "This speaks of the record, not of payment; the rules are incomplete and may be out of date. "
    "A coder decides."
)


class Reason(BaseModel):
    """What one rule says of a record."""

    model_config = ConfigDict(frozen=True)

    rule: str = Field(description="Stable name of the rule.")
    question: str = Field(description="What it asks.")
    looks_at: str = Field(description="Which fields it looks at.")
    answer: Support = Field(description="What the rule alone comes to.")
    why: str = Field(description="Why.")
    source: str = Field(description="Where the rule is from.")


class BillingSupport(BaseModel):
    """What all rules together come to."""

    model_config = ConfigDict(frozen=True)

    research_use_only: Literal[True] = True
    code: str = Field(description="The code that is asked about.")
    scan_record_id: str | None = Field(description="The record.")
    revision: int | None = Field(description="Its revision.")
    answer: Support = Field(
        description="does_not_support where any rule says so, else ask_coder, else supports."
    )
    reasons: tuple[Reason, ...] = Field(description="Every rule, in fixed order.")
    coder: Coder = Field(description="What a coder decided; it changes no answer.")
    note: str = NOTE


def support_of(record: ScanRecord, case: Sequence[ScanRecord]) -> BillingSupport:
    """Ask every rule about the record; `case` holds all records of its case, itself included."""
    facts = Facts(record, case)
    reasons = tuple(_reason(rule, rule.outcome(facts)) for rule in RULES)
    return BillingSupport(
        code=DIGITIZATION,
        scan_record_id=record.id,
        revision=record.revision,
        answer=combined([reason.answer for reason in reasons]),
        reasons=reasons,
        coder=record.coder,
    )


def combined(answers: Sequence[Support]) -> Support:
    """Any refusal wins, then any question, then support."""
    for strongest in (Support.DOES_NOT_SUPPORT, Support.ASK_CODER):
        if strongest in answers:
            return strongest
    return Support.SUPPORTS


def rule_table() -> str:
    """All rules as the Markdown table that the guide shows."""
    columns = ("rule", "question", "looks at", "if so", "if not", "if unknown", "source")
    head = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    return head + "".join(_row(rule) for rule in RULES)


def _row(rule: Rule) -> str:
    cells = (
        f"`{rule.id}`", rule.question, rule.looks_at, f"`supports`: {rule.met}",
        _told(rule.unmet), _told(rule.unknown), rule.source,
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |\n"


def _told(outcome: Outcome) -> str:
    return f"`{outcome.answer}`: {outcome.why}"


def _reason(rule: Rule, outcome: Outcome) -> Reason:
    return Reason(
        rule=rule.id,
        question=rule.question,
        looks_at=rule.looks_at,
        answer=outcome.answer,
        why=outcome.why,
        source=rule.source,
    )
