"""The committed figures belong to the committed recipes and data, and hold what the project promises."""

from pathlib import Path

import pytest

from ultraread.datasets.digest import sha256_of_file
from ultraread.models.card import ModelCard
from ultraread.models.registry import find_model
from ultraread.training.calibrate import CalibrationRecord, load_calibration
from ultraread.training.config import load_config
from ultraread.training.cross_validation import training_fields
from ultraread.training.fields import digest_of_fields
from ultraread.training.leave_one_out import LeaveOneOut

ROOT = Path(__file__).parents[2]
CONFIGS, RESULTS = ROOT / "training" / "configs", ROOT / "training" / "results"
CROSS_VALIDATED = "drosophila_vnc, cross-validated"
LABORATORIES = RESULTS / "several-laboratories-leave-one-out.json"


@pytest.fixture(scope="module")
def record() -> CalibrationRecord:
    found = load_calibration(RESULTS / "ultrastructure-vnc-calibration.json")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def card(record: CalibrationRecord, committed_recipe: Path) -> ModelCard:
    model = load_config(committed_recipe).model
    return find_model(f"{model.name}/{model.version}").card


def test_every_committed_calibration_is_of_the_committed_recipe_and_its_classes() -> None:
    records = sorted(RESULTS.glob("*-calibration.json"))
    assert {file.name for file in records} >= {"ultrastructure-vnc-calibration.json"}
    for file in records:
        recipe = CONFIGS / f"{file.name.removesuffix('-calibration.json')}.toml"
        found = load_calibration(file)
        assert found is not None
        assert found.config_sha256 == sha256_of_file(recipe), f"{file.name} is of another recipe"
        assert tuple(one.code for one in found.classes) == load_config(recipe).codes


@pytest.mark.parametrize(("code", "least"), [("UR-MITO", 0.98), ("UR-SYN", 0.97), ("UR-MEM", 0.97)])
def test_tiles_of_128_px_reach_their_target(record: CalibrationRecord, code: str, least: float) -> None:
    assert value_of(record, code, "auc_tile") >= least


def test_the_area_of_mitochondria_is_right_within_a_point(record: CalibrationRecord) -> None:
    assert abs(value_of(record, "UR-MITO", "area_fraction_difference_points")) <= 1


def test_calibration_lowers_the_error_of_every_class(record: CalibrationRecord) -> None:
    assert [one.code for one in record.classes if one.ece_after > one.ece_before] == []


def test_the_card_is_of_the_committed_recipe_and_data(card: ModelCard, committed_recipe: Path) -> None:
    assert card.training_run is not None
    assert card.training_run.config_sha256 == sha256_of_file(committed_recipe)
    fields = training_fields(load_config(committed_recipe))
    assert [one.files_sha256 for one in card.training_data] == [digest_of_fields(fields)]


def test_the_card_states_the_committed_figures_and_no_others(
    card: ModelCard, record: CalibrationRecord
) -> None:
    stated = [
        (one.metric, one.code, one.value, one.ci95) for one in card.metrics if one.dataset == CROSS_VALIDATED
    ]
    assert stated == [(one.metric, one.code, one.value, one.ci95) for one in record.figures]
    assert card.calibration.classes == record.classes
    assert card.thresholds == record.thresholds
    assert card.out_of_domain is not None
    assert card.out_of_domain.threshold == record.strangeness_threshold


def test_the_table_of_laboratories_is_of_the_committed_recipe_and_leaves_each_out() -> None:
    table = LeaveOneOut.model_validate_json(LABORATORIES.read_bytes())
    recipe = CONFIGS / "several-laboratories.toml"
    assert table.config_sha256 == sha256_of_file(recipe)
    names = [one.manifest.stem for one in load_config(recipe).data]
    assert [row.left_out.dataset for row in table.rows] == names
    assert [sorted([*row.learned_from, row.left_out.dataset]) for row in table.rows] == [sorted(names)] * len(
        names
    )


def value_of(record: CalibrationRecord, code: str, metric: str) -> float:
    return next(one.value for one in record.figures if (one.code, one.metric) == (code, metric))
