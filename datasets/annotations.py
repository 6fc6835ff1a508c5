"""Annotation files as masks: white on black, label images, instances, QuPath polygons, points."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultraread.datasets.geometry import SizePx
from ultraread.datasets.manifest import AnnotationRow, Kind
from ultraread.errors import ExtraMissing, LabelCodeUnknown, LabelsRefused, MaskSizeMismatch

Mask = NDArray[np.bool_]
"""(height, width) in level-0 pixels: True where the class is."""
WHITE = 128
POINT_RADIUS_NM = 100.0
"""A point stands for a disc of this radius, at least one pixel: it stays inside a mitochondrion (300 nm and
more across) and covers a synapse's density. It says where the class is, never how large it is."""


def read_annotation(row: AnnotationRow, file: Path, size: SizePx) -> dict[str, Mask]:
    """Return the mask of each class that the annotation labels.

    Raises LabelCodeUnknown, MaskSizeMismatch, or LabelsRefused where the file is not of its kind.
    """
    masks = READERS[row.kind](row, file, size)
    for mask in masks.values():
        height, width = mask.shape
        if (width, height) != (size.width, size.height):
            raise MaskSizeMismatch(
                f"{row.annotation} is {width} x {height} px, its image {size.width} x {size.height} px"
            )
    return masks


def read_mask(row: AnnotationRow, file: Path, size: SizePx) -> dict[str, Mask]:
    """White, from 128 of 255 or True, is the class."""
    return {row.code: _stored_grey(row, file) >= WHITE}


def read_inverse_mask(row: AnnotationRow, file: Path, size: SizePx) -> dict[str, Mask]:
    """Black, 0 alone, is the class."""
    return {row.code: _stored_grey(row, file) == 0}


def read_labels(row: AnnotationRow, file: Path, size: SizePx) -> dict[str, Mask]:
    """Every value is one class or background, as the row's code table says."""
    values, table = _stored_values(row, file), row.code_table
    unknown = sorted({int(value) for value in np.unique(values)} - set(table))
    if unknown:
        raise LabelCodeUnknown(
            f"{row.annotation} holds {unknown[0]}, which its code table does not name",
            f"Name it in column codes; `{unknown[0]}=` takes it for background.",
        )
    return {
        code: np.isin(values, [value for value, named in table.items() if named == code])
        for code in sorted(row.class_codes)
    }


def read_instances(row: AnnotationRow, file: Path, size: SizePx) -> dict[str, Mask]:
    """MATLAB file, key groundTruthM (height, width, instances): one plane an instance, above 0 inside it."""
    try:
        from scipy.io import loadmat
    except ImportError as failure:
        raise ExtraMissing(
            "reading .mat needs scipy", "Install it with: pip install 'ultraread[train]'"
        ) from failure
    try:
        planes = np.asarray(loadmat(file, variable_names=["groundTruthM"])["groundTruthM"])
    except Exception as failure:  # scipy raises what its parser meets
        raise LabelsRefused(f"{row.annotation} holds no groundTruthM") from failure
    inside = np.any(planes.reshape(*planes.shape[:2], -1) > 0, axis=2)
    return {row.code: inside}


def read_geojson(row: AnnotationRow, file: Path, size: SizePx) -> dict[str, Mask]:
    """Polygons of the row's class, and of no class, as QuPath exports them; their holes stay out."""
    mask = np.zeros((size.height, size.width), bool)
    for kind, coordinates in _geometries(row, file):
        if kind not in ("Polygon", "MultiPolygon"):
            raise LabelsRefused(f"{row.annotation} holds a {kind}, not a polygon", "Export areas only.")
        for rings in _outlines(row, [coordinates] if kind == "Polygon" else coordinates):
            _fill(mask, rings)
    return {row.code: mask}


def read_points(row: AnnotationRow, file: Path, size: SizePx) -> dict[str, Mask]:
    """Points as discs of POINT_RADIUS_NM: GeoJSON, or CSV with columns x and y in pixels."""
    mask = np.zeros((size.height, size.width), bool)
    radius_px = max(1.0, POINT_RADIUS_NM / row.nm_per_px)
    for x, y in _csv_points(row, file) if file.suffix == ".csv" else _geojson_points(row, file):
        if not (math.isfinite(x) and math.isfinite(y)):
            raise LabelsRefused(f"{row.annotation} holds a point that is nowhere")
        _fill_disc(mask, x, y, radius_px)
    return {row.code: mask}


READERS: dict[Kind, Callable[[AnnotationRow, Path, SizePx], dict[str, Mask]]] = {
    Kind.MASK: read_mask,
    Kind.INVERSE_MASK: read_inverse_mask,
    Kind.LABELS: read_labels,
    Kind.INSTANCES: read_instances,
    Kind.GEOJSON: read_geojson,
    Kind.POINTS: read_points,
}


def _stored_grey(row: AnnotationRow, file: Path) -> NDArray[np.integer[Any]]:
    """Values of 0 to 255, whatever the file stores. Raises LabelsRefused where none but 0 can be told."""
    with _opened(row, file) as picture:
        is_deep = picture.mode.startswith("I")
        grey = np.asarray(picture).astype(np.int64) // 257 if is_deep else np.asarray(picture.convert("L"))
        stored = np.asarray(picture) if picture.mode[0] in "IF" else grey
    if stored.any() and not (grey >= WHITE).any():
        raise LabelsRefused(
            f"{row.annotation} holds {stored.max():g} at most: nothing in it is white",
            "Store masks as 0 and 255, or as 0 and the greatest value of the depth.",
        )
    return grey


