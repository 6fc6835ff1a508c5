"""A small real ONNX model folder, for tests of reading, refusal and resume that do not need the shipped one.

`bright` is high where 16 px patches are brighter than the image's mean, `dark` where they are darker.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ultraread.datasets.digest import sha256_of_file
from ultraread.models.registry import ModelFolder, find_model

STRIDE_PX = 16
BATCH = 4
CLASSES = ("bright", "dark")
STEEPNESS = 3.0


def write_tiny_model(folder: Path, tile_px: int = 64, **changes: Any) -> Path:  # noqa: ANN401
    """Write model.onnx, golden.npz and card.json; `changes` are fields of the card."""
    folder.mkdir(parents=True)
    onnx.save(tiny_graph(tile_px), folder / "model.onnx")
    write_golden_pair(folder, tile_px)
    (folder / "card.json").write_text(json.dumps(tiny_card(tile_px) | changes, indent=2))
    return seal(folder)


def tiny_graph(tile_px: int = 64, **names: str) -> onnx.ModelProto:
    """image (N, 1, tile, tile) -> patch_map (N, 2, tile/16, tile/16) and its mean, probabilities (N, 2)."""
    side, image = tile_px // STRIDE_PX, names.get("image", "image")
    window: dict[str, Any] = {"kernel_shape": [STRIDE_PX] * 2, "strides": [STRIDE_PX] * 2}
    nodes = [
        helper.make_node("AveragePool", [image], ["means"], **window),
        helper.make_node("Conv", ["means", "weights", "biases"], ["logits"], kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["logits"], ["patch_map"]),
        helper.make_node("ReduceMean", ["patch_map"], ["probabilities"], axes=[2, 3], keepdims=0),
    ]
    weights = np.array([STEEPNESS, -STEEPNESS], np.float32).reshape(2, 1, 1, 1)
    tensors = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.full(2, -1, np.float32), "biases"),
    ]
    values = [
        _value(image, ["N", 1, tile_px, tile_px]),
        _value("probabilities", ["N", 2]),
        _value("patch_map", ["N", 2, side, side]),
    ]
    graph = helper.make_graph(nodes, "tiny", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def write_golden_pair(folder: Path, tile_px: int = 64) -> None:
    """Input and outputs of the folder's model on this machine; the input is simulated noise."""
    chance = np.random.default_rng(0)
    tiles = chance.normal(size=(BATCH, 1, tile_px, tile_px)).astype(np.float32)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    probabilities, patch_map = session.run(["probabilities", "patch_map"], {"image": tiles})
    np.savez(folder / "golden.npz", input=tiles, probabilities=probabilities, patch_map=patch_map)


def with_margin(folder: Path, margin_px: int, tile_px: int) -> ModelFolder:
    """Let the folder's model take a wider tile and say nothing of `margin_px` on each side."""
    seen_px, patches = tile_px + 2 * margin_px, margin_px // STRIDE_PX
    model = tiny_graph(seen_px)
    for node in model.graph.node:
        node.input[:] = ["inner" if name == "patch_map" else name for name in node.input]
        node.output[:] = ["whole" if name == "patch_map" else name for name in node.output]
    bounds = {"starts": patches, "ends": seen_px // STRIDE_PX - patches}
    for name, value in bounds.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array([value] * 2, np.int64), name))
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), "axes"))
    cut = helper.make_node("Slice", ["whole", "starts", "ends", "axes"], ["inner"])
    named = helper.make_node("Identity", ["inner"], ["patch_map"])
    place = next(n for n, node in enumerate(model.graph.node) if "whole" in node.output)
    model.graph.node.insert(place + 1, cut)
    model.graph.node.insert(place + 2, named)
    side = tile_px // STRIDE_PX
    model.graph.output[1].CopyFrom(_value("patch_map", ["N", 2, side, side]))
    onnx.save(model, folder / "model.onnx")
    write_golden_pair(folder, seen_px)
    patch_map = {"output": "patch_map", "stride_px": STRIDE_PX, "offset_px": margin_px}
    change_card(folder, tile_px=seen_px, outputs={"probabilities": "probabilities", "patch_map": patch_map})
    return find_model(str(seal(folder)))


