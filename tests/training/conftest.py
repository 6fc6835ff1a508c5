"""A recipe so small that it trains in seconds, and the first labelled section."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from ultraread.datasets.corpora import fetch
from ultraread.errors import CorpusUnreachable
from ultraread.training.config import TrainingConfig, load_config

COMMITTED = Path(__file__).parents[2] / "training" / "configs" / "ultrastructure-vnc.toml"
TINY = {"sections": "[0]", "steps": "2", "batch": "2", "crop_px": "64", "tile_px": "128"}
NEEDS_TORCH = ("augmentation", "network", "release", "results", "tile_dataset", "train")

collect_ignore = [] if find_spec("torch") else [f"test_{name}.py" for name in NEEDS_TORCH]


@pytest.fixture(scope="session")
def committed_recipe() -> Path:
    return COMMITTED


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed recipe with 2 steps of 2 small crops of one section."""
    text = COMMITTED.read_text()
    for key, value in TINY.items():
        text = re.sub(rf"(?m)^{key} = [^#\n]+", f"{key} = {value} ", text)
    file = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    file.write_text(text)
    return file


@pytest.fixture(scope="session")
def tiny(tiny_recipe: Path) -> TrainingConfig:
    try:
        fetch("drosophila_vnc/stack1/raw/00.tif")
    except CorpusUnreachable as unreachable:
        pytest.skip(unreachable.what)
    return load_config(tiny_recipe)
