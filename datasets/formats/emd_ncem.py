"""EMD as NCEM (openNCEM, Prismatic) defines it: a group of `emd_group_type` 1 with `data`, `dim1`, `dim2`, ….

Axes are in the order of the array, so the last two are y and x and the first of three is the section
("EMD specification 0.2", emdatasets.com).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.formats.emd_stack import Stack, beside
from ultraread.datasets.formats.tags import flattened, number_in
from ultraread.datasets.formats.units import nm_per, refuse_unless_of_space
from ultraread.datasets.scale import ScaleOrigin, StatedScale
from ultraread.datasets.slide import Acquisition, SlideFormat, Tag
from ultraread.errors import SlideDamaged, SlideNotAnImage

FORMAT = SlideFormat.EMD_NCEM
IMAGE_GROUP = 1
KV_PER_VOLT = 1e-3
UNEVEN = 0.01
"""Part of a step: what is left of axes that are stored in single precision, and a tolerance of scales."""


def stacks(objects: Mapping[str, Any]) -> list[Stack]:
    """Every image group; refused with the reason of the first where none is a picture.

    Raises SlideNotAnImage, SlideDamaged.
    """
    found, reasons = [], []
    acquisition = _acquisition(objects)
    for path, group in objects.items():
        if group.attrs.get("emd_group_type") == IMAGE_GROUP and f"{path}/data" in objects:
            try:
                found.append(_stack(objects, path, acquisition))
            except SlideNotAnImage as refused:
                reasons.append(refused)
    if reasons and not found:
        raise reasons[0]
    return found


def tags(objects: Mapping[str, Any]) -> list[Tag]:
    """Every attribute of every group and dataset, among them `user` with name and e-mail."""
    return [tag for path, each in objects.items() for tag in _attributes(path, each)]


def _stack(objects: Mapping[str, Any], path: str, acquisition: Acquisition) -> Stack:
    dataset = objects[f"{path}/data"]
    if not hasattr(dataset, "shape") or dataset.ndim not in (2, 3):
        raise SlideNotAnImage("neither an image nor a stack of images")
    axes = [_axis(objects, f"{path}/dim{n + 1}", length) for n, length in enumerate(dataset.shape)]
    refuse_unless_of_space(unit for unit, _ in axes)
    first = None if dataset.ndim == 2 else 0
    return Stack(dataset, (first, dataset.ndim - 2, dataset.ndim - 1), _scales(axes[-2:]), None, acquisition)


def _axis(objects: Mapping[str, Any], path: str, length: int) -> tuple[str, float]:
    """Unit and step of an axis, 0 where it is uneven or unknown. Raises SlideDamaged, SlideTooLarge."""
    values = objects.get(path)
    if values is None:
        return "", 0.0
    if values.shape not in ((length,), (2,), (1,)):
        raise SlideDamaged("an axis is longer or shorter than the image")
    return _text(values.attrs.get("units", "")), _step(np.asarray(beside(values, values.shape), np.float64))


def _step(values: NDArray[np.float64]) -> float:
    """The mean step, of which no single one may differ by more than UNEVEN; 0 where one does."""
    if len(values) < 2:
        return 0.0
    mean = float(values[-1] - values[0]) / (len(values) - 1)
    is_even = bool((np.abs(np.diff(values) - mean) <= UNEVEN * abs(mean)).all())
    return abs(mean) if is_even else 0.0


def _scales(axes: list[tuple[str, float]]) -> tuple[StatedScale, ...]:
    (unit_y, step_y), (unit_x, step_x) = axes
    x, y = step_x * (nm_per(unit_x) or 0.0), step_y * (nm_per(unit_y) or 0.0)
    possible = 0 < x < float("inf") and 0 < y < float("inf")
    return (StatedScale(x, y, ScaleOrigin.INSTRUMENT_TAG),) if possible else ()


def _acquisition(objects: Mapping[str, Any]) -> Acquisition:
    """Group `microscope`; names of its attributes as openNCEM and its examples write them."""
    says = {str(name).lower(): value for name, value in _attrs(objects.get("microscope")).items()}
    voltage = number_in(_text(says.get("voltage", "")))
    in_volts = "k" not in _text(says.get("voltage units", "V")).lower()
    return Acquisition(
        microscope=_text(says.get("microscope name", says.get("name", ""))),
        camera=_text(says.get("camera", says.get("detector", ""))),
        magnification=number_in(_text(says.get("magnification", ""))),
        accelerating_kv=voltage * (KV_PER_VOLT if in_volts else 1) if voltage else None,
    )


def _attributes(path: str, each: Any) -> Iterator[Tag]:  # noqa: ANN401  # h5py has no types
    for name, value in _attrs(each).items():
        yield from flattened(_text(value), f"{path}.{name}")


def _attrs(each: Any) -> dict[str, Any]:  # noqa: ANN401
    return dict(each.attrs.items()) if each is not None else {}


def _text(value: Any) -> str:  # noqa: ANN401
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
