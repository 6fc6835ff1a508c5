"""From trained network to ONNX, and the parity gate between the two."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from ultraread.errors import ModelExternalData, ModelOperatorNotAllowed, ModelParityFailed
from ultraread.training.config import TrainingConfig
from ultraread.training.network import PatchNetwork
from ultraread.training.onnx_session import INPUT, OUTPUTS, open_onnx, run_onnx

OPSET = 18
PARITY_TOLERANCE = 1e-4
"""Largest difference between torch and ONNX Runtime: of probabilities; of the score, relative to 1 + it."""


def export_onnx(network: PatchNetwork, config: TrainingConfig, file: Path) -> None:
    """Write one file: `image` (N, 1, tile, tile) to the three outputs, with any N.

    Raises ModelOperatorNotAllowed or ModelExternalData where it would not be served.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(2, 1, config.model.tile_px, config.model.tile_px)
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
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "batch"} for name in (INPUT, *OUTPUTS)},
        )
    check_servable(file)


def check_servable(file: Path) -> None:
    """Raise unless the file passes ONNX's checker, holds its weights, and uses ai.onnx operators only."""
    model = onnx.load(str(file), load_external_data=False)
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in model.graph.initializer):
        raise ModelExternalData(f"{file.name} keeps weights in another file")
    onnx.checker.check_model(model, full_check=True)
    if any(one.domain not in ("", "ai.onnx") for one in (*model.opset_import, *model.graph.node)):
        raise ModelOperatorNotAllowed(f"{file.name} uses operators outside ai.onnx")


def check_parity(network: PatchNetwork, file: Path, tiles: Tensor, batch_size: int) -> float:
    """Return the largest difference between torch and ONNX Runtime on (N, 1, tile, tile) `tiles`.

    Raises ModelParityFailed where it exceeds PARITY_TOLERANCE.
    """
    session = open_onnx(file)
    worst = 0.0
    for batch in torch.split(tiles, batch_size):
        with torch.inference_mode():
            expected = [one.numpy() for one in network.eval()(batch)]
        pairs = zip(expected, run_onnx(session, batch.numpy()), strict=True)
        worst = float(np.max([worst, *((np.abs(a - b) / np.maximum(1, np.abs(a))).max() for a, b in pairs)]))
    if not worst <= PARITY_TOLERANCE:  # NaN compares false
        raise ModelParityFailed(
            f"{file.name} differs from torch by {worst:.2g}, more than {PARITY_TOLERANCE:g}"
        )
    return worst
