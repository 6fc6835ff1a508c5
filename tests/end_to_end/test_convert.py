"""A converted slide is read as the original is: the same findings within rounding, however it was written.

Intervals are drawn by chance, with a seed that follows from the slide's digest: those have to overlap.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from command_line import SCRIPT, ultraread
from montage import write_montage

from ultraread.datasets.corpora import fetch

FIELD = "drosophila_vnc/stack2/raw/00.tif"
STATED = ("--nm-per-px", "4.6", "--reason", "published: figshare 856713")
REGION = ("--region", "0,0,640,640")
SMALL_PX, LARGE_PX = 4096, 32_768
ALLOWED_BYTES = 100 * 10**6
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(done.stderr, file=sys.stderr)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""
"""Starts the command as its only child and prints the child's own peak, as the kernel kept it."""
ROUNDING = 1e-6
"""Relative: a scale that is written in millimetres has other last digits."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return findings_of(fetch(FIELD), tmp_path_factory.mktemp("original"), *STATED)


def findings_of(slide: Path, out: Path, *words: str) -> list[dict[str, Any]]:
    """What the shipped model finds in a part of a slide."""
    ended = ultraread("read", slide, "--out", out, *REGION, *words)
    assert ended.status == 0, ended.err
    (folder,) = (each for each in out.iterdir() if each.is_dir() and not each.name.startswith("."))
    found: list[dict[str, Any]] = json.loads((folder / "findings.json").read_text())["findings"]
    return found


def same_within_rounding(one: Any, other: Any) -> bool:  # noqa: ANN401  # any JSON
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            (overlap if key.endswith("ci95") else same_within_rounding)(one[key], other[key]) for key in one
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_within_rounding, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=ROUNDING, atol=0))
    return bool(one == other)


def overlap(one: list[float], other: list[float]) -> bool:
    return max(one[0], other[0]) <= min(one[1], other[1])


@pytest.mark.parametrize(("target", "name"), [("ome-tiff", "field.ome.tif"), ("dicom-wsi", "field")])
def test_findings_of_a_copy_are_those_of_the_original(
    tmp_path: Path, original: list[dict[str, Any]], target: str, name: str
) -> None:
    ended = ultraread("convert", fetch(FIELD), tmp_path / name, "--to", target, *STATED, "--json")
    assert ended.status == 0, ended.err
    told = ended.printed
    assert told["lossless"]
    assert told["sha256"] == ultraread("info", tmp_path / name, "--json").printed["sha256"]
    again = findings_of(tmp_path / name, tmp_path / "results")
    assert any(finding["score"] for finding in original)
    assert same_within_rounding(again, original)


def test_a_field_of_16_bit_keeps_its_findings_through_dicom(tmp_path: Path) -> None:
    """Real pixels times 257, so that the depth is used."""
    field = tmp_path / "deep.tif"
    tifffile.imwrite(field, tifffile.imread(fetch(FIELD)).astype(np.uint16) * 257, metadata=None)
    ended = ultraread("convert", field, tmp_path / "deep", "--to", "dicom-wsi", *STATED)
    assert ended.status == 0, ended.err
    first = findings_of(field, tmp_path / "one", *STATED)
    assert same_within_rounding(findings_of(tmp_path / "deep", tmp_path / "two"), first)


@pytest.mark.full
@pytest.mark.parametrize("target", ["ome-tiff", "dicom-wsi"])
def test_a_large_slide_is_converted_in_the_memory_of_a_small_one(tmp_path: Path, target: str) -> None:
    small, large = (
        peak_bytes(write_montage(tmp_path / f"{side}.tif", side), tmp_path / f"{side}", target)
        for side in (SMALL_PX, LARGE_PX)
    )
    print(f"{target}: peak resident: {SMALL_PX} px {small / 1e6:.0f} MB, {LARGE_PX} px {large / 1e6:.0f} MB")
    assert large - small <= ALLOWED_BYTES


def peak_bytes(slide: Path, out: Path, target: str) -> int:
    command = [SCRIPT, "convert", slide, out, "--to", target, *STATED]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, command)], capture_output=True, text=True, check=True
    )
    status, peak = done.stdout.split()
    assert status == "0", done.stderr
    return int(peak)
