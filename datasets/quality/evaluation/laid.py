"""What both generators give: a field with an artefact of known strength and place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.quality.artefacts import Artefact

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Lay = Callable[[Floats, float, np.random.Generator], tuple[Floats, Mask]]
"""Field (H, W) of 0 to 255, strength, chance -> the field with the artefact, and where it lies."""


@dataclass(frozen=True, slots=True)
class Laid:
    """An artefact of one generator, and the strengths at which it is tried, faint to plain."""

    lay: Lay
    strengths: tuple[float, float, float]
    unit: str


Generator = Mapping[Artefact, Laid]


def as_stored(grey: Any) -> Floats:  # noqa: ANN401  # scipy's arrays have no types
    """Rounded to 8 bits, as a camera would."""
    return np.asarray(np.clip(np.rint(grey), 0, 255), np.float32)


def everywhere(grey: Floats) -> Mask:
    return np.ones(grey.shape, bool)
