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
from ultraread.serving.decoding.landlock import open_only

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


def readable(*places: str) -> list[str]:
    """Those of the places that this process can open."""
    return [place for place in places if _opens(place)]


def readable_by_version(known: int, only: str, *places: str) -> list[str]:
    """The same, where Landlock of version `known` leaves one place."""
    open_only((only,), known)
    return readable(*places)


def _opens(place: str) -> bool:
    try:
        os.close(os.open(place, os.O_RDONLY))
    except PermissionError:
        return False
    return True


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
