"""The process that opens mutants: one JSON line in, one out; its address space is bounded."""

import json
import os
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import mrcfile
import ncempy.io.dm
import ncempy.io.ser
import numcodecs
import numpy as np
import PIL.Image
import pydicom
import rsciio.digitalmicrograph
import rsciio.emd
import rsciio.mrc
import rsciio.tia
import tifffile
import tiffslide
import wsidicom
import zarr
from oracles import ORACLES

from ultraread.datasets.geometry import whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import TileUnreadable
from ultraread.errors import UltraReadError

READY = (
    h5py, imagecodecs, mrcfile, ncempy, numcodecs, PIL.Image, pydicom, rsciio, tifffile, tiffslide,
    wsidicom, zarr,
)  # fmt: skip
"""Imported before the bound is set, so that what a mutant takes is its own."""


def main() -> None:
    """Answer until the input ends."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # some libraries print what they do not understand
    _bound_address_space(int(os.environ["MEMORY_BYTES"]))
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
        answers.flush()


def _bound_address_space(more_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _answer(told: dict[str, str]) -> dict[str, Any]:
    try:
        path, reader = Path(told["path"]), told["reader"]
        pixels = READERS[reader](path)
        np.savez(told["answer"], *pixels)
    except (UltraReadError, TileUnreadable) as refused:
        return {"refused": getattr(refused, "code", "slide_tile_unreadable")}
    except BaseException as failure:  # whatever a library raises is the finding
        traceback.print_exc()
        return {"raised": type(failure).__name__}
    return {"images": len(pixels)}


def _read(path: Path) -> list[Any]:
    with open_slide(path) as slide:
        return [slide.read_box(image.index, 0, whole(image.size)) for image in slide.info.images]


def _hang(path: Path) -> list[Any]:
    time.sleep(3600)
    return []


def _fill(path: Path) -> list[Any]:
    return [np.ones(2**30 + 2**20, np.uint8)]


READERS = {**ORACLES, "ultraread": _read, "die": lambda path: os.abort(), "hang": _hang, "fill": _fill}
"""The last three prove that the bounds hold."""

main()
