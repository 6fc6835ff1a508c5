"""Memory does not grow with the slide: peak resident memory of the command, small slide against large."""

import subprocess
import sys
from pathlib import Path

import pytest
from montage import write_montage
from tiny_model import write_tiny_model

SMALL_PX, LARGE_PX = 4096, 32_768
ALLOWED_BYTES = 150 * 10**6

# Starts the command as its only child and prints the child's own peak, as the kernel kept it.
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(done.stderr, file=sys.stderr)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def test_a_large_slide_needs_no_more_memory_than_a_small_one_with_a_tiny_model(tmp_path: Path) -> None:
    _compare(tmp_path, str(write_tiny_model(tmp_path / "model", tile_px=256)))


@pytest.mark.full
def test_a_large_slide_needs_no_more_memory_than_a_small_one_with_the_shipped_model(tmp_path: Path) -> None:
    _compare(tmp_path, "ultrastructure-vnc")


def _compare(tmp_path: Path, model: str) -> None:
    small = _peak_bytes(write_montage(tmp_path / "small.tif", SMALL_PX), tmp_path / "out", model)
    large = _peak_bytes(write_montage(tmp_path / "large.tif", LARGE_PX), tmp_path / "out", model)
    print(f"peak resident: {SMALL_PX} px {small / 1e6:.0f} MB, {LARGE_PX} px {large / 1e6:.0f} MB")
    assert large - small <= ALLOWED_BYTES


def _peak_bytes(slide: Path, out: Path, model: str) -> int:
    command = [str(Path(sys.executable).with_name("ultraread")), "read", str(slide), "--out", str(out)]
    stated = ["--model", model, "--nm-per-px", "4.6", "--reason", "published: figshare 856713"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command, *stated], capture_output=True, text=True, check=True
    )
    status, peak = done.stdout.split()
    assert status == "0", done.stderr
    return int(peak)