def with_strangeness(folder: Path, threshold: float, max_flagged_fraction: float = 0.5) -> ModelFolder:
    """Give the folder's model an out-of-domain score: the mean square of a tile, 1 for a usual one."""
    model = onnx.load(folder / "model.onnx")
    nodes = [
        helper.make_node("Mul", ["image", "image"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["out_of_domain"], axes=[1, 2, 3], keepdims=0),
    ]
    model.graph.node.extend(nodes)
    model.graph.output.append(_value("out_of_domain", ["N"]))
    onnx.save(model, folder / "model.onnx")
    with np.load(folder / "golden.npz") as pair:
        arrays = dict(pair)
    strange = (arrays["input"] ** 2).mean(axis=(1, 2, 3))
    np.savez(folder / "golden.npz", **arrays, out_of_domain=strange)
    card = json.loads((folder / "card.json").read_text())
    outputs = card["outputs"] | {"out_of_domain": "out_of_domain"}
    stated = {"score": "mean square", "threshold": threshold, "operating_point": "tests only"}
    out_of_domain = stated | {"max_flagged_fraction": max_flagged_fraction}
    change_card(folder, outputs=outputs, out_of_domain=out_of_domain)
    return find_model(str(seal(folder)))


def as_int8_with_twin(folder: Path, shift: float = 0.0) -> ModelFolder:
    """The folder's model called int8, beside an fp32 twin; `shift` moves the int8 golden pair away."""
    (folder / "model-fp32.onnx").write_bytes((folder / "model.onnx").read_bytes())
    (folder / "golden-fp32.npz").write_bytes((folder / "golden.npz").read_bytes())
    with np.load(folder / "golden.npz") as pair:
        arrays = dict(pair)
    arrays["probabilities"] = arrays["probabilities"] + np.float32(shift)
    np.savez(folder / "golden.npz", **arrays)
    card = json.loads((folder / "card.json").read_text())
    pair_of_twin = card["golden_pair"] | {
        "file": "golden-fp32.npz",
        "sha256": sha256_of_file(folder / "golden-fp32.npz"),
    }
    twin = {
        "file": "model-fp32.onnx",
        "sha256": sha256_of_file(folder / "model-fp32.onnx"),
        "golden_pair": pair_of_twin,
    }
    quantisation = {
        "scheme": "tests only",
        "calibration_set": "none",
        "calibration_tiles": 1,
        "calibration_sha256": "0" * 64,
        "auc_difference": {},
        "measured_on": "none",
    }
    change_card(folder, precision="int8", quantisation=quantisation, fp32_twin=twin)
    return find_model(str(seal(folder)))


def seal(folder: Path) -> Path:
    """Write the digests of model.onnx and golden.npz into the card: what an exporter does last."""
    card = json.loads((folder / "card.json").read_text())
    card["sha256"] = sha256_of_file(folder / "model.onnx")
    card["golden_pair"]["sha256"] = sha256_of_file(folder / "golden.npz")
    (folder / "card.json").write_text(json.dumps(card, indent=2))
    return folder


def replace_graph(folder: Path, model: onnx.ModelProto) -> Path:
    """Put another graph in the folder, with a card that names its digest."""
    onnx.save(model, folder / "model.onnx")
    return seal(folder)


def change_card(folder: Path, **changes: Any) -> Path:  # noqa: ANN401
    """Change fields of the card; the model stays."""
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes, indent=2))
    return folder


def tiny_model(folder: Path, tile_px: int = 64, **changes: Any) -> ModelFolder:  # noqa: ANN401
    """A tiny model, written and found."""
    return find_model(str(write_tiny_model(folder, tile_px, **changes)))


def tiny_card(tile_px: int = 64) -> dict[str, Any]:
    """A whole card; its digests are filled in by `seal`."""
    said = "Tests only: it tells bright from dark."
    return {
        "schema_version": "1",
        "name": "tiny",
        "version": "1.0.0",
        "sha256": "0" * 64,
        "research_use_only": True,
        "licence": {"name": "Apache-2.0", "binds_users_to": "its terms", "citation": "none"},
        "intended_use": said,
        "not_intended_use": "Anything else.",
        "specimens": ["simulated"],
        "modality": "tem",
        "nm_per_px": {"nominal": 4.6, "min": 3.3, "max": 6.5},
        "tile_px": tile_px,
        "batch_size": BATCH,
        "channels": 1,
        "bit_depths": [8, 16, 32],
        "window_rule": "none",
        "normalisation": {"rule": "image_mean_std", "sample_tiles": 16, "clip": 4.0},
        "pad_rule": "reflect",
        "max_failed_fraction": 0.05,
        "classes": [{"code": f"T-{one.upper()}", "name": one, "label": one.title()} for one in CLASSES],
        "activation": "sigmoid",
        "input": "image",
        "outputs": {
            "probabilities": "probabilities",
            "patch_map": {"output": "patch_map", "stride_px": STRIDE_PX},
        },
        "aggregation": {"rule": "top_mean", "top_fraction": 0.1},
        "derived_measurements": [],
        "calibration": {"method": "none", "note": said},
        "thresholds": [
            {"code": f"T-{one.upper()}", "present": 0.4, "not_seen": 0.2, "operating_point": said}
            for one in CLASSES
        ],
        "abstention": {"min_coverage_fraction": 0.5, "note": said},
        "training_data": [],
        "training_run": {
            "command": "none",
            "config_sha256": "0" * 64,
            "seed": 0,
            "steps": 0,
            "commit": "none",
            "machine": "none",
            "library_versions": {},
        },
        "metrics": [],
        "golden_pair": {
            "file": "golden.npz",
            "sha256": "0" * 64,
            "golden_tolerance": 1e-5,
            "input_origin": "simulated noise",
        },
        "limitations": [said],
    }


def _value(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
