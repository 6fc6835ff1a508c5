"""An int8 model that this processor does not reproduce gives way to its float32 twin, and says so."""

from pathlib import Path

import numpy as np
import pytest
from tiny_model import as_int8_with_twin, change_card, write_tiny_model

from ultraread.errors import ModelGoldenMismatch, ModelHashMismatch
from ultraread.models.classifier import OnnxClassifier, fitting
from ultraread.models.registry import find_model


def test_an_int8_model_that_holds_its_golden_pair_is_used_itself(tmp_path: Path) -> None:
    model = as_int8_with_twin(write_tiny_model(tmp_path / "model"))
    assert fitting(model) == model
    assert model.onnx.name == "model.onnx"


def test_an_int8_model_that_does_not_hold_it_gives_way_to_its_twin(tmp_path: Path) -> None:
    model = as_int8_with_twin(write_tiny_model(tmp_path / "model"), shift=0.2)
    with pytest.raises(ModelGoldenMismatch):
        OnnxClassifier(model, threads=1)
    twin = fitting(model)
    assert twin.uses_twin
    assert (twin.onnx.name, twin.onnx_sha256) == (
        "model-fp32.onnx",
        model.card.fp32_twin and model.card.fp32_twin.sha256,
    )
    assert OnnxClassifier(twin, threads=1)(np.zeros((1, 1, 64, 64), np.float32)).probabilities.shape == (1, 2)


def test_a_model_without_a_twin_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    as_int8_with_twin(folder, shift=0.2)
    change_card(folder, fp32_twin=None)
    alone = fitting(find_model(str(folder)))
    assert not alone.uses_twin
    with pytest.raises(ModelGoldenMismatch):
        OnnxClassifier(alone, threads=1)


def test_a_twin_whose_bytes_were_changed_is_refused(tmp_path: Path) -> None:
    model = as_int8_with_twin(write_tiny_model(tmp_path / "model"), shift=0.2)
    with (model.path / "model-fp32.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ModelHashMismatch):
        fitting(model)
