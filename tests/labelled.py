"""Small labelled fields that tests make: pictures, masks, rows and manifests."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.manifest import AnnotationRow


def labelled_row(image: str, **changed: object) -> dict[str, Any]:
    """A row that is right, except for what is changed."""
    return {
        "image": image,
        "image_sha256": "a" * 64,
        "annotation": "mask.png",
        "annotation_sha256": "b" * 64,
        "kind": "mask",
        "code": "UR-MITO",
        "codes": "",
        "value": "",
        "specimen": "one",
        "block": "one-a",
        "section": 0,
        "laboratory": "ours",
        "nm_per_px": 5.0,
        "split": "train",
        "licence": "CC0-1.0",
        **changed,
    }


def write_manifest(folder: Path, rows: Iterable[dict[str, Any]], name: str = "made.csv") -> Path:
    """Write rows as CSV; columns beyond the manifest's own are written too."""
    listed = list(rows)
    columns = dict.fromkeys([*AnnotationRow.model_fields, *(name for row in listed for name in row)])
    with (folder / name).open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(columns))
        writer.writeheader()
        writer.writerows(listed)
    return folder / name


def save_picture(path: Path, values: NDArray[Any]) -> Path:
    """Save (H, W) or (H, W, 3) values as the suffix says."""
    Image.fromarray(values).save(path)
    return path


def texture(seed: int, side_px: int = 64) -> NDArray[np.uint8]:
    """Smooth blobs that differ by seed, (side_px, side_px)."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((side_px, side_px), Image.Resampling.BICUBIC))


def filed_row(
    folder: Path, name: str, grey: NDArray[Any], mask: NDArray[Any] | None, **changed: object
) -> dict[str, Any]:
    """Save a picture and its mask, and return their row; without mask, a row without annotation."""
    image = save_picture(folder / f"{name}.png", grey)
    row = labelled_row(image.name, image_sha256=sha256_of_file(image))
    if mask is None:
        return {**row, "kind": "", "code": "", "annotation": "", "annotation_sha256": "", **changed}
    annotation = save_picture(folder / f"{name}-mask.png", mask)
    return {**row, "annotation": annotation.name, "annotation_sha256": sha256_of_file(annotation), **changed}
