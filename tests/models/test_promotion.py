"""The gates: what a version has to show before reads take it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import change_card
from versions import POLICY, evaluation_of, write_version

from ultraread.errors import ModelGoldenMismatch
from ultraread.models.evaluation import Evaluation
from ultraread.models.promotion import Alias, Gate, failed, gates, gates_of
from ultraread.models.registry import ModelFolder, find_model


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return write_version(tmp_path_factory.mktemp("champion") / "1.0.0", "1.0.0")


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return write_version(tmp_path_factory.mktemp("candidate") / "2.0.0", "2.0.0", bias=0.0)


def not_passed(found: Sequence[Gate]) -> list[str]:
    return [gate.name for gate in found if not gate.passed]


def test_as_good_as_the_champion_passes_every_gate(candidate: ModelFolder, champion: ModelFolder) -> None:
    found = gates_of(Alias.CHAMPION, candidate, 0.0, evaluation_of(candidate, champion), champion, POLICY)
    assert not_passed(found) == []
    assert failed(found) == ""
    assert [gate.name for gate in found] == [
        "card",
        "golden pair",
        "evaluation",
        "set bright_fields",
        "set dark_fields",
        "classes",
        "T-BRIGHT on bright_fields",
        "T-DARK on dark_fields",
    ]


@given(difference=st.floats(-0.2, 0.2), half_width=st.floats(0, 0.2))
def test_the_lower_end_of_the_interval_decides_and_not_the_difference(
    difference: float, half_width: float, candidate: ModelFolder, champion: ModelFolder
) -> None:
    evaluation = evaluation_of(candidate, champion, difference, half_width)
    lost = bool(not_passed(gates(candidate, evaluation, champion, POLICY)))
    assert lost == (difference - half_width < -POLICY.margin)


def test_a_model_made_worse_is_told_by_class_set_and_interval(
    candidate: ModelFolder, champion: ModelFolder
) -> None:
    worse = evaluation_of(candidate, champion, difference=-0.1)
    told = failed(gates(candidate, worse, champion, POLICY))
    assert "T-DARK on dark_fields: -0.100 [-0.110, -0.090] against tiny/1.0.0" in told


def test_too_few_fields_to_tell_are_no_promotion(candidate: ModelFolder, champion: ModelFolder) -> None:
    vague = evaluation_of(candidate, champion, difference=0.01, half_width=0.2)
    assert not_passed(gates(candidate, vague, champion, POLICY)) == [
        "T-BRIGHT on bright_fields",
        "T-DARK on dark_fields",
    ]


def test_without_champion_there_is_nothing_to_be_worse_than(candidate: ModelFolder) -> None:
    found = gates(candidate, evaluation_of(candidate), None, POLICY)
    assert not_passed(found) == []
    assert found[-1].told == "no champion yet"


def test_sets_that_training_saw_or_that_are_missing_do_not_count(candidate: ModelFolder) -> None:
    seen = evaluation_of(candidate, seen=True)
    assert not_passed(gates(candidate, seen, None, POLICY)) == ["set bright_fields", "set dark_fields"]
    half = seen.model_copy(update={"sets": evaluation_of(candidate).sets[:1]})
    assert not_passed(gates(candidate, half, None, POLICY)) == ["set dark_fields"]


def test_a_comparison_with_another_model_is_none(candidate: ModelFolder, champion: ModelFolder) -> None:
    with_itself = evaluation_of(candidate, candidate)
    assert len(not_passed(gates(candidate, with_itself, champion, POLICY))) == 2


@pytest.mark.parametrize("changed", ["onnx_sha256", "card_sha256"])
def test_an_evaluation_of_another_model_or_card_is_none(candidate: ModelFolder, changed: str) -> None:
    foreign = evaluation_of(candidate).model_copy(update={changed: "f" * 64})
    for evaluation in (foreign, None):
        assert not_passed(gates(candidate, evaluation, None, POLICY)) == ["evaluation"]


def test_a_class_that_the_champion_has_is_not_lost(champion: ModelFolder, tmp_path: Path) -> None:
    folder = write_version(tmp_path / "fewer", "2.0.0").path
    card = find_model(str(folder)).card
    change_card(
        folder,
        classes=[card.classes[0].model_dump(), {"code": "T-NEW", "name": "new", "label": "New"}],
        thresholds=[card.thresholds[0].model_dump(), {**card.thresholds[1].model_dump(), "code": "T-NEW"}],
    )
    fewer = find_model(str(folder))
    told = failed(gates(fewer, evaluation_of(fewer, champion), champion, POLICY))
    assert told == "classes: it has no T-DARK"


def test_a_shadow_needs_card_and_golden_pair_and_nothing_more(candidate: ModelFolder) -> None:
    assert not_passed(gates_of(Alias.SHADOW, candidate, 0.0, None, None, POLICY)) == []
    refused = ModelGoldenMismatch("0.5 off")
    found = gates_of(Alias.SHADOW, candidate, refused, None, None, POLICY)
    assert failed(found) == "golden pair: 0.5 off (model_golden_mismatch)"
    assert not_passed(gates_of(Alias.SHADOW, candidate, float("nan"), None, None, POLICY)) == ["golden pair"]


def test_a_champion_s_card_leaves_nothing_unsaid(candidate: ModelFolder, tmp_path: Path) -> None:
    folder = write_version(tmp_path / "quiet", "2.0.0").path
    quiet = find_model(str(change_card(folder, training_data=[], metrics=[])))
    found = gates_of(Alias.CHAMPION, quiet, 0.0, evaluation_of(quiet), None, POLICY)
    assert failed(found) == "card: it does not say: training data, metrics"
    shadow = gates_of(Alias.SHADOW, quiet, 0.0, None, None, POLICY)
    assert (not_passed(shadow), "not said: training data" in shadow[0].told) == ([], True)


def test_an_evaluation_without_figures_of_the_metric_judges_nothing(candidate: ModelFolder) -> None:
    whole = evaluation_of(candidate)
    bare = whole.model_copy(
        update={"sets": tuple(one.model_copy(update={"figures": ()}) for one in whole.sets)}
    )
    assert isinstance(bare, Evaluation)
    assert "no class has auc_patch on this set" in failed(gates(candidate, bare, None, POLICY))
