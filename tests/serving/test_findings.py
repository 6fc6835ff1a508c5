"""The published schemas describe every field, and the canonical form of a result proves itself."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from ranges import CARD, plan_of, tallied

import ultraread.serving
from ultraread.serving.aggregate import coverage_of, findings_of, scope_of
from ultraread.serving.findings import (
    CaseFindings,
    ModelEntry,
    SlideEntry,
    SlideFindings,
    canonical_bytes,
    digest_of,
    findings_schema,
)

SCHEMAS = Path(next(iter(ultraread.serving.__path__))) / "schemas"
PUBLISHED: list[tuple[str, type[SlideFindings] | type[CaseFindings]]] = [
    ("findings.schema.json", SlideFindings),
    ("case.schema.json", CaseFindings),
]


@pytest.fixture
def findings() -> SlideFindings:
    image = tallied(plan_of(200, 100))
    coverage = coverage_of([image], CARD)
    return SlideFindings(
        state="succeeded",
        slide=SlideEntry(sha256="a" * 64, files=(), images=(), field_selection="a test"),
        model=ModelEntry(name="tiny", version="1.0.0", onnx_sha256="b" * 64, card_sha256="c" * 64),
        specimen="Dünndarm",
        coverage=coverage,
        quality=(),
        findings=findings_of([image], CARD, scope_of("", CARD, images=1), coverage, seed=0, in_case=False),
        limitations=("simulated",),
    )


@pytest.mark.parametrize(("name", "result"), PUBLISHED)
def test_the_published_schema_is_that_of_the_type(
    name: str, result: type[SlideFindings] | type[CaseFindings]
) -> None:
    """`make schemas` writes it."""
    assert (SCHEMAS / name).read_text() == json.dumps(findings_schema(result), indent=2) + "\n"


@pytest.mark.parametrize(("name", "result"), PUBLISHED)
def test_every_field_is_described(name: str, result: type[SlideFindings] | type[CaseFindings]) -> None:
    schema = findings_schema(result)
    Draft202012Validator.check_schema(schema)
    assert list(_undescribed(schema)) == []


def _undescribed(schema: dict[str, Any]) -> Iterator[str]:
    parts = {"": schema, **schema["$defs"]}
    for name, part in parts.items():
        for field, stated in part.get("properties", {}).items():
            if not _is_described(stated, schema["$defs"]):
                yield f"{name}.{field}"


def _is_described(stated: dict[str, Any], parts: dict[str, dict[str, Any]]) -> bool:
    """By itself, or by the type that it holds."""
    inner = [*stated.get("anyOf", []), stated.get("items", {})]
    named = parts.get(stated.get("$ref", "").rpartition("/")[2], {})
    return any("description" in one for one in (stated, named)) or any(
        _is_described(one, parts) for one in inner if one
    )


def test_a_result_follows_its_schema(findings: SlideFindings) -> None:
    body = json.loads(canonical_bytes(findings))
    validator = Draft202012Validator(findings_schema(SlideFindings))
    validator.validate(body)
    assert not validator.is_valid({**body, "diagnosis": "none"})
    assert not validator.is_valid({**body, "research_use_only": False})
    assert not validator.is_valid({key: value for key, value in body.items() if key != "digest"})


def test_the_digest_is_that_of_all_else_in_canonical_form(findings: SlideFindings) -> None:
    written = canonical_bytes(findings)
    body = json.loads(written)
    digest = body.pop("digest")
    rest = written.replace(f'"digest":"{digest}",'.encode(), b"")
    assert hashlib.sha256(rest).hexdigest() == digest == digest_of(body)


def test_canonical_bytes_are_sorted_compact_utf8_and_the_same_each_time(findings: SlideFindings) -> None:
    written = canonical_bytes(findings)
    assert written == canonical_bytes(findings)
    text = written.decode()
    keys = list(json.loads(text))
    assert keys == sorted(keys)
    assert "Dünndarm" in text
    assert ": " not in text.replace("stereology: ", "")
    assert '"fraction":1,' in text, "RFC 8785 writes whole numbers without a point"


def test_another_number_is_another_digest(findings: SlideFindings) -> None:
    body = json.loads(canonical_bytes(findings))
    body["coverage"]["tiles_failed"] += 1
    assert digest_of(body) != body["digest"]
