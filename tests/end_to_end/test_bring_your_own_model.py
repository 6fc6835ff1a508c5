"""From somebody's ONNX file to a read of a real field, as the guide tells it."""

import json
from pathlib import Path

import pytest
from command_line import ultraread
from networks import write_network

from ultraread.datasets.corpora import fetch

FIELD = "drosophila_vnc/stack1/raw/00.tif"
STATED = ("--nm-per-px", 4.6, "--reason", "published: figshare 856713")
CLASSES = ("--class", "MY-ONE=one", "--class", "MY-OTHER=other")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path / "net.onnx", shape=["N", 3, 256, 256])


def _init(network: Path, *words: object) -> tuple[object, ...]:
    return "models", "init", network, "--out", network.parent / "mine", "--name", "mine", *words


def test_a_wrapped_network_reads_a_real_field_and_every_finding_is_indeterminate(network: Path) -> None:
    made = ultraread(*_init(network, "--nm-per-px", 4.6, *CLASSES, "--mean", "0.485,0.456,0.406",
                            "--std", "0.229,0.224,0.225", "--json"))  # fmt: skip
    assert made.status == 0, made.err
    assert made.printed["model"] == "mine/0.1.0"
    folder, out = made.printed["folder"], network.parent / "results"
    validated = ultraread("models", "validate", folder, "--json").printed
    assert validated["valid"] is True
    assert validated["missing"] == made.printed["missing"] != []
    read = ultraread("read", fetch(FIELD), "--out", out, "--model", folder, *STATED)
    assert read.status == 0, read.err
    found = json.loads((out / "00" / "findings.json").read_text())
    assert [(one["code"], one["assertion"]) for one in found["findings"]] == [
        ("MY-ONE", "indeterminate"),
        ("MY-OTHER", "indeterminate"),
    ]
    assert found["coverage"]["tiles_scored"] == 16
    assert sum(one["score"] for one in found["findings"]) == pytest.approx(1, abs=0.1)
    assert all(one["measurements"] == [] for one in found["findings"])
    assert "The model's card names no specimen that it was made for." in found["limitations"]


def test_people_are_told_what_is_missing_and_what_comes_next(network: Path) -> None:
    told = ultraread(*_init(network, "--nm-per-px", 4.6, *CLASSES)).out
    assert "every finding of it is indeterminate" in told
    for gap in ("licence", "specimens", "thresholds", "training data", "evaluation"):
        assert gap in told
    assert f"ultraread models validate {network.parent / 'mine'}" in told
    assert "What is still missing" in ultraread("models", "validate", network.parent / "mine").out


def test_a_configuration_of_the_wsinfer_zoo_is_taken(network: Path) -> None:
    config = {
        "spec_version": "1.0", "architecture": "none", "num_classes": 2, "class_names": ["Other", "Golgi"],
        "patch_size_pixels": 350, "spacing_um_px": 0.25,
        "transform": [{"name": "Resize", "arguments": {"size": 256}}, {"name": "ToTensor"}],
    }  # fmt: skip
    file = network.parent / "config.json"
    file.write_text(json.dumps(config))
    made = ultraread(*_init(network, "--wsinfer-config", file, "--json")).printed
    assert made["missing"][3]["what"] == "modality"
    shown = ultraread("models", "card", made["folder"], "--json").printed
    assert (shown["tile_px"], shown["nm_per_px"]["nominal"]) == (350, 250)


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        ((), 2, "request_invalid"),
        (("--class", "one"), 2, "request_invalid"),
        ((*CLASSES, "--mean", "grey"), 2, "request_invalid"),
        ((*CLASSES, "--nm-per-px", 4.6, "--nm-per-px-range", "4"), 2, "request_invalid"),
        ((*CLASSES[:2], "--nm-per-px", 4.6), 5, "model_io_mismatch"),
        (("--wsinfer-config", "none.json"), 5, "model_config_invalid"),
    ],
)
def test_what_does_not_fit_is_refused_with_code_and_remedy(
    words: tuple[object, ...], status: int, code: str, network: Path
) -> None:
    refused = ultraread(*_init(network, *words, "--json"))
    assert (refused.status, refused.problem["code"]) == (status, code)
    assert refused.problem["remedy"]
    assert not (network.parent / "mine").exists()
