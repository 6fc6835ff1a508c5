"""Simulated labelled sections for training in seconds: dark bodies, small dark spots, dark lines on grey."""

import re
from pathlib import Path

import numpy as np
from labelled import labelled_row, save_picture, write_manifest
from numpy.typing import NDArray

from ultraread.datasets.digest import sha256_of_file

COMMITTED = Path(__file__).resolve().parents[1] / "training" / "configs" / "ultrastructure-vnc.toml"
BODIES, SPOTS, LINES = "UR-MITO", "UR-SYN", "UR-MEM"
LEVELS = {LINES: 120, BODIES: 90, SPOTS: 50}
BACKGROUND = 170
TINY = {
    "backbone": '"test_efficientnet"\npretrained = false',
    "feature_channels": 16,
    "tile_px": 128,
    "margin_px": 32,
    "batch_size": 4,
    "crop_px": 64,
    "batch": 2,
    "steps": 4,
    "folds": 2,
    "components": 8,
    "calibration_tiles": 4,
    "int8": "false",
}

Masks = dict[str, NDArray[np.bool_]]


def tissue(seed: int, side_px: int = 256) -> tuple[NDArray[np.uint8], Masks]:
    """Grey values and one mask a class; half of the picture has no lines."""
    chance = np.random.default_rng(seed)
    masks = {
        LINES: _lines(side_px, phase=chance.uniform(0, 24)),
        BODIES: _discs(chance, side_px, count=4, radius_px=26),
        SPOTS: _discs(chance, side_px, count=3, radius_px=14),
    }
    grey = np.full((side_px, side_px), BACKGROUND, np.float64)
    for code, mask in masks.items():
        grey[mask] = LEVELS[code]
    grey += chance.normal(0, 6, grey.shape)
    return grey.clip(0, 255).astype(np.uint8), masks


def write_tissue(
    folder: Path,
    seeds: range,
    codes: tuple[str, ...] = (BODIES, SPOTS, LINES),
    name: str = "tissue",
    **changed: object,
) -> Path:
    """A manifest of one section a seed, with the masks of `codes`; `changed` are columns of every row.

    A code that the tissue does not know has the masks of bodies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for section, seed in enumerate(seeds):
        grey, masks = tissue(seed)
        image = save_picture(folder / f"{section:02d}.png", grey)
        for code in codes:
            shown = masks.get(code, masks[BODIES]).astype(np.uint8) * 255
            mask = save_picture(folder / f"{section:02d}-{code}.png", shown)
            stated = {"annotation": mask.name, "annotation_sha256": sha256_of_file(mask), "code": code}
            row = labelled_row(image.name, image_sha256=sha256_of_file(image), **stated)
            rows.append({**row, "section": section, "nm_per_px": 4.6, **changed})
    return write_manifest(folder, rows, f"{name}.csv")


def write_recipe(
    file: Path,
    *manifests: Path,
    judged: tuple[Path, ...] = (),
    strange: tuple[Path, ...] = (),
    **changed: object,
) -> Path:
    """The committed recipe, made so small that it trains in seconds; `changed` are lines of it."""
    text = COMMITTED.read_text()
    judged_line, strange_line = f"judged = {_listed(judged)}", f"judged = {_listed(strange)}"
    before, after = re.split(r"\[out_of_domain\]", text)
    text = (
        _set_line(before, "judged", judged_line)
        + "[out_of_domain]"
        + _set_line(after, "judged", strange_line)
    )
    for key, value in {**TINY, **changed}.items():
        text = _set_line(text, key, f"{key} = {value}")
    tables = "\n\n".join(f'[[data]]\nmanifest = "{manifest}"' for manifest in manifests)
    text = re.sub(r"(?ms)^\[\[data\]\]\n.*?(?=^# positive_fraction)", lambda _: f"{tables}\n\n", text)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def _listed(paths: tuple[Path, ...]) -> str:
    return "[" + ", ".join(f'"{path}"' for path in paths) + "]"


def _set_line(text: str, key: str, line: str) -> str:
    made, found = re.subn(rf"(?m)^{key} = .*$", lambda _: line, text, count=1)
    assert found, f"the committed recipe has no line {key}"
    return made


def _discs(chance: np.random.Generator, side_px: int, count: int, radius_px: int) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:side_px, :side_px]
    found = np.zeros((side_px, side_px), bool)
    for y, x in chance.uniform(radius_px, side_px - radius_px, (count, 2)):
        found |= (rows - y) ** 2 + (columns - x) ** 2 <= radius_px**2
    return found


def _lines(side_px: int, phase: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:side_px, :side_px]
    return ((rows + columns + phase) % 24 < 8) & (columns >= side_px // 2)
