"""Teaches decoding processes, whose PYTHONPATH names this folder, a format that does them harm.

A stand-in for a decoder with a fault: nothing that is published crashes the decoders of today.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultraread.datasets.geometry import BoxPx
    from ultraread.datasets.slide import Pixels, Slide
    from ultraread.datasets.slide_address import SlideAddress

TAUGHT = "ultraread.datasets.open_slide"
MARK = b"HARMFUL"


class _Teaching(importlib.abc.MetaPathFinder):
    """Adds the reader as soon as the module of readers was imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != TAUGHT:
            return None
        sys.meta_path.remove(self)
        spec: Any = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_teach(module: ModuleType) -> None:
            execute(module)
            kinds: Any = vars(module)
            kinds["_MAGIC"] = {"harmful": lambda magic: magic.startswith(MARK), **kinds["_MAGIC"]}
            kinds["_READERS"] = {"harmful": _harmful, **kinds["_READERS"]}

        spec.loader.exec_module = execute_and_teach
        return spec  # type: ignore[no-any-return]


def _harm(does: str) -> None:
    if does == "hang":
        time.sleep(3600)
    if does == "abort":
        os.abort()
    if does == "fill":
        import numpy as np

        np.ones(2**33, np.uint8)


def _harmful(address: "SlideAddress") -> "Slide":
    import numpy as np

    from ultraread.datasets.geometry import SizePx
    from ultraread.datasets.slide import ClosedByWith, ImageInfo, Modality, SlideFormat, SlideInfo

    told = json.loads(Path(address.files[0].location).read_bytes()[len(MARK) :])
    if told["at"] == "open":
        _harm(told["does"])
    size = SizePx(told["side_px"], told["side_px"])
    grey = np.random.default_rng(0).integers(0, 255, (size.height, size.width)).astype(np.uint8)

    class Harmful(ClosedByWith):
        info = SlideInfo(SlideFormat.TIFF, (ImageInfo(0, (size,), 8, 1, Modality.TEM, False, ()),))

        def read_box(self, image: int, level: int, box: "BoxPx") -> "Pixels":
            for x, y in told["places"]:
                if told["at"] == "tile" and box.x <= x < box.right and box.y <= y < box.bottom:
                    _harm(told["does"])
            return grey[box.y : box.bottom, box.x : box.right]

        def close(self) -> None:
            return

    return Harmful()


sys.meta_path.insert(0, _Teaching())
