"""What streaming a range costs beside the network's arithmetic: RangeScorer against bare ONNX Runtime.

A: ONNX Runtime on batches that already lie in memory. B: RangeScorer on the same number of tiles of a tiled
TIFF (montage of drosophila_vnc/stack2, zstd): decode, rescale, normalise, classify, collect. Same session
settings, same batch size, interleaved A B A B in one process; prints the median ratio and its spread.

    python benchmarks/range_scoring.py --pairs 10
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from montage import write_montage

from ultraread.datasets.scale import operator_scale
from ultraread.datasets.slide_address import address_of
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import find_model
from ultraread.serving.machine import own_cpus
from ultraread.serving.read_slide import ReadRequest, prepare_slide
from ultraread.serving.score_tiles import RangeScorer, RangeTask


def main() -> None:
    """Run the pairs and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--model", default="ultrastructure-vnc")
    arguments = parser.parse_args()
    model = find_model(arguments.model)
    classify = OnnxClassifier(model, own_cpus())
    with tempfile.TemporaryDirectory() as folder:
        slide = write_montage(Path(folder) / "montage.tif", 4096)
        address = address_of(slide)
        request = ReadRequest(operator_scale(4.6, "published: figshare 856713"))
        prepared = prepare_slide(address, model, request)
        (image,) = prepared.images
        task = RangeTask(address, image.plan, image.window, number=1)
        tiles = image.plan.range_tiles
        scorer = RangeScorer(classify)
        bare = _bare(classify, tiles)
        pairs = [(_seconds(bare), _seconds(lambda: scorer(task))) for _ in range(arguments.pairs + 1)][1:]
        scorer.close()
    print(json.dumps(_summary(pairs, tiles, model.card.ref), indent=2))


def _bare(classify: OnnxClassifier, tiles: int) -> Callable[[], None]:
    size = classify.card.batch_size
    shape = (size, 1, classify.card.tile_px, classify.card.tile_px)
    batch = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def run() -> None:
        for _ in range(tiles // size):
            classify(batch)

    return run


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _summary(pairs: list[tuple[float, float]], tiles: int, model: str) -> dict[str, object]:
    shares = sorted(bare / streamed for bare, streamed in pairs)
    return {
        "share_of_bare_onnx_runtime": {
            "median": round(statistics.median(shares), 3),
            "min": round(shares[0], 3),
            "max": round(shares[-1], 3),
        },
        "pairs": len(pairs),
        "tiles_a_run": tiles,
        "model": model,
        "data": "montage of drosophila_vnc/stack2, 4,096 px, zstd, stored tiles of 256 px",
        "machine": f"{platform.machine()}, {own_cpus()} cores",
        "onnxruntime": onnxruntime.__version__,
    }


if __name__ == "__main__":
    main()
