"""Static int8 of an exported model: QDQ, unsigned activations, signed weights a channel, and its gate."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from ultraread.errors import ModelParityFailed
from ultraread.training.onnx_session import INPUT

AUC_TOLERANCE = 0.003
"""How far int8 may lie from fp32, of any class, AUC of patches and of tiles."""
SCHEME = (
    "static QDQ of convolutions, activations QUInt8 over their whole range, weights QInt8 a channel in 7 "
    "bits (reduce_range), so that processors without VNNI do not saturate"
)


class TileBatches(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    """Calibration tiles (N, 1, side, side), one batch after the other."""

    def __init__(self, tiles: NDArray[np.float32], batch_size: int) -> None:
        self._batches: Iterator[NDArray[np.float32]] = iter(
            np.split(tiles, range(batch_size, len(tiles), batch_size))
        )

    def get_next(self) -> dict[str, NDArray[np.float32]]:
        """The next batch; an empty one, which the quantiser takes for the end, after the last."""
        batch = next(self._batches, None)
        return {} if batch is None else {INPUT: batch}


def quantise(fp32: Path, int8: Path, tiles: NDArray[np.float32], batch_size: int) -> None:
    """Write `int8` from `fp32`, with activation ranges from `tiles`; the head's last layers stay float."""
    prepared = int8.with_suffix(".prepared.onnx")
    quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
    try:
        quantize_static(
            str(prepared),
            str(int8),
            TileBatches(tiles, batch_size),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "AveragePool", "Clip", "Relu", "Resize"],
            nodes_to_exclude=kept_in_float(prepared),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
        )
    finally:
        prepared.unlink(missing_ok=True)


def kept_in_float(model: Path) -> list[str]:
    """Everything after the last convolution: calibration, sigmoid, means, and the out-of-domain score."""
    nodes = list(onnx.load(str(model)).graph.node)
    last = max(place for place, node in enumerate(nodes) if node.op_type == "Conv")
    return [node.name for place, node in enumerate(nodes) if place > last]


def digest_of_tiles(tiles: NDArray[np.float32]) -> str:
    """sha256 of the calibration tiles' bytes."""
    return hashlib.sha256(np.ascontiguousarray(tiles).tobytes()).hexdigest()


def check_auc(difference: dict[str, float]) -> None:
    """Raise ModelParityFailed where the int8 model ranks worse, or otherwise, than its twin."""
    for name, off in difference.items():
        if not abs(off) <= AUC_TOLERANCE:  # NaN compares false
            raise ModelParityFailed(
                f"int8 differs from fp32 by {off:+.4f} in AUC of {name}; {AUC_TOLERANCE:g} is allowed"
            )
