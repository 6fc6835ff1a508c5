"""`ultraread models`: what it lists, shows and proves."""

import json
from pathlib import Path

import pytest
from command_line import ultraread
from tiny_model import as_int8_with_twin, write_tiny_model

from ultraread.models.registry import find_model


def test_models_are_listed_for_people_and_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULTRAREAD_DATA_DIR", str(tmp_path))
    listed = ultraread("models", "ls", "--json").printed
    assert [(one["name"], one["version"]) for one in listed] == [("ultrastructure-vnc", "2.0.0")]
    assert "CC-BY-NC-SA-3.0" in json.dumps(listed)
    assert "mitochondria" in ultraread("models", "ls").out


def test_a_card_tells_limits_licence_and_every_metric() -> None:
    card = find_model("ultrastructure-vnc").card
    told = ultraread("models", "card", "ultrastructure-vnc")
    assert told.status == 0
    unwrapped = " ".join(told.out.split())
    assert "NonCommercial" in unwrapped or "non-commercial" in unwrapped
    assert all(" ".join(limit.split()) in unwrapped for limit in card.limitations)
    assert told.out.count("UR-MITO") == sum(metric.code == "UR-MITO" for metric in card.metrics)
    assert ultraread("models", "card", "ultrastructure-vnc", "--json").printed == card.model_dump(mode="json")


def test_a_model_is_validated_by_its_folder(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny")
    assert ultraread("models", "validate", model, "--json").printed["valid"] is True
    (model / "model.onnx").write_bytes((model / "model.onnx").read_bytes()[:-1])
    refused = ultraread("models", "validate", model)
    assert (refused.status, refused.err[:26]) == (5, "error[model_hash_mismatch]")


def test_validate_proves_the_twin_where_int8_misses_its_pair_and_says_so(tmp_path: Path) -> None:
    model = as_int8_with_twin(write_tiny_model(tmp_path / "tiny"), shift=0.2)
    told = ultraread("models", "validate", model.path)
    assert told.status == 0
    assert "its float32 twin runs here" in told.out
    proved = ultraread("models", "validate", model.path, "--json").printed
    assert model.card.fp32_twin is not None
    assert (proved["uses_twin"], proved["onnx_sha256"]) == (True, model.card.fp32_twin.sha256)


def test_validate_does_not_speak_of_a_twin_where_int8_holds(tmp_path: Path) -> None:
    model = as_int8_with_twin(write_tiny_model(tmp_path / "tiny"))
    assert "twin" not in ultraread("models", "validate", model.path).out