def _stored_values(row: AnnotationRow, file: Path) -> NDArray[np.integer[Any]]:
    """Values as stored; of a picture with palette its indices."""
    with _opened(row, file) as picture:
        values = np.asarray(picture)
    if values.ndim != 2 or values.dtype.kind not in "bui":
        raise LabelsRefused(
            f"{row.annotation} is no label image of one channel", "Export labels as grey values."
        )
    return values


def _opened(row: AnnotationRow, file: Path) -> Image.Image:
    try:
        picture = Image.open(file)
        picture.load()
    except Exception as failure:  # Pillow: OSError, SyntaxError, struct.error, DecompressionBombError
        raise LabelsRefused(f"{row.annotation} cannot be decoded as a picture") from failure
    return picture


def _geometries(row: AnnotationRow, file: Path) -> Iterator[tuple[str, Any]]:
    """Type and coordinates of every feature that counts for the row's class."""
    try:
        told = json.loads(file.read_bytes())
        for feature in told if isinstance(told, list) else told["features"]:
            named = (feature.get("properties") or {}).get("classification") or {}
            if not named.get("name") or named["name"].casefold() == row.code.casefold():
                yield feature["geometry"]["type"], feature["geometry"]["coordinates"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as failure:
        raise LabelsRefused(f"{row.annotation} is no GeoJSON FeatureCollection") from failure


def _geojson_points(row: AnnotationRow, file: Path) -> Iterator[tuple[float, float]]:
    for kind, coordinates in _geometries(row, file):
        if kind not in ("Point", "MultiPoint"):
            raise LabelsRefused(f"{row.annotation} holds a {kind}, not a point", "Export points only.")
        try:
            for x, y, *_ in [coordinates] if kind == "Point" else coordinates:
                yield float(x), float(y)
        except (ValueError, TypeError) as failure:
            raise LabelsRefused(f"{row.annotation} holds a point without x and y") from failure


def _outlines(row: AnnotationRow, polygons: Iterable[Any]) -> list[list[NDArray[np.float64]]]:
    """For each polygon its outline and its holes, each (corners, 2): x and y in pixels."""
    try:
        rings = [
            [np.array([(corner[0], corner[1]) for corner in ring], float) for ring in polygon]
            for polygon in polygons
        ]
    except (ValueError, TypeError, IndexError, KeyError) as failure:
        raise LabelsRefused(f"{row.annotation} holds an outline that is no list of points") from failure
    if not all(polygon and all(map(_is_outline, polygon)) for polygon in rings):
        raise LabelsRefused(f"{row.annotation} holds an outline of fewer than three finite points")
    return rings


def _is_outline(corners: NDArray[np.float64]) -> bool:
    return len(corners) >= 3 and bool(np.isfinite(corners).all())


def _csv_points(row: AnnotationRow, file: Path) -> Iterator[tuple[float, float]]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        try:
            for point in csv.DictReader(lines):
                yield float(point["x"]), float(point["y"])
        except (ValueError, KeyError, TypeError, csv.Error) as failure:
            raise LabelsRefused(f"{row.annotation} is no CSV with numbers in columns x and y") from failure


def _fill(mask: Mask, rings: list[NDArray[np.float64]]) -> None:
    """Add the pixels whose centres lie inside a polygon: outline first, then its holes (even-odd rule)."""
    height, width = mask.shape
    left, top = np.clip(np.floor(rings[0].min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(rings[0].max(axis=0)), 0, (width, height)).astype(int)
    crossed = np.zeros((bottom - top, right - left + 1), bool)
    for ring in rings:
        for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            _cross(crossed, start - (left, top), end - (left, top))
    mask[top:bottom, left:right] |= np.logical_xor.accumulate(crossed, axis=1)[:, :-1]


def _cross(crossed: Mask, start: NDArray[np.float64], end: NDArray[np.float64]) -> None:
    """Turn in each row the first pixel whose centre lies right of the edge."""
    (x0, y0), (x1, y1) = sorted((tuple(start), tuple(end)), key=lambda point: point[1])
    first, last = np.clip(np.ceil(np.array([y0, y1]) - 0.5), 0, crossed.shape[0]).astype(int)
    if first >= last:
        return
    rows = np.arange(first, last)
    x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    crossed[rows, np.clip(np.ceil(x - 0.5), 0, crossed.shape[1] - 1).astype(int)] ^= True


def _fill_disc(mask: Mask, x: float, y: float, radius_px: float) -> None:
    height, width = mask.shape
    left, right = np.clip([np.floor(x - radius_px), np.ceil(x + radius_px)], 0, width).astype(int)
    top, bottom = np.clip([np.floor(y - radius_px), np.ceil(y + radius_px)], 0, height).astype(int)
    down, across = np.ogrid[top:bottom, left:right]
    mask[top:bottom, left:right] |= (across + 0.5 - x) ** 2 + (down + 0.5 - y) ** 2 <= radius_px**2
