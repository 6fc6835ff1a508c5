"""The golden pair: a simulated input and what a model answers to it on the machine that wrote it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.simulated import simulated_texture
from ultraread.errors import ModelInvalid
from ultraread.models.card import FullRange, GoldenPair, ImageMeanStd

GOLDEN_FILE = "golden.npz"
GOLDEN_SEED = 856713
GOLDEN_TILES = 2
GOLDEN_TOLERANCE = 5e-4
"""Largest absolute difference between machines; float32 kernels of one model differ by some 1e-5."""

INPUT_ORIGIN = f"Simulated, seed {GOLDEN_SEED}: membrane-like dark lines and bodies on noise. No real pixels."
MID_GREY, GREY_STD = 128 / 255, 40 / 255
"""Where a simulated texture lies in the full range."""

Tiles = NDArray[np.float32]


def write_golden_pair(
    model: Path,
    tile_px: int,
    rule: ImageMeanStd | FullRange,
    outputs: Sequence[str],
    name: str = GOLDEN_FILE,
    tolerance: float = GOLDEN_TOLERANCE,
) -> GoldenPair:
    """Write `name` beside `model`: `input` and each of `outputs`, float32."""
    tiles = simulated_tiles(GOLDEN_TILES, tile_px, rule, GOLDEN_SEED)
    input_tiles, answers = run_onnx(model, tiles, outputs)
    file = model.parent / name
    np.savez_compressed(file, input=input_tiles, **answers)  # type: ignore[arg-type]  # names of ours
    return GoldenPair(
        file=name,
        sha256=sha256_of_file(file),
        golden_tolerance=tolerance,
        input_origin=INPUT_ORIGIN,
    )


def simulated_tiles(count: int, side_px: int, rule: ImageMeanStd | FullRange, seed: int) -> Tiles:
    """Seeded EM-like textures as the rule hands them over, (count, 1, side, side) float32."""
    rng = np.random.default_rng(seed)
    tiles = np.stack([simulated_texture(rng, side_px) for _ in range(count)])[:, None]
    if isinstance(rule, FullRange):
        return (MID_GREY + GREY_STD * tiles).clip(0, 1).astype(np.float32)
    return tiles.clip(-rule.clip, rule.clip).astype(np.float32)


def run_onnx(model: Path, tiles: Tiles, outputs: Sequence[str]) -> tuple[Tiles, dict[str, Tiles]]:
    """Run a model on (N, 1, side, side) tiles: those that fit its batch, and its answers by name.

    A batch that the model fixes is filled up with zeros. Raises ModelInvalid where it does not run.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        (taken,) = session.get_inputs()
        batch = taken.shape[0] if isinstance(taken.shape[0], int) else len(tiles)
        given = np.zeros((batch, *tiles.shape[1:]), np.float32)
        given[: len(tiles)] = tiles[:batch]
        found = session.run(list(outputs), {taken.name: given})
    except Exception as failure:  # the runtime's exceptions share no base
        raise ModelInvalid(f"{model.name} does not run: {type(failure).__name__}") from failure
    kept = tiles[:batch]
    return kept, {name: np.asarray(one)[: len(kept)] for name, one in zip(outputs, found, strict=True)}
