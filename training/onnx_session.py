"""An exported file, before it has a card, as a scorer."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from ultraread.training.network import Outputs
from ultraread.training.predict import Score

INPUT = "image"
OUTPUTS = ("probabilities", "patch_map", "out_of_domain")


def open_onnx(model: Path) -> onnxruntime.InferenceSession:
    """Open a model in ONNX Runtime on the processor."""
    return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])


def run_onnx(session: onnxruntime.InferenceSession, tiles: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Every output, in the order of OUTPUTS, for normalised tiles (N, 1, side, side)."""
    found: Any = session.run(list(OUTPUTS), {INPUT: tiles})
    return list(found)


def of_session(model: Path) -> Score:
    """The file as a scorer."""
    session = open_onnx(model)

    def score(tiles: Tensor) -> Outputs:
        return Outputs(*(torch.from_numpy(one) for one in run_onnx(session, tiles.numpy())))

    return score
