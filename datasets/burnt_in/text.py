"""Optical character recognition of crops, offline: weights come with the wheel, and nothing is fetched."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultraread.datasets.geometry import BoxPx

DETECTOR, RECOGNIZER = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
LONGEST_SIDE_PX = 960
"""Of what the detector sees. It would else enlarge every crop until its shorter side has 736 px."""

Grey = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ReadText:
    """A line as read, with its box in pixels of the crop, and the confidence of its letters (0 to 1)."""

    box: BoxPx
    text: str
    confidence: float


def read_text(grey: Grey, zoom: float) -> tuple[ReadText, ...]:
    """Find and read the lines of a crop (height, width) of greys from 0 to 1, enlarged by `zoom`."""
    with _ONE_AT_A_TIME:
        found = _engine()(_picture(grey, zoom), use_det=True)
    if found.boxes is None:
        return ()
    lines = zip(found.boxes, found.txts, found.scores, strict=True)
    return tuple(
        ReadText(_box(corners / zoom, grey.shape), text.strip(), float(score))
        for corners, text, score in lines
    )


def read_line(grey: Grey, zoom: float) -> ReadText:
    """Read a crop that is one line."""
    with _ONE_AT_A_TIME:
        found = _engine()(_picture(grey, zoom), use_det=False)
    text, score = (found.txts[0], found.scores[0]) if found.txts else ("", 0.0)
    return ReadText(BoxPx(0, 0, grey.shape[1], grey.shape[0]), text.strip(), float(score))


def _picture(grey: Grey, zoom: float) -> NDArray[np.uint8]:
    """(height, width, 3), as the library takes it."""
    size = (max(1, round(grey.shape[1] * zoom)), max(1, round(grey.shape[0] * zoom)))
    picture = Image.fromarray(np.uint8(255 * np.clip(grey, 0, 1))).resize(size, Image.Resampling.BICUBIC)
    return np.repeat(np.asarray(picture)[..., None], 3, axis=2)


def _box(corners: NDArray[np.float32], shape: tuple[int, ...]) -> BoxPx:
    (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    x, y = max(0, int(left)), max(0, int(top))
    return BoxPx(x, y, max(1, min(int(right), shape[1]) - x), max(1, min(int(bottom), shape[0]) - y))


_ONE_AT_A_TIME = threading.Lock()
"""The library keeps parameters of a call in the engine, so two calls must not overlap."""


@cache
def _engine() -> Any:  # noqa: ANN401  # the library has no types
    """One engine a process, made at the first crop, of one thread: what it reads is then the same every time.

    The paths of the weights are named: without them the library would fetch what is missing from the web.
    """
    import rapidocr

    models = Path(rapidocr.__file__).parent / "models"
    return rapidocr.RapidOCR(params=dict(_parameters(models)))


def _parameters(models: Path) -> Iterable[tuple[str, Any]]:
    yield "Global.log_level", "critical"
    yield "Global.use_cls", False
    yield "Global.text_score", 0.0
    yield "Det.model_path", str(models / DETECTOR)
    yield "Rec.model_path", str(models / RECOGNIZER)
    yield "Det.limit_type", "max"
    yield "Det.limit_side_len", LONGEST_SIDE_PX
    yield "EngineConfig.onnxruntime.intra_op_num_threads", 1
    yield "EngineConfig.onnxruntime.inter_op_num_threads", 1
