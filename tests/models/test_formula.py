"""Formulas are arithmetic over area fractions; whatever else Python could do is refused with the card."""

from pathlib import Path

import numpy as np
import pytest

from ultraread.errors import ModelCardInvalid
from ultraread.models.formula import MAX_LENGTH, parse_formula

NERVE = ("axon", "myelin")


def test_a_g_ratio_is_computed_for_every_resample() -> None:
    formula = parse_formula("sqrt(axon / (axon + myelin))", NERVE)
    fractions = {"axon": np.array([0.36, 0.09, 0.0]), "myelin": np.array([0.64, 0.91, 0.5])}
    assert formula(fractions) == pytest.approx(np.array([0.6, 0.3, 0.0]))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sqrt(axon / (axon + myelin))", ("axon", "myelin")),
        ("100 * myelin", ("myelin",)),
        ("-myelin + (axon - 1) * 2 / sqrt(2)", ("myelin", "axon")),
        ("1 - myelin / axon", ("myelin", "axon")),
    ],
)
def test_classes_are_named_in_the_order_of_the_text(text: str, names: tuple[str, ...]) -> None:
    assert parse_formula(text, NERVE).names == names


def test_division_by_zero_is_not_finite_and_no_error() -> None:
    ratio = parse_formula("axon / myelin", NERVE)
    assert not np.isfinite(ratio({"axon": np.array([1.0, 0.0]), "myelin": np.zeros(2)})).any()


REFUSED = [
    "", "axon +", "nucleus / axon", "log(axon)", "sqrt", "sqrt + axon", "sqrt()", "sqrt(axon, myelin)",
    "axon(1)", "axon * 1j", "axon * b'1'", "axon * True", "axon * None",
    "1 + 1", "1 / 0 + axon", "axon ** 9", "axon // 2", "axon % 2", "axon if myelin else 1", "axon < myelin",
    "axon and myelin", "[axon]", "axon[0]", "axon.T", "axon.tofile('mark')", "axon.__class__", "'axon'",
    "axon * 'a'", "lambda: axon", "(axon := 1)", "__import__('os')", "open('mark')", "sqrt(value=axon)",
    "axon = 1", "axon; myelin", "f'{axon}'", "axon @ myelin", "~axon", "not axon", "(axon, myelin)",
    "axon + " * MAX_LENGTH + "1", "axon" + "\0",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_anything_else_is_refused_and_never_run(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelCardInvalid, match="formula") as refused:
        parse_formula(text, NERVE)
    assert refused.value.code == "model_card_invalid"
    assert not list(tmp_path.iterdir())
