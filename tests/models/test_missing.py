"""What a card does not say is told, each gap by itself, until it is filled."""

from pathlib import Path
from typing import Any

import pytest
from networks import write_network
from tiny_model import change_card, tiny_card

from ultraread.datasets.digest import sha256_of_file
from ultraread.models.evaluation import EVALUATION_FILE, Evaluation, write_evaluation
from ultraread.models.missing import COLOUR, missing_of
from ultraread.models.own_model import Stated, make_model_folder
from ultraread.models.registry import ModelFolder, find_model

ALL_BUT_COLOUR = [
    "licence", "intended use", "not-intended use", "specimens", "scale range", "thresholds", "calibration",
    "training data", "training run", "metrics", "evaluation",
]  # fmt: skip


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A wrapped network of which nobody said anything but its classes and its scale."""
    classes = (("MY-A", "a"), ("MY-B", "b"))
    stated = Stated("bare", "0.1.0", classes, nm_per_px=4.6)
    return make_model_folder(write_network(tmp_path / "net.onnx"), tmp_path / "bare", stated).path


def _gaps(folder: Path) -> list[str]:
    return [gap.what for gap in missing_of(find_model(str(folder)))]


def test_nothing_is_stated_of_a_bare_network(bare: Path) -> None:
    assert _gaps(bare) == ALL_BUT_COLOUR
    assert all(gap.fields and gap.needed for gap in missing_of(find_model(str(bare))))


def _metric() -> dict[str, Any]:
    return {
        "dataset": "simulated", "metric": "auc_tile", "code": "MY-A", "value": 0.5, "ci95": [0.4, 0.6],
        "n": 3, "n_of": "fields", "how": "made up",
    }  # fmt: skip


def _data() -> dict[str, Any]:
    return {
        "name": "simulated", "licence": "none", "citation": "none", "files": 1, "files_sha256": "0" * 64,
        "split": "none",
    }  # fmt: skip


FILLED: dict[str, dict[str, Any]] = {
    "licence": {"licence": tiny_card()["licence"]},
    "intended use": {"intended_use": "Tests."},
    "not-intended use": {"not_intended_use": "All else."},
    "specimens": {"specimens": ["simulated"]},
    "scale range": {"nm_per_px": {"nominal": 4.6, "min": 3.3, "max": 6.5}},
    "thresholds": {
        "thresholds": [
            {"code": code, "present": 0.4, "not_seen": 0.2, "operating_point": "Tests."}
            for code in ("MY-A", "MY-B")
        ]
    },
    "calibration": {"calibration": {"method": "none", "note": "Its probabilities are no frequencies."}},
    "training data": {"training_data": [_data()]},
    "training run": {"training_run": tiny_card()["training_run"]},
    "metrics": {"metrics": [_metric()]},
}


@pytest.mark.parametrize("what", FILLED)
def test_a_gap_that_is_filled_is_no_longer_told(what: str, bare: Path) -> None:
    change_card(bare, **FILLED[what])
    assert _gaps(bare) == [gap for gap in ALL_BUT_COLOUR if gap != what]


def _evaluated(model: ModelFolder, onnx_sha256: str) -> None:
    evaluation = Evaluation(
        model=model.card.ref,
        onnx_sha256=onnx_sha256,
        card_sha256=sha256_of_file(model.path / "card.json"),
        abstention_rule="none",
        machine="none",
        sets=(),
    )
    write_evaluation(evaluation, model.path / EVALUATION_FILE)


def test_an_evaluation_counts_only_for_these_weights_and_this_card(bare: Path) -> None:
    model = find_model(str(bare))
    _evaluated(model, "0" * 64)
    assert "evaluation" in _gaps(bare)
    _evaluated(model, model.card.sha256)
    assert "evaluation" not in _gaps(bare)
    change_card(bare, intended_use="Tests.")
    assert "evaluation" in _gaps(bare)


def test_nothing_is_missing_where_all_is_said(bare: Path) -> None:
    change_card(bare, **{field: value for one in FILLED.values() for field, value in one.items()})
    model = find_model(str(bare))
    _evaluated(model, model.card.sha256)
    assert missing_of(model) == ()


def test_a_model_of_colour_slides_lacks_its_modality(bare: Path) -> None:
    change_card(bare, limitations=[COLOUR])
    assert "modality" in _gaps(bare)


def test_the_shipped_model_lacks_no_word_of_its_card() -> None:
    assert {gap.what for gap in missing_of(find_model("ultrastructure-vnc"))} <= {"evaluation"}
