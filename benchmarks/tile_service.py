"""What a tile of the Deep Zoom route costs beside its bare work: decode one stored tile, encode one JPEG.

A: stored tiles of a tiled TIFF (montage of drosophila_vnc/stack2, zstd, 256 px), decoded by tifffile and made
JPEG of the same quality. B: as many tiles of the full size from the viewer, without HTTP. C: as many over
HTTP on loopback, one client; D: the same ones again, which are kept. None of B and C was made before. All
run in one process, interleaved A B C D A B C D; prints tiles a second, and medians of the ratios to A.

    python benchmarks/tile_service.py
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice, product
from pathlib import Path

import httpx
import imagecodecs
import tifffile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from montage import write_montage
from serving_api import asked, served

from ultraread.datasets.geometry import SizePx
from ultraread.datasets.slide_address import address_of
from ultraread.serving.api.app import create_api
from ultraread.serving.machine import own_cpus
from ultraread.serving.settings import Settings
from ultraread.serving.viewing.dzi import DeepZoom
from ultraread.serving.viewing.encode import JPEG_QUALITY
from ultraread.serving.viewing.viewer import Picture, ViewedImage, Viewer

SIDE_PX = 8192
TILES = 100
"""A run."""
MOST_ROUNDS = 9
"""One more is run to warm up; then the slide has no new tiles."""
ZOOM = DeepZoom(SizePx(SIDE_PX, SIDE_PX))


def main() -> None:
    """Run the rounds and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=MOST_ROUNDS, choices=range(1, MOST_ROUNDS + 1))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_montage(Path(folder) / "montage.tif", SIDE_PX)
        api = create_api(Settings(data_dir=Path(folder) / "data"))
        with served(api) as address, asked(address, timeout=60) as http:
            slide = _filed(http, path)
            runs = {
                "bare": _bare(path),
                "viewer": _viewer(path),
                "http": _fetcher(http, slide),
                "http_kept": _fetcher(http, slide),
            }
            rounds = [{name: _rate(run) for name, run in runs.items()} for _ in range(arguments.rounds + 1)]
    print(json.dumps(_summary(rounds[1:]), indent=2))


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
    places = _places()

    def run() -> None:
        for column, row in islice(places, TILES):
            address = f"/v1/slides/{slide}/images/0_files/{ZOOM.last_level}/{column}_{row}.jpg"
            http.get(address).raise_for_status()

    return run


def _viewer(path: Path) -> Callable[[], None]:
    viewer, places, address = Viewer(), _places(), address_of(path)
    image = ViewedImage("montage", "montage", 0, ZOOM.size)

    def run() -> None:
        for column, row in islice(places, TILES):
            viewer(Picture(image, ZOOM.tile(ZOOM.last_level, column, row)), lambda: address)

    return run


def _places() -> Iterator[tuple[int, int]]:
    """Columns and rows of all tiles of the full size, row by row."""
    columns, rows = ZOOM.tile_counts(ZOOM.last_level)
    return ((column, row) for row, column in product(range(rows), range(columns)))


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


def _summary(rounds: list[dict[str, float]]) -> dict[str, object]:
    return {
        "tiles_a_second": {
            name: round(statistics.median(rates[name] for rates in rounds)) for name in rounds[0]
        },
        "share_of_bare": {name: _spread(rounds, name) for name in rounds[0] if name != "bare"},
        "rounds": len(rounds),
        "tiles_a_run": TILES,
        "data": f"montage of drosophila_vnc/stack2, {SIDE_PX:,} px, zstd, stored tiles of 256 px",
        "machine": f"{platform.machine()}, {own_cpus()} cores",
    }


def _spread(rounds: list[dict[str, float]], name: str) -> dict[str, float]:
    shares = sorted(rates[name] / rates["bare"] for rates in rounds)
    return {
        "median": round(statistics.median(shares), 3),
        "min": round(shares[0], 3),
        "max": round(shares[-1], 3),
    }


if __name__ == "__main__":
    main()
