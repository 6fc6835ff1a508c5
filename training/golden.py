"""The golden pair: a simulated input and what the exported model answers to it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.simulated import simulated_texture
from ultraread.models.card import GoldenPair

GOLDEN_FILE = "golden.npz"
GOLDEN_SEED = 856713
GOLDEN_TOLERANCE = 5e-4
"""Largest absolute difference between machines; float32 kernels of one model differ by some 1e-5."""

INPUT_ORIGIN = f"Simulated, seed {GOLDEN_SEED}: membrane-like dark lines and bodies on noise. No real pixels."


def write_golden_pair(model: Path, tile_px: int, clip: float) -> GoldenPair:
    """Write golden.npz beside `model`: `input`, `probabilities`, `patch_map`, float32, batch of 2."""
    tiles = simulated_tiles(2, tile_px, clip, GOLDEN_SEED)
    probabilities, patch_map = run_onnx(open_onnx(model), tiles)
    file = model.parent / GOLDEN_FILE
    np.savez_compressed(file, input=tiles, probabilities=probabilities, patch_map=patch_map)
    return GoldenPair(
        file=GOLDEN_FILE,
        sha256=sha256_of_file(file),
        golden_tolerance=GOLDEN_TOLERANCE,
        input_origin=INPUT_ORIGIN,
    )


def simulated_tiles(count: int, side_px: int, clip: float, seed: int) -> NDArray[np.float32]:
    """Seeded EM-like textures, (count, 1, side, side) float32 in standard deviations, clipped to +-clip."""
    rng = np.random.default_rng(seed)
    tiles = np.stack([simulated_texture(rng, side_px) for _ in range(count)])[:, None]
    return tiles.clip(-clip, clip).astype(np.float32)


def open_onnx(model: Path) -> onnxruntime.InferenceSession:
    """Open a model in ONNX Runtime on the processor."""
    return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])


def run_onnx(
    session: onnxruntime.InferenceSession, tiles: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (N, C) and patch map (N, C, h, w) of normalised tiles (N, 1, side, side)."""
    found: list[Any] = list(session.run(["probabilities", "patch_map"], {"image": tiles}))
    probabilities, patch_map = found
    return probabilities, patch_map
