"""From trained network to model folder: ONNX, parity gate, golden pair."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from ultraread.errors import ModelExternalData, ModelInvalid, ModelOperatorNotAllowed
from ultraread.training.config import TrainingConfig
from ultraread.training.golden import open_onnx, run_onnx
from ultraread.training.network import PatchNetwork

MODEL_FILE = "model.onnx"
OPSET = 18
PARITY_TOLERANCE = 1e-4
"""Largest absolute difference of any output between torch and ONNX Runtime."""


def export_onnx(network: PatchNetwork, config: TrainingConfig, file: Path) -> None:
    """Write one file: `image` (N, 1, tile, tile) to `probabilities` and `patch_map`, with any N.

    Raises ModelOperatorNotAllowed or ModelExternalData where it would not be served.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    tile_px = config.model.tile_px
    example = torch.zeros(2, 1, tile_px, tile_px)
    outputs = ["probabilities", "patch_map"]
    contiguous = network.to(memory_format=torch.contiguous_format).eval()
    with warnings.catch_warnings():
        # The exporter that follows TorchScript needs no package beyond torch, which is pinned.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            contiguous,
            (example,),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in ("image", *outputs)},
        )
    check_servable(file)


def check_servable(file: Path) -> None:
    """Raise unless the file passes ONNX's checker, holds its weights, and uses ai.onnx operators only."""
    model = onnx.load(str(file), load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    if any(one.domain not in ("", "ai.onnx") for one in (*model.opset_import, *model.graph.node)):
        raise ModelOperatorNotAllowed(f"{file.name} uses operators outside ai.onnx")
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in model.graph.initializer):
        raise ModelExternalData(f"{file.name} keeps weights in another file")


def check_parity(network: PatchNetwork, file: Path, tiles: Tensor, batch_size: int) -> float:
    """Return the largest absolute difference between torch and ONNX Runtime on (N, 1, tile, tile) `tiles`.

    Raises ModelInvalid where it exceeds PARITY_TOLERANCE.
    """
    session = open_onnx(file)
    worst = max(_difference(network, session, batch) for batch in torch.split(tiles, batch_size))
    if not worst <= PARITY_TOLERANCE:
        raise ModelInvalid(f"{file.name} differs from torch by {worst:.2g}, more than {PARITY_TOLERANCE:g}")
    return worst


def _difference(network: PatchNetwork, session: onnxruntime.InferenceSession, batch: Tensor) -> float:
    with torch.inference_mode():
        expected = [one.numpy() for one in network.eval()(batch)]
    found = run_onnx(session, batch.numpy())
    return max(float(np.abs(one - other).max()) for one, other in zip(expected, found, strict=True))
