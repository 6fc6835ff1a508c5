"""The committed figures belong to the committed recipe and data, and hold what the project promises."""

from pathlib import Path

import pytest

from ultraread.datasets.digest import sha256_of_file
from ultraread.models.card import load_card
from ultraread.training.config import load_config
from ultraread.training.evaluate import CrossValidation, load_cross_validation
from ultraread.training.tile_dataset import digest_of_files, files_of

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "zoo" / "ultrastructure-vnc" / "1.0.0"


@pytest.fixture(scope="module")
def figures() -> CrossValidation:
    found = load_cross_validation(ROOT / "training" / "results" / "ultrastructure-vnc-cv.json")
    assert found is not None
    return found


def test_the_figures_are_of_the_committed_recipe_and_data(
    figures: CrossValidation, committed_recipe: Path
) -> None:
    assert figures.run.config_sha256 == sha256_of_file(committed_recipe)
    assert figures.data_files_sha256 == digest_of_files(files_of(load_config(committed_recipe)))


@pytest.mark.parametrize(("code", "least"), [("UR-MITO", 0.98), ("UR-SYN", 0.97), ("UR-MEM", 0.97)])
def test_tiles_of_128_px_reach_their_target(figures: CrossValidation, code: str, least: float) -> None:
    assert value_of(figures, code, "auc_tile_128px") >= least


def test_the_area_of_mitochondria_is_right_within_a_point(figures: CrossValidation) -> None:
    assert abs(value_of(figures, "UR-MITO", "area_fraction_difference_points")) <= 1


def test_the_card_states_the_committed_figures_and_no_others(figures: CrossValidation) -> None:
    card = load_card(MODEL)
    assert card.training_run.config_sha256 == figures.run.config_sha256
    assert card.metrics == figures.metrics
    assert card.thresholds == figures.thresholds
    assert card.training_data[0].files_sha256 == figures.data_files_sha256


def value_of(figures: CrossValidation, code: str, metric: str) -> float:
    return next(one.value for one in figures.metrics if (one.code, one.metric) == (code, metric))
