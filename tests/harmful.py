"""Slides that harm whoever decodes them: they hang, abort or fill memory, at opening or at chosen places."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ultraread.errors import SlideEmpty
from ultraread.models.formula import Formula

DOUBLES = Path(__file__).with_name("doubles")


def taught(environment: pytest.MonkeyPatch) -> None:
    """From now on decoding processes, and no others, know the harmful format."""
    environment.setenv("PYTHONPATH", str(DOUBLES))


def write_harmful(
    path: Path, does: str, at: str = "tile", places: tuple[tuple[int, int], ...] = (), side_px: int = 256
) -> Path:
    """A simulated slide of `side_px` that does "hang", "abort" or "fill" where it is opened or decoded."""
    told = {"does": does, "at": at, "places": places, "side_px": side_px}
    path.write_bytes(b"HARMFUL" + json.dumps(told).encode().ljust(1024))
    return path


def abort() -> None:
    os.abort()


def hang() -> None:
    time.sleep(3600)


def fill() -> None:
    np.ones(2**30, np.uint8)


def refuse() -> None:
    raise SlideEmpty("no bytes", "Send some.")


def reach_out() -> str:
    try:
        return str(socket.socket())
    except OSError as refused:
        return f"{refused.strerror}"


def run_a_program() -> str:
    try:
        return str(subprocess.run(["true"], check=False).returncode)
    except OSError as refused:
        return f"{refused.strerror}"


def write_a_file(place: str) -> str:
    try:
        return str(Path(place).write_text("what was decoded"))
    except OSError as refused:
        return f"{refused.strerror}"


def secrets() -> list[str]:
    return [name for name in os.environ if name.startswith(("AWS_", "ULTRAREAD_"))]


class _Smuggled:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("true",)


def answer_with_code() -> object:
    return _Smuggled()


class _Called:
    def __reduce__(self) -> tuple[Formula, tuple[dict[str, float]]]:
        return Formula("1 + 1", ()), ({},)


def answer_with_a_formula() -> object:
    return _Called()
