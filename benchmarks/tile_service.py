"""What a tile of the Deep Zoom route costs beside its bare work: decode one stored tile, encode one JPEG.

A: stored tiles of a tiled TIFF (montage of drosophila_vnc/stack2, zstd, 256 px), decoded by tifffile and made
JPEG of the same quality. B: as many tiles of the full size over HTTP on loopback, one client, none of them
made before. A and B run in threads of one process, interleaved A B A B; prints tiles a second of both and the
median of their ratios.

    python benchmarks/tile_service.py --pairs 5
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice, product
from pathlib import Path

import httpx
import imagecodecs
import tifffile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from montage import write_montage
from serving_api import served

from ultraread.serving.api.app import create_api
from ultraread.serving.machine import own_cpus
from ultraread.serving.settings import Settings
from ultraread.serving.viewing.dzi import DeepZoom, SizePx
from ultraread.serving.viewing.encode import JPEG_QUALITY

SIDE_PX = 8192
TILES = 100
"""A run; pairs times as many are different ones."""


def main() -> None:
    """Run the pairs and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_montage(Path(folder) / "montage.tif", SIDE_PX)
        api = create_api(Settings(data_dir=Path(folder) / "data"))
        with served(api) as address, httpx.Client(base_url=address, timeout=60) as http:
            fetch = _fetcher(http, _filed(http, path))
            bare = _bare(path)
            pairs = [(_rate(bare), _rate(fetch)) for _ in range(arguments.pairs + 1)][1:]
    print(json.dumps(_summary(pairs), indent=2))


def _filed(http: httpx.Client, path: Path) -> str:
    data = path.read_bytes()
    upload = http.post("/v1/uploads", json={"file_name": "slide.tif", "bytes": len(data)}).json()["id"]
    part = 2**24
    for start in range(0, len(data), part):
        piece = data[start : start + part]
        where = {"Content-Range": f"bytes {start}-{start + len(piece) - 1}/{len(data)}"}
        http.put(f"/v1/uploads/{upload}", content=piece, headers=where).raise_for_status()
    return str(http.post("/v1/slides", json={"upload_ids": [upload]}).json()["id"])


def _fetcher(http: httpx.Client, slide: str) -> Callable[[], None]:
    zoom = DeepZoom(SizePx(SIDE_PX, SIDE_PX))
    columns, rows = zoom.tile_counts(zoom.last_level)
    places = iter([(column, row) for row, column in product(range(rows), range(columns))])

    def run() -> None:
        for column, row in islice(places, TILES):
            address = f"/v1/slides/{slide}/images/0_files/{zoom.last_level}/{column}_{row}.jpg"
            http.get(address).raise_for_status()

    return run


def _bare(path: Path) -> Callable[[], None]:
    page = tifffile.TiffFile(path).pages.first
    numbers = iter(range(len(page.dataoffsets)))

    def run() -> None:
        with path.open("rb") as stream:
            for number in islice(numbers, TILES):
                stream.seek(page.dataoffsets[number])
                stored = stream.read(page.databytecounts[number])
                imagecodecs.jpeg_encode(page.decode(stored, number)[0][0, ..., 0], level=JPEG_QUALITY)

    return run


def _rate(run: Callable[[], None]) -> float:
    """Tiles a second."""
    started = time.perf_counter()
    run()
    return TILES / (time.perf_counter() - started)


def _summary(pairs: list[tuple[float, float]]) -> dict[str, object]:
    shares = sorted(served_rate / bare_rate for bare_rate, served_rate in pairs)
    return {
        "tiles_a_second_bare": round(statistics.median(bare for bare, _ in pairs)),
        "tiles_a_second_served": round(statistics.median(rate for _, rate in pairs)),
        "share_of_bare": {
            "median": round(statistics.median(shares), 3),
            "min": round(shares[0], 3),
            "max": round(shares[-1], 3),
        },
        "pairs": len(pairs),
        "tiles_a_run": TILES,
        "data": f"montage of drosophila_vnc/stack2, {SIDE_PX:,} px, zstd, stored tiles of 256 px",
        "machine": f"{platform.machine()}, {own_cpus()} cores",
    }


if __name__ == "__main__":
    main()
