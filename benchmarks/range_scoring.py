"""What streaming a range costs beside the network's arithmetic: RangeScorer against bare ONNX Runtime.

A: ONNX Runtime on batches that already lie in memory. B: RangeScorer on the same number of tiles of a tiled
TIFF (montage of drosophila_vnc/stack2, zstd): decode, rescale, normalise, classify, collect, and look for
artefacts. C: the same without looking for artefacts. B and C once on a range whose tiles all get a spectrum,
and once on one beyond the first 256 tiles. Same session settings, same batch size, interleaved A B C A B C in
one process; prints the median ratios and their spread.

    python benchmarks/range_scoring.py --pairs 10
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from montage import write_montage

from ultraread.datasets import tile_stream
from ultraread.datasets.scale import operator_scale
from ultraread.datasets.slide_address import address_of
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import find_model
from ultraread.serving import score_tiles
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
        tasks = [RangeTask(address, image.plan, image.window, number) for number in (1, 2)]
        tiles = image.plan.range_tiles
        scorer = RangeScorer(classify)
        bare = _bare(classify, tiles)
        rounds = [_round(bare, scorer, tasks) for _ in range(arguments.pairs + 1)][1:]
        scorer.close()
    print(json.dumps(_summary(rounds, tiles, model.card.ref), indent=2))


def _round(bare: Callable[[], None], scorer: RangeScorer, tasks: list[RangeTask]) -> dict[str, float]:
    """Seconds of each way, one after the other."""
    first, later = tasks
    times = {"bare": _seconds(bare)}
    times["later"] = _seconds(lambda: scorer(later))
    times["first_cpu"] = _cpu_seconds(lambda: scorer(first))
    times["later_cpu"] = _cpu_seconds(lambda: scorer(later))
    with _not_looking():
        times["later_unlooked"] = _seconds(lambda: scorer(later))
        times["first_unlooked_cpu"] = _cpu_seconds(lambda: scorer(first))
        times["later_unlooked_cpu"] = _cpu_seconds(lambda: scorer(later))
    return times


def _cpu_seconds(run: Callable[[], object]) -> float:
    """Of all threads of this process: what others do on the machine counts for less."""
    started = time.process_time()
    run()
    return time.process_time() - started


@contextmanager
def _not_looking() -> Iterator[None]:
    """Scoring as it would be without quality control."""
    nothing = np.zeros((2, 8), np.float32)
    with (
        patch.object(score_tiles, "look_at_tile", lambda *_: None),
        patch.object(score_tiles, "look_closely", lambda *_: None),
        patch.object(tile_stream, "grid_steps", lambda *_: nothing),
    ):
        yield


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


def _ratios(rounds: list[dict[str, float]], part: str, whole: str) -> dict[str, float]:
    shares = sorted(times[part] / times[whole] for times in rounds)
    median = round(statistics.median(shares), 3)
    return {"median": median, "min": round(shares[0], 3), "max": round(shares[-1], 3)}


def _summary(rounds: list[dict[str, float]], tiles: int, model: str) -> dict[str, object]:
    return {
        "share_of_bare_onnx_runtime": _ratios(rounds, "bare", "later"),
        "without_quality_control_to_with_it": {
            "wall_time_of_tiles_beyond_the_first_256": _ratios(rounds, "later_unlooked", "later"),
            "cpu_time_of_tiles_beyond_the_first_256": _ratios(rounds, "later_unlooked_cpu", "later_cpu"),
            "cpu_time_of_tiles_with_spectrum": _ratios(rounds, "first_unlooked_cpu", "first_cpu"),
        },
        "pairs": len(rounds),
        "tiles_a_run": tiles,
        "model": model,
        "data": "montage of drosophila_vnc/stack2, 4,096 px, zstd, stored tiles of 256 px",
        "machine": f"{platform.machine()}, {own_cpus()} cores",
        "onnxruntime": onnxruntime.__version__,
    }


if __name__ == "__main__":
    main()
