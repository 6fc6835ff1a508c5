"""A dataset of an EMD file that holds pictures."""

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from ultraread.datasets.formats.pixel_kinds import converted
from ultraread.datasets.formats.raw_planes import BAND_BYTES
from ultraread.datasets.geometry import SizePx
from ultraread.datasets.scale import StatedScale
from ultraread.datasets.slide import Acquisition, Modality, Pixels
from ultraread.errors import SlideCodecUnsupported, SlideTooLarge

FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
"""Those that h5py always has; every other one would be loaded from wherever HDF5 looks for plug-ins."""
MAX_BESIDE_BYTES = 64 * 2**20
MAX_PACKED_BYTES = MAX_BESIDE_BYTES // 512
"""Of one such chunk that is compressed: HDF5 unpacks all of it, up to a thousand times as much."""


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


def check_filters(dataset: Any) -> None:  # noqa: ANN401  # h5py has no types
    """Raise SlideCodecUnsupported for filters that HDF5 would load as plug-ins."""
    filters = dataset.id.get_create_plist()
    for number in range(filters.get_nfilters()):
        if filters.get_filter(number)[0] not in FILTERS:
            raise SlideCodecUnsupported(f"HDF5 filter {filters.get_filter(number)[0]} is not decoded here")


def beside(dataset: Any, where: Any) -> Any:  # noqa: ANN401
    """Part of a dataset beside the pixels: an axis, metadata, a text.

    HDF5 unpacks whole chunks, however little of one is asked for. Raises SlideTooLarge for large ones, and
    SlideCodecUnsupported.
    """
    check_filters(dataset)
    if prod(dataset.chunks or (1,)) * dataset.dtype.itemsize > MAX_BESIDE_BYTES:
        raise SlideTooLarge("what stands beside the pixels is larger than any text")
    if dataset.compression and max(_stored_chunks(dataset), default=0) > MAX_PACKED_BYTES:
        raise SlideTooLarge("what stands beside the pixels is larger than any text")
    return dataset[where]


def _stored_chunks(dataset: Any) -> list[int]:  # noqa: ANN401
    """The bytes that each chunk takes in the file."""
    sizes: list[int] = []
    dataset.id.chunk_iter(lambda chunk: sizes.append(chunk.size))
    return sizes
