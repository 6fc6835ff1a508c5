"""What it costs to hold each block that an object store delivers against its digest.

    .venv/bin/python benchmarks/remote_blocks.py

Tiles of a slide on an S3 server of this machine, decoded as for scoring, with digests of blocks and without,
in turn. Prints for each layout of the file the time with over the time without, and the bytes that the server
sent: below 1, blocks save requests. Then what the digests themselves take.
"""

import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
import tifffile
from counting_proxy import CountingProxy, counting
from numpy.typing import NDArray
from object_store import started
from simulated import simulated_tissue

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.slide_address import SlideAddress, address_of
from ultraread.datasets.slide_digest import digest_in_blocks, digest_slide
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.datasets.tile_stream import stream
from ultraread.serving.decoding.bounded_slide import Ring
from ultraread.serving.decoding.pool import DecodingPool

SIDE_PX = 4096
TILE_PX = 512
TURNS = 7
DECODERS = 2
LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles of 256 px, zstd": {"tile": (256, 256), "compression": "zstd"},
    "tiles of 512 px, as they are": {"tile": (512, 512)},
    "strips of 16 rows": {"rowsperstrip": 16},
}


def main() -> None:
    """Print a row a layout and order of tiles."""
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as store:
        with counting(store.endpoint) as proxy:
            os.environ.update(store.environment | {"AWS_ENDPOINT_URL": proxy.endpoint})
            bucket, path = store.bucket(), Path(folder) / "slide.tif"
            print(f"{'layout':30} {'order':10} time with/without (25 % to 75 %)   MB sent, without / with")
            for layout, how in LAYOUTS.items():
                tifffile.imwrite(path, _pixels(), **how)
                store.files().put_file(str(path), f"{bucket}/{layout}.tif")
                _compare(layout, address_of(f"{bucket}/{layout}.tif"), proxy)
        print(f"digests of blocks beside that of the file: {_digesting(path):.2f} of the time without")


def _pixels() -> NDArray[np.uint8]:
    part = simulated_tissue(SIDE_PX // 4, SIDE_PX // 4, 3)
    noise = np.random.default_rng(1).integers(-9, 9, (SIDE_PX, SIDE_PX))
    return np.clip(np.tile(part, (4, 4)).astype(int) + noise, 0, 255).astype(np.uint8)


def _compare(layout: str, plain: SlideAddress, proxy: CountingProxy) -> None:
    _, digested = digest_in_blocks(plain)
    plan = TilePlan(0, BoxPx(0, 0, SIDE_PX, SIDE_PX), 1.0, TILE_PX, 128, 0)
    tiles = list(plan.tiles())
    scattered = random.Random(1).sample(tiles, len(tiles))  # noqa: S311  # nothing secret
    with closing(DecodingPool()) as pool:
        for order, some in {"as planned": tiles, "by chance": scattered}.items():
            ratios, sent = [], (0.0, 0.0)
            for _ in range(TURNS):
                without, sent_without = _timed(partial(_read, pool, plain, plan, some), proxy)
                with_blocks, sent_with = _timed(partial(_read, pool, digested, plan, some), proxy)
                ratios.append(with_blocks / without)
                sent = (sent_without, sent_with)
            low, middle, high = statistics.quantiles(ratios, n=4)
            spread = f"{middle:.2f} ({low:.2f} to {high:.2f})"
            print(f"{layout:30} {order:10} {spread:34} {sent[0]:.1f} / {sent[1]:.1f}")


def _timed(work: Callable[[], None], proxy: CountingProxy) -> tuple[float, float]:
    """Seconds, and the MB that the server sent meanwhile."""
    before, started_s = proxy.sent_back, time.perf_counter()
    work()
    return time.perf_counter() - started_s, (proxy.sent_back - before) / 1e6


def _read(pool: DecodingPool, address: SlideAddress, plan: TilePlan, tiles: list[PlannedTile]) -> None:
    with (
        closing(Ring(9, TILE_PX)) as ring,
        ThreadPoolExecutor(DECODERS) as threads,
        closing(pool.tiles(address, ring, DECODERS)) as read_tile,
    ):
        for pixels in stream(lambda one: read_tile(plan, one[1], one[0], 0), enumerate(tiles), threads, 8):
            if pixels.grey is None:
                raise SystemExit(pixels.failure)


def _digesting(path: Path) -> float:
    """One pass over a file of this machine with both kinds of digests, over one with the file's alone."""
    ratios = []
    for _ in range(TURNS):
        times = []
        for digest in (digest_slide, digest_in_blocks):
            started_s = time.perf_counter()
            digest(address_of(path))
            times.append(time.perf_counter() - started_s)
        ratios.append(times[1] / times[0])
    return statistics.median(ratios)


if __name__ == "__main__":
    main()
