"""One simulated slide with border tiles, a damaged and a blank tile, read once; its checkpoints are kept."""

import pytest
from ranges import Read
from simulated import damage_stored_tiles, simulated_tissue, write_tiff
from tiny_model import tiny_model

from ultraread.models.classifier import OnnxClassifier
from ultraread.serving.local_read import LocalReader
from ultraread.serving.read_slide import ReadRequest
from ultraread.serving.score_tiles import RangeScorer, RangeStore


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """A slide of 600 x 360 px at 4 nm/px: 9 x 5 tiles at the model's 4.6 nm/px, cut by the border."""
    at = tmp_path_factory.mktemp("read")
    pixels = simulated_tissue(600, 360)
    pixels[:160, 300:] = 128
    slide = write_tiff(at / "slide.tif", pixels, 4.0, compression="deflate", tile=(32, 32))
    damage_stored_tiles(slide, [0])
    model = tiny_model(at / "tiny")
    scorer = RangeScorer(OnnxClassifier(model, threads=1))
    reader = LocalReader(
        model, lambda tasks: map(scorer, tasks), at / "out", ReadRequest(range_tiles=10), in_case=True
    )
    (outcome,) = reader.read([slide])
    scorer.close()
    assert outcome.error is None
    assert outcome.concluded is not None
    return Read(
        outcome.folder, outcome.concluded.prepared, RangeStore(at / "out" / ".slide.partial" / "ranges")
    )
