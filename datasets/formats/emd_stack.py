"""A dataset of an EMD file that holds pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import prod
from typing import Any

import numpy as np

from ultraread.datasets.formats.emd_chunks import filters_of, offsets_within, paste, unpacked_chunk
from ultraread.datasets.formats.pixel_kinds import converted
from ultraread.datasets.formats.raw_planes import BAND_BYTES
from ultraread.datasets.geometry import SizePx
from ultraread.datasets.scale import StatedScale
from ultraread.datasets.slide import Acquisition, Modality, Pixels, TileUnreadable
from ultraread.errors import SlideBomb, SlideTooLarge

MAX_BESIDE_BYTES = 64 * 2**20
MAX_BESIDE_CHUNKS = 10_000
ChunkAt = Callable[[tuple[int, ...]], Pixels | None]
"""The chunk of a dataset at an offset."""


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

    def band(self, section: int, number: int, chunk_at: ChunkAt) -> Pixels:
        """(rows, width) pixels of a band, converted."""
        top = number * self.rows_per_band
        first, y, x = self.axes
        extent = [slice(0, 1)] * self.dataset.ndim
        extent[y], extent[x] = (
            slice(top, min(top + self.rows_per_band, self.size.height)),
            slice(0, self.size.width),
        )
        if first is not None:
            extent[first] = slice(section, section + 1)
        rows = self._read(extent, chunk_at)
        rows = rows if first is None else rows.squeeze(first)
        return converted(rows if y < x else rows.T)

    def _read(self, extent: Sequence[slice], chunk_at: ChunkAt) -> Any:  # noqa: ANN401
        if not self.dataset.chunks:
            return np.asarray(self.dataset[tuple(extent)])
        pixels = np.empty([each.stop - each.start for each in extent], self.dataset.dtype)
        for offset in offsets_within(self.dataset, extent):
            chunk = chunk_at(offset)
            if chunk is not None:
                paste(pixels, extent, chunk, offset)
        return pixels


def beside(dataset: Any, extent: Sequence[int]) -> Any:  # noqa: ANN401  # h5py has no types
    """The first `extent` values on each axis of a dataset beside the pixels: an axis, metadata, a text.

    Raises SlideTooLarge for more bytes than any text has, in a chunk or in all, and SlideCodecUnsupported.
    """
    filters_of(dataset)
    if max(prod(dataset.chunks or (1,)), prod(extent)) * dataset.dtype.itemsize > MAX_BESIDE_BYTES:
        raise SlideTooLarge("what stands beside the pixels is larger than any text")
    within = [slice(0, each) for each in extent]
    if dataset.chunks:
        _check_chunks(dataset, within)
    return dataset[tuple(within)]


def _check_chunks(dataset: Any, within: Sequence[slice]) -> None:  # noqa: ANN401
    """HDF5 unpacks whole chunks: none may unpack to more than it declares."""
    offsets = list(islice(offsets_within(dataset, within), MAX_BESIDE_CHUNKS + 1))
    if len(offsets) > MAX_BESIDE_CHUNKS:
        raise SlideTooLarge("what stands beside the pixels is larger than any text")
    try:
        for offset in offsets:
            if dataset.id.get_chunk_info_by_coord(offset).byte_offset is not None:
                unpacked_chunk(dataset, offset)
    except TileUnreadable as refused:
        raise SlideBomb("what stands beside the pixels is larger than it declares") from refused
