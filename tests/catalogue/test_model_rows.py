"""Section 2.2 of the catalogue of bad input, model rows: each is crafted and refused where models come in.

Models come in by `ultraread models register`, which loads them in a bounded process, and are proved again
where they run. What the loader itself refuses, case by case, stands in tests/models/test_models_refused.py.
"""

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from simulated import flip_bit, simulated_tissue, write_tiff
from tiny_model import (
    change_card,
    replace_graph,
    seal,
    tiny_graph,
    tiny_model,
    write_golden_pair,
    write_tiny_model,
)
from working_house import WorkingHouse, working_house

from ultraread.errors import ModelInvalid, ModelRefused, ModelWithdrawn
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import find_model
from ultraread.serving.conclusion import conclude_read
from ultraread.serving.decoding.model_proof import prove_apart
from ultraread.serving.live_models import ServedModel
from ultraread.serving.model_registry import open_registry
from ultraread.serving.runner import ReadRunner
from ultraread.serving.score_tiles import RangeScorer

Spoil = Callable[[Path], object]


def _graph(change: Callable[[onnx.ModelProto], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        model = tiny_graph()
        change(model)
        replace_graph(folder, model)

    return spoil


def _external(location: str) -> Spoil:
    def spoil(folder: Path) -> None:
        model = tiny_graph()
        tensor = model.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.append(onnx.StringStringEntryProto(key="location", value=location))
        (folder / "model.onnx").write_bytes(model.SerializeToString())  # onnx itself would not save it
        seal(folder)

    return spoil


def _linked(link: Callable[[Path, Path], None]) -> Spoil:
    """External data whose file, beside the model, is a link to one elsewhere."""

    def spoil(folder: Path) -> None:
        elsewhere = folder.parent / "elsewhere.bin"
        elsewhere.write_bytes(bytes(8))
        link(elsewhere, folder / "weights.bin")
        _external("weights.bin")(folder)

    return spoil


def _declaring(*dims: int) -> Spoil:
    """A weight of few bytes that declares a shape."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[:] = dims

    return _graph(change)


def _nested(depth: int) -> Spoil:
    """Branches within branches: graphs (7), their nodes (1), their attributes (5) and graphs of those (6)."""

    def spoil(folder: Path) -> None:
        graph = b""
        for _ in range(depth):
            graph = _field(1, _field(4, b"If") + _field(5, _field(1, b"else_branch") + _field(6, graph)))
        stored = (folder / "model.onnx").read_bytes()
        (folder / "model.onnx").write_bytes(stored + _field(7, graph))
        seal(folder)

    return spoil


def _field(number: int, held: bytes) -> bytes:
    """A field of protobuf that holds bytes."""
    length, size = bytearray(), len(held)
    while size >= 128:
        length.append(size % 128 + 128)
        size //= 128
    return bytes([number << 3 | 2, *length, size]) + held


def _growing(folder: Path) -> None:
    """A constant of 2^40 numbers that the runtime makes."""
    model = tiny_graph()
    shape = numpy_helper.from_array(np.array([2**20, 2**20], np.int64), "large")
    model.graph.initializer.append(shape)
    model.graph.node[3].output[:] = ["unscaled"]
    model.graph.node.append(helper.make_node("ConstantOfShape", ["large"], ["huge"]))
    model.graph.node.append(helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0))
    model.graph.node.append(helper.make_node("Add", ["unscaled", "sum"], ["probabilities"]))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    seal(folder)


def _constant(folder: Path) -> None:
    """A network that has stopped seeing: no weight but the bias is left."""
    model = tiny_graph()
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.zeros((2, 1, 1, 1), np.float32), "weights")
    )
    onnx.save(model, folder / "model.onnx")
    write_golden_pair(folder)
    seal(folder)


def _domain(model: onnx.ModelProto) -> None:
    model.graph.node[2].domain = "x"
    model.opset_import.append(helper.make_opsetid("x", 1))


def _pickled(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(pickle.dumps(_LeavesAMark(folder.parent / "mark")))
        seal(folder)

    return spoil


class _LeavesAMark:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return os.mkdir, (str(self._mark),)


def _nan(model: onnx.ModelProto) -> None:
    nothing = numpy_helper.from_array(np.zeros((2, 1, 1, 1), np.float32), "weights")
    model.graph.initializer[0].CopyFrom(nothing)
    model.graph.node.insert(1, helper.make_node("Div", ["weights", "weights"], ["nan"]))
    model.graph.node[2].input[1] = "nan"


ROWS: dict[str, tuple[Spoil, str]] = {
    "external data ../x": (_external("../x"), "model_external_data"),
    "external data, absolute": (_external("/etc/passwd"), "model_external_data"),
    "external data, symlink": (_linked(lambda to, at: at.symlink_to(to)), "model_external_data"),
    "external data, hard link": (_linked(lambda to, at: at.hardlink_to(to)), "model_external_data"),
    "custom op domain": (_graph(_domain), "model_op_not_allowed"),
    "initialiser of 2^40": (_declaring(2**40), "model_too_large"),
    "initialiser of a negative length": (_declaring(-1, 2), "model_too_large"),
    "2^40 numbers made while it loads or runs": (_growing, "model_invalid"),
    "nesting bomb of depth 200": (_nested(200), "model_invalid"),
    "nesting bomb of depth 40": (_nested(40), "model_invalid"),
    "wrong input name": (lambda f: replace_graph(f, tiny_graph(image="x")), "model_io_mismatch"),
    "wrong output name": (
        lambda f: change_card(f, outputs={"probabilities": "scores", "patch_map": None}),
        "model_io_mismatch",
    ),
    "wrong tile size": (lambda f: replace_graph(f, tiny_graph(128)), "model_io_mismatch"),
    "outputs that divide by 0": (_graph(_nan), "model_output_invalid"),
    "outputs out of range": (
        _graph(lambda model: setattr(model.graph.node[2], "op_type", "Identity")),
        "model_output_invalid",
    ),
    "constant outputs": (_constant, "model_output_invalid"),
    "pickle named .onnx": (_pickled("model.onnx"), "model_format_forbidden"),
    "bytes that differ from the pinned sha256": (
        lambda f: flip_bit(f / "model.onnx", 300),
        "model_hash_mismatch",
    ),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingHouse]:
    with working_house(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.mark.parametrize("row", ROWS)
def test_it_is_not_registered(row: str, house: WorkingHouse, tmp_path: Path) -> None:
    spoil, code = ROWS[row]
    folder = write_tiny_model(tmp_path / "model")
    spoil(folder)
    registry = open_registry(house.house.settings, house.house.store, prove_apart)
    with pytest.raises(ModelRefused) as refused:
        registry.register(find_model(str(folder)), None, "a test")
    assert refused.value.code == code, refused.value.what
    assert str(tmp_path) not in refused.value.what
    assert not (tmp_path / "mark").exists(), "a pickle was opened"
    assert list(house.house.settings.models_dir.glob("*/*")) == []


@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "model.joblib"])
def test_files_of_pickles_are_never_opened(name: str, tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    (folder / "model.onnx").unlink()
    (folder / name).write_bytes(pickle.dumps(_LeavesAMark(tmp_path / "mark")))
    with pytest.raises(ModelRefused):
        prove_apart(find_model(str(folder)))
    assert not (tmp_path / "mark").exists()


def test_a_folder_that_links_elsewhere_is_no_model_that_somebody_brings(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    (folder / "golden.npz").rename(tmp_path / "elsewhere.npz")
    (folder / "golden.npz").symlink_to(tmp_path / "elsewhere.npz")
    with pytest.raises(ModelInvalid, match="links to files outside"):
        prove_apart(find_model(str(folder)))


def test_a_good_model_is_proved_apart(tmp_path: Path) -> None:
    assert prove_apart(tiny_model(tmp_path / "model")) < 1e-3


def _turning(model: onnx.ModelProto) -> None:
    """Where a tile is brighter than 1.5 standard deviations, probabilities become more than 1."""
    model.graph.node[3].output[:] = ["unscaled"]
    limit = numpy_helper.from_array(np.array([1.5], np.float32), "limit")
    model.graph.initializer.append(limit)
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["image"], ["brightest"], axes=[2, 3], keepdims=0),
            helper.make_node("Greater", ["brightest", "limit"], ["is_bright"]),
            helper.make_node("Cast", ["is_bright"], ["more"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["unscaled", "more"], ["probabilities"]),
        ]
    )


def test_a_version_whose_answers_cannot_be_is_quarantined(house: WorkingHouse, tmp_path: Path) -> None:
    """It holds its golden pair, and turns on tiles that are brighter than the rest."""
    folder = write_tiny_model(tmp_path / "model")
    _graph(_turning)(folder)
    write_golden_pair(folder)
    seal(folder)
    pixels = (100 + simulated_tissue(256, 256) // 16).astype(np.uint8)
    pixels[64:128, 64:128] += 100
    model = find_model(str(folder))
    registry = open_registry(house.house.settings, house.house.store, prove_apart)
    row = registry.register(model, None, "a test")
    with closing(RangeScorer(OnnxClassifier(model, threads=1))) as scorer:
        turned = replace(house, model=model, scorer=scorer)
        read_id = turned.request(turned.file(write_tiff(tmp_path / "slide.tif", pixels, 4.6)))
        served = ServedModel(model, lambda tasks: map(scorer, tasks))
        ReadRunner(
            house.house.settings,
            house.jobs,
            lambda *_: served,
            conclude_read,
            "a runner",
            quarantine=registry.quarantine,
        ).run_next()
    read = turned.row(read_id)
    assert (read.state, read.error_code) == ("failed", "model_output_invalid"), read.error_what
    with pytest.raises(ModelWithdrawn, match="model_output_invalid"):
        registry.usable(row.name, row.version)
