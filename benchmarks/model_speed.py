"""Tiles a second of the shipped model and its float32 twin, as shares of lcnet_050 on the same cores.

lcnet_050 (timm, random weights: speed does not depend on them) in float32 is the named reference. Runs are
interleaved in one process, so that whatever else the machine does falls on all of them alike. Needs the
`train` extra, which has the reference.

Example: python benchmarks/model_speed.py --pairs 20
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime

from ultraread.datasets.simulated import simulated_texture
from ultraread.models.registry import DEFAULT_MODEL, ModelFolder, find_model

BATCHES = 8
"""Batches a run: half a second or so."""
INTERVAL = (2.5, 97.5)
RESAMPLES = 2000
Run = Callable[[], None]


def main() -> None:
    """Print the median share of each variant with a bootstrap interval, and JSON."""
    options = parsed()
    model = find_model(options.model)
    with tempfile.TemporaryDirectory() as folder:
        reference = export_reference(
            Path(folder) / "lcnet_050.onnx", model.card.tile_px, model.card.batch_size
        )
        runs = {"lcnet_050 fp32": runner(reference, options.threads, model)}
        runs[f"{model.card.ref} {model.card.precision}"] = runner(model.onnx, options.threads, model)
        if model.card.fp32_twin:
            runs[f"{model.card.ref} fp32 twin"] = runner(
                replace(model, uses_twin=True).onnx, options.threads, model
            )
        seconds = interleaved(runs, options.pairs)
    reference_s, *others = seconds.items()
    told = {name: share(reference_s[1], taken) for name, taken in others}
    for name, (median, low, high) in told.items():
        print(f"{name}: {median:.3f} [{low:.3f}, {high:.3f}] of the tiles a second of {reference_s[0]}")
    about = {"pairs": options.pairs, "threads": options.threads, "onnxruntime": onnxruntime.__version__}
    sizes = {file.name: file.stat().st_size for file in sorted(model.path.glob("*.onnx"))}
    print(json.dumps({**about, "bytes": sizes, "shares": told}))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=20, help="interleaved rounds")
    parser.add_argument("--threads", type=int, default=2, help="threads of each session")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name, name/version or folder")
    return parser.parse_args()


def export_reference(file: Path, tile_px: int, batch_size: int) -> Path:
    """lcnet_050 for one grey channel and three classes, as ONNX."""
    import timm
    import torch

    torch.manual_seed(0)
    network = timm.create_model("lcnet_050", in_chans=1, num_classes=3).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        example = (torch.zeros(batch_size, 1, tile_px, tile_px),)
        torch.onnx.export(network, example, str(file), dynamo=False, input_names=["image"])
    return file


def runner(file: Path, threads: int, model: ModelFolder) -> Run:
    """A function that scores BATCHES batches, warmed up."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    textures = [simulated_texture(rng, model.card.tile_px) for _ in range(model.card.batch_size)]
    tiles = {session.get_inputs()[0].name: np.stack(textures)[:, None].astype(np.float32)}

    def run() -> None:
        for _ in range(BATCHES):
            session.run(None, tiles)

    run()
    return run


def interleaved(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run in each round; the order turns round every other time."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            started = time.perf_counter()
            runs[name]()
            taken[name].append(time.perf_counter() - started)
    return taken


def share(reference_s: list[float], taken_s: list[float]) -> tuple[float, float, float]:
    """Median over rounds of reference time over own time, with a bootstrap interval over rounds."""
    ratios = np.array(reference_s) / np.array(taken_s)
    drawn = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), INTERVAL)
    return statistics.median(ratios), float(low), float(high)


if __name__ == "__main__":
    main()
