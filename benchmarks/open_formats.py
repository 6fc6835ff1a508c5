"""Time to open a file and take all its pixels: our reader against another library on the same file, in turn.

    .venv/bin/python benchmarks/open_formats.py

Prints a ratio a format: the other library's time over ours, so above 1 ours is faster. Times of a shared
machine mean nothing by themselves.
"""

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from oracles import ORACLES, rosettasciio_as_it_is
from simulated_instruments import write_dm, write_mrc, write_ncem, write_ser, write_velox

from ultraread.datasets.corpora import fetch
from ultraread.datasets.geometry import whole
from ultraread.datasets.open_slide import open_slide

SIDE_PX = 2048
TURNS = 15
SIS = "nerve_myelin/raw/HPF4-483S1-4B-6500x-1.tif"
LIBRARIES = {**ORACLES, "rosettasciio": rosettasciio_as_it_is}
GREY = "drosophila_vnc/stack1/raw/00.tif"
PNG = "isbi2012/raw/00.png"
JPEG = "kidney_tem_glomerulus/A1--0024.jpg"


def main() -> None:
    """Print one row a format and other library."""
    warnings.simplefilter("ignore")
    print(f"{'format':10} {'file':34} {'against':13} ratio (25 % to 75 % of {TURNS} turns)")
    with tempfile.TemporaryDirectory() as folder:
        for name, path, others in _files(Path(folder)):
            kind = "simulated, 2,048 x 2,048 px" if path.is_relative_to(folder) else f"real, {path.suffix}"
            for other in others:
                low, middle, high = _ratios(path, LIBRARIES[other])
                print(f"{name:10} {kind:34} {other:13} {middle:.2f} ({low:.2f} to {high:.2f})")


def _files(folder: Path) -> list[tuple[str, Path, tuple[str, ...]]]:
    pixels = np.random.default_rng(0).integers(0, 60_000, (SIDE_PX, SIDE_PX)).astype(np.uint16)
    return [
        ("tiff", fetch(GREY), ("Pillow",)),
        ("sis_tiff", fetch(SIS), ("Pillow",)),
        ("png", fetch(PNG), ("Pillow",)),
        ("jpeg", fetch(JPEG), ("Pillow",)),
        ("dm3", write_dm(folder / "simulated.dm3", pixels), ("ncempy", "rosettasciio")),
        ("dm4", write_dm(folder / "simulated.dm4", pixels), ("ncempy", "rosettasciio")),
        ("mrc", write_mrc(folder / "simulated.mrc", pixels, 4.6), ("mrcfile", "rosettasciio")),
        ("ser", write_ser(folder / "simulated_1.ser", [pixels], 4.6e-9), ("ncempy", "rosettasciio")),
        ("emd_ncem", write_ncem(folder / "ncem.emd", pixels, 4.6), ("h5py", "rosettasciio")),
        ("emd_velox", write_velox(folder / "velox.emd", pixels[None], 4.6e-9), ("rosettasciio",)),
    ]


def _ratios(path: Path, other: Callable[[Path], object]) -> tuple[float, float, float]:
    """Quartiles of the other's time over ours; the two take turns, so that both meet the same machine."""
    ratios = []
    for _ in range(TURNS + 1):
        ours, theirs = _seconds(_read, path), _seconds(other, path)
        ratios.append(theirs / ours)
    low, middle, high = np.quantile(ratios[1:], (0.25, 0.5, 0.75))  # the first turn imports libraries
    return float(low), float(middle), float(high)


def _read(path: Path) -> list[object]:
    with open_slide(path) as slide:
        return [slide.read_box(image.index, 0, whole(image.size)) for image in slide.info.images]


def _seconds(read: Callable[[Path], object], path: Path) -> float:
    start = time.perf_counter()
    read(path)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
