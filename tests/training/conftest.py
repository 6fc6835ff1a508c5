"""A recipe so small that it trains in seconds, on simulated sections; one whole run of it is shared."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from made_tissue import COMMITTED, write_recipe, write_tissue

from ultraread.training.config import TrainingConfig, load_config

if TYPE_CHECKING:
    from made_run import Ran

    from ultraread.training.fields import Field

WITHOUT_TORCH = ("cli", "config", "folds", "metrics")

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
collect_ignore = (
    []
    if find_spec("torch")
    else [
        file.name
        for file in Path(__file__).parent.glob("test_*.py")
        if file.stem.removeprefix("test_") not in WITHOUT_TORCH
    ]
)


@pytest.fixture(scope="session")
def committed_recipe() -> Path:
    return COMMITTED


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six sections with three classes."""
    return write_tissue(tmp_path_factory.mktemp("learned"), range(6))


@pytest.fixture(scope="session")
def left_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sections of another laboratory, with bodies only."""
    folder = tmp_path_factory.mktemp("left-out")
    return write_tissue(folder, range(20, 22), ("UR-MITO",), "elsewhere", laboratory="theirs", split="test")


@pytest.fixture(scope="session")
def tiny_recipe(manifest: Path, left_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe") / "tiny.toml", manifest, judged=(left_out,))


@pytest.fixture(scope="session")
def tiny(tiny_recipe: Path) -> TrainingConfig:
    return load_config(tiny_recipe)


@pytest.fixture(scope="session")
def fields(tiny: TrainingConfig) -> "list[Field]":
    """The sections as they are learned from."""
    from ultraread.training.cross_validation import training_fields
    from ultraread.training.fields import load_training_fields

    return load_training_fields(training_fields(tiny), tiny)


@pytest.fixture(scope="session")
def ran(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> "Ran":
    """The tiny recipe cross-validated, calibrated, trained and exported."""
    from made_run import run_all

    return run_all(tiny_recipe, tmp_path_factory.mktemp("ran"))
