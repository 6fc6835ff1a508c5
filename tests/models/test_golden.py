"""A golden pair is what the model answers to a simulated input, in the range that its card asks for."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from networks import write_network

from ultraread.datasets.digest import sha256_of_file
from ultraread.errors import ModelRefused
from ultraread.models.card import FullRange, ImageMeanStd
from ultraread.models.golden import GOLDEN_SEED, run_onnx, simulated_tiles, write_golden_pair

FULL_RANGE = FullRange(rule="full_range")
DEVIATIONS = ImageMeanStd(rule="image_mean_std", sample_tiles=8, clip=2.0)


def test_the_pair_holds_input_and_answers_and_the_card_its_digest(tmp_path: Path) -> None:
    model = write_network(tmp_path / "model.onnx", channels=1)
    pair = write_golden_pair(model, 32, FULL_RANGE, ["probabilities"])
    assert pair.sha256 == sha256_of_file(tmp_path / pair.file)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with np.load(tmp_path / pair.file) as stored:
        assert stored["input"].shape == (2, 1, 32, 32)
        (expected,) = session.run(["probabilities"], {"image": stored["input"]})
        np.testing.assert_array_equal(stored["probabilities"], expected)


def test_a_batch_that_the_model_fixes_is_filled_and_never_exceeded(tmp_path: Path) -> None:
    tiles = simulated_tiles(2, 32, FULL_RANGE, GOLDEN_SEED)
    open_ = run_onnx(write_network(tmp_path / "n.onnx", channels=1), tiles, ["probabilities"])[1]
    for batch, kept in ((1, 1), (5, 2)):
        model = write_network(tmp_path / "fixed.onnx", channels=1, shape=[batch, 1, 32, 32])
        taken, answers = run_onnx(model, tiles, ["probabilities"])
        assert len(taken) == len(answers["probabilities"]) == kept
        np.testing.assert_allclose(answers["probabilities"], open_["probabilities"][:kept], atol=1e-6)


def test_simulated_tiles_lie_in_the_range_of_their_rule() -> None:
    grey, deviations = (simulated_tiles(2, 64, rule, seed=1) for rule in (FULL_RANGE, DEVIATIONS))
    assert 0 <= grey.min() < 0.3
    assert 0.7 < grey.max() <= 1
    assert deviations.min() == -2
    assert abs(deviations.mean()) < 0.2
    assert grey.dtype == deviations.dtype == np.float32


def test_a_model_that_does_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="does not run") as refused:
        run_onnx(write_network(tmp_path / "net.onnx"), np.zeros((1, 1, 9, 9), np.float32), ["probabilities"])
    assert refused.value.code == "model_invalid"
