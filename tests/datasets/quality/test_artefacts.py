"""The table of artefacts is whole, and says of every finding code what suppresses it."""

import pytest

from ultraread.datasets.quality.artefacts import EVERY, KNOWN, RULES, Action, Artefact, suppressed


def test_every_artefact_has_its_row_and_its_code() -> None:
    assert list(RULES) == list(Artefact)
    for artefact, rule in RULES.items():
        assert artefact.startswith("UR-QC-")
        assert rule.suppresses == EVERY or rule.suppresses <= KNOWN
        assert rule.signal
        assert rule.source


def test_a_fold_suppresses_everything_and_precipitate_only_what_is_dense() -> None:
    codes = ("UR-MITO", "UR-SYN", "UR-MEM")
    assert suppressed(Artefact.FOLD, codes) == codes
    assert suppressed(Artefact.PRECIPITATE, codes) == ("UR-SYN",)
    assert suppressed(Artefact.CHATTER, codes) == ("UR-SYN", "UR-MEM")


@pytest.mark.parametrize("artefact", Artefact)
def test_a_code_that_nobody_knows_is_suppressed_by_whatever_masks(artefact: Artefact) -> None:
    is_flag = RULES[artefact].action is Action.FLAG
    assert suppressed(artefact, ("T-BRIGHT",)) == (() if is_flag else ("T-BRIGHT",))
