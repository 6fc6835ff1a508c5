"""How a record changes. Whoever changes what was reviewed takes the review from it."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ultraread.datasets.scan_record.record import (
    PATCHABLE,
    AnswerGiven,
    Consultation,
    KeptRecord,
    QualityReview,
)
from ultraread.errors import AnsweredAlready, NotFound, RequestInvalid

Json = dict[str, Any]


def patched(record: KeptRecord, patch: Mapping[str, Any]) -> KeptRecord:
    """Apply an RFC 7396 merge patch to what people state; null takes a value away.

    Returns the same record where nothing changes. Raises RequestInvalid for a field that is unknown or that
    no person states.
    """
    foreign = sorted(set(patch) - PATCHABLE)
    if foreign:
        raise RequestInvalid(f"{foreign[0]}: no field that a person states in a scan record")
    after = _validated(merged(record.as_json(), patch))
    return record if after == record else _without_review(after)


def merged(target: Any, patch: Any) -> Any:  # noqa: ANN401  # any JSON
    """RFC 7396, section 2."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def reviewed(record: KeptRecord, review: QualityReview) -> KeptRecord:
    """The review stands from now on."""
    return _without_review(record).model_copy(update={"quality_review": review})


def consulted(record: KeptRecord, consultation: Consultation) -> KeptRecord:
    """Somebody was asked, which changes nothing that was reviewed; the same record where it is noted."""
    if any(one.id == consultation.id for one in record.consultations):
        return record
    return record.model_copy(update={"consultations": (*record.consultations, consultation)})


def answered(record: KeptRecord, consultation_id: str, answer: AnswerGiven) -> KeptRecord:
    """The same record where it is noted. Raises NotFound, AnsweredAlready where there is another answer."""
    asked = next((one for one in record.consultations if one.id == consultation_id), None)
    if asked is None:
        raise NotFound(f"no consultation {consultation_id}")
    if asked.answer is not None and (asked.answer.who, asked.answer.text) == (answer.who, answer.text):
        return record
    if asked.answer is not None:
        raise AnsweredAlready(f"consultation {consultation_id} has an answer")
    with_answer = asked.model_copy(update={"answer": answer})
    all_of_them = tuple(with_answer if one is asked else one for one in record.consultations)
    return record.model_copy(update={"consultations": all_of_them})


def differences(before: KeptRecord, after: KeptRecord) -> Json:
    """{field: {old, new}} of every field that differs, inner ones by dotted names."""
    return _differences(before.as_json(), after.as_json(), "")


def _differences(before: Json, after: Json, prefix: str) -> Json:
    found: Json = {}
    for name in after:
        old, new = before.get(name), after[name]
        if isinstance(old, dict) and isinstance(new, dict):
            found |= _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found[f"{prefix}{name}"] = {"old": old, "new": new}
    return found


def _without_review(record: KeptRecord) -> KeptRecord:
    if record.quality_review is None:
        return record
    earlier = (*record.earlier_reviews, record.quality_review)
    return record.model_copy(update={"quality_review": None, "earlier_reviews": earlier})


def _validated(stated: Json) -> KeptRecord:
    try:
        return KeptRecord.model_validate(stated)
    except ValidationError as invalid:
        first = invalid.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RequestInvalid(f"{where}: {first['msg']}" if where else first["msg"]) from None
