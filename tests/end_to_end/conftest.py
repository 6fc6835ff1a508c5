"""A real Ray Serve application on loopback, and the same reads in this process to hold it against."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from montage import write_montage

from ultraread.datasets.scale import operator_scale
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import find_model
from ultraread.serving.client import Client
from ultraread.serving.embedded import running
from ultraread.serving.local_read import LocalReader
from ultraread.serving.read_slide import ReadRequest
from ultraread.serving.score_tiles import RangeScorer
from ultraread.serving.settings import load_settings

RANGE_TILES = 32
SCALE = {"nm_per_px": 4.6, "tolerance": 0.05, "reason": "published: figshare 856713"}
StartService = Callable[..., AbstractContextManager[Client]]


@pytest.fixture(scope="session")
def montage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 4,096 px: 256 tiles, 8 ranges."""
    return write_montage(tmp_path_factory.mktemp("montage") / "montage.tif", 4096)


@pytest.fixture(scope="session")
def read_here(montage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result folder of the montage, read in this process with all cores."""
    out = tmp_path_factory.mktemp("local")
    model = find_model("ultrastructure-vnc")
    scorer = RangeScorer(OnnxClassifier(model, threads=2))
    request = ReadRequest(operator_scale(4.6, str(SCALE["reason"])), range_tiles=RANGE_TILES)
    reader = LocalReader(model, lambda tasks: map(scorer, tasks), out, request)
    (outcome,) = reader.read([montage])
    scorer.close()
    assert outcome.error is None
    return outcome.folder


@pytest.fixture
def start_service(tmp_path: Path) -> StartService:
    """Start a service of its own data folder; more settings by name."""

    @contextmanager
    def start(**stated: object) -> Iterator[Client]:
        settings = load_settings(None, port=0, data_dir=tmp_path / "data", range_tiles=RANGE_TILES, **stated)
        with running(settings) as url, Client(url, token_file=settings.owner_token_file) as client:
            yield client

    return start
