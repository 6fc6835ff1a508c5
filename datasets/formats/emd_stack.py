"""A dataset of an EMD file that holds pictures."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ultraread.datasets.formats.pixel_kinds import converted
from ultraread.datasets.formats.raw_planes import BAND_BYTES
from ultraread.datasets.geometry import SizePx
from ultraread.datasets.scale import StatedScale
from ultraread.datasets.slide import Acquisition, Modality, Pixels


@dataclass(frozen=True, slots=True)
class Stack:
    """A dataset that holds pictures, and what its writer says of them.

    `axes` are the places of section (None where there is one picture), y and x in the dataset's shape.
    """

    dataset: Any
    axes: tuple[int | None, int, int]
    scales: tuple[StatedScale, ...]
    modality: Modality | None = None
    acquisition: Acquisition = field(default_factory=Acquisition)

    @property
    def size(self) -> SizePx:
        _, y, x = self.axes
        return SizePx(int(self.dataset.shape[x]), int(self.dataset.shape[y]))

    @property
    def sections(self) -> int:
        return 1 if self.axes[0] is None else int(self.dataset.shape[self.axes[0]])

    @property
    def rows_per_band(self) -> int:
        """Whole chunks of about a megabyte."""
        rows: int = max(1, BAND_BYTES // max(1, self.size.width * self.dataset.dtype.itemsize))
        chunk = int(self.dataset.chunks[self.axes[1]]) if self.dataset.chunks else 1
        return -(-rows // chunk) * chunk

    def band(self, section: int, number: int) -> Pixels:
        """(rows, width) pixels of a band, converted."""
        top = number * self.rows_per_band
        bottom = min(top + self.rows_per_band, self.size.height)
        first, y, x = self.axes
        where: list[slice | int] = [0] * self.dataset.ndim
        where[y], where[x] = slice(top, bottom), slice(None)
        if first is not None:
            where[first] = section
        rows = np.asarray(self.dataset[tuple(where)])
        return converted(rows if y < x else rows.T)
