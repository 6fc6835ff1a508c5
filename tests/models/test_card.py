"""A card says everything about its model, follows its published schema, and does not contradict itself."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from tiny_model import tiny_card

from ultraread.errors import ModelCardInvalid
from ultraread.models.card import ModelCard, card_schema, load_card, write_card
from ultraread.models.registry import find_model, zoo

PUBLISHED = zoo().parent / "card.schema.json"


def test_the_published_schema_is_that_of_the_type() -> None:
    """`make schemas` writes it."""
    assert PUBLISHED.read_text() == json.dumps(card_schema(), indent=2) + "\n"
    Draft202012Validator.check_schema(card_schema())


def test_the_shipped_card_follows_the_published_schema() -> None:
    model = find_model("ultrastructure-vnc")
    card = json.loads((model.path / "card.json").read_text())
    validator = Draft202012Validator(json.loads(PUBLISHED.read_text()))
    validator.validate(card)
    assert not validator.is_valid({**card, "speed": 9})
    assert not validator.is_valid({key: value for key, value in card.items() if key != "licence"})


def test_the_shipped_card_says_what_the_model_is_not_for() -> None:
    card = find_model("ultrastructure-vnc").card
    assert card.research_use_only is True
    assert "Diagnosis" in card.not_intended_use
    assert "NC" in card.licence.name
    assert [one.code for one in card.classes] == ["UR-MITO", "UR-SYN", "UR-MEM"]
    assert all(card.threshold(one.code).operating_point for one in card.classes)
    assert card.limitations


def _stored(folder: Path, card: dict[str, Any]) -> Path:
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def test_a_card_is_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    card = ModelCard.model_validate(tiny_card())
    write_card(card, tmp_path)
    assert load_card(tmp_path) == card
    assert card.ref == "tiny/1.0.0"


def _card(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return tiny_card() | changes


def _thresholds(**of_bright: float) -> list[dict[str, Any]]:
    bright, dark = tiny_card()["thresholds"]
    return [bright | of_bright, dark]


def _derived(formula: str) -> dict[str, str]:
    return {"name": "ratio", "formula": formula, "unit": "1", "source": "a test"}


CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a threshold too few": (_card(thresholds=tiny_card()["thresholds"][:1]), "thresholds"),
    "a threshold of another class": (_card(thresholds=_thresholds(code="T-OTHER")), "thresholds"),  # type: ignore[arg-type]
    "not_seen above present": (_card(thresholds=_thresholds(not_seen=0.5)), "not_seen limit"),
    "one class twice": (
        _card(
            classes=[tiny_card()["classes"][0]] * 2,
            thresholds=[tiny_card()["thresholds"][0]] * 2,
        ),
        "of their own",
    ),
    "no class": (_card(classes=[], thresholds=[]), "of their own"),
    "a nominal scale outside the range": (_card(nm_per_px={"nominal": 7, "min": 3, "max": 6}), "nominal"),
    "a tile of two patches and a half": (_card(tile_px=40), "whole number of patches"),
    "an unknown field": (_card(speed=9), "speed"),
    "no intended use": ({k: v for k, v in tiny_card().items() if k != "intended_use"}, "intended_use"),
    "clinical use": (_card(research_use_only=False), "research_use_only"),
    "a version of one number": (_card(version="1"), "version"),
    "a digest that is none": (_card(sha256="abc"), "sha256"),
    "a probability above one": (_card(thresholds=_thresholds(present=1.5)), "present"),
    "colour": (_card(channels=3), "channels"),
    "a formula of no class": (_card(derived_measurements=[_derived("sqrt(axon)")]), "axon is not known"),
    "areas without a patch map": (
        _card(derived_measurements=[_derived("bright")], outputs={"probabilities": "probabilities"}),
        "no areas to derive from",
    ),
    "the full range of float pixels": (_card(normalisation={"rule": "full_range"}), "32-bit float"),
    "a rule for intensities that is none": (_card(normalisation={"rule": "none"}), "normalisation"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_card_that_contradicts_itself_or_its_schema_is_refused(what: str, tmp_path: Path) -> None:
    card, told = CONTRADICTIONS[what]
    with pytest.raises(ModelCardInvalid, match=told):
        load_card(_stored(tmp_path, card))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_file_that_is_no_card_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(ModelCardInvalid):
        load_card(tmp_path)


def test_a_missing_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelCardInvalid, match=r"has no card\.json"):
        load_card(tmp_path)
