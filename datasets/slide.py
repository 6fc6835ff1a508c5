"""What an opened slide is: images with size, levels, pixel kind, modality and the scales that were found."""

from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.scale import StatedScale

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
"""(height, width) grey or (height, width, 3) RGB, as stored."""


class Modality(StrEnum):
    """How an image was made."""

    TEM = "tem"
    SEM = "sem"
    STEM = "stem"
    SEMITHIN_LIGHT = "semithin_light"


class SlideFormat(StrEnum):
    """What a slide was opened as."""

    TIFF = "tiff"
    OME_TIFF = "ome_tiff"
    SIS_TIFF = "sis_tiff"
    SVS = "svs"
    OTHER_PYRAMID = "other_pyramid"
    PNG = "png"
    JPEG = "jpeg"
    DM3 = "dm3"
    DM4 = "dm4"
    MRC = "mrc"
    EMD_NCEM = "emd_ncem"
    EMD_VELOX = "emd_velox"
    SER = "ser"
    OME_ZARR = "ome_zarr"
    DICOM_WSI = "dicom_wsi"
    FIELDS = "fields"
    """A folder of fields."""


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How the instrument says that it made an image; empty where it says nothing.

    `acquired` is the instrument's own text of the time. Microscope, camera and magnification choose the
    calibration record.
    """

    microscope: str = ""
    camera: str = ""
    magnification: float | None = None
    accelerating_kv: float | None = None
    acquired: str = ""


@dataclass(frozen=True, slots=True)
class Tag:
    """A text, date or number that a file carries about its image, under the format's own name for it.

    Any value may identify a patient or an operator: only `datasets/identity` reads them.
    """

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One pixel plane. `levels` starts with the full size; `samples_per_px` is 1 (grey) or 3 (RGB).

    `bit_depth` is that of what `read_box` returns: 8, 16, or 32 for floats. `stored_as` is what the file
    holds, in numpy's words: integers that fit neither 8 nor 16 unsigned bits are handed on as float32.
    """

    index: int
    levels: tuple[SizePx, ...]
    bit_depth: int
    samples_per_px: int
    modality: Modality
    modality_is_stated: bool
    scales: tuple[StatedScale, ...]
    stored_as: str = ""
    compression: str = "none"
    stored_tile: SizePx | None = None
    acquisition: Acquisition = Acquisition()

    @property
    def size(self) -> SizePx:
        return self.levels[0]


@dataclass(frozen=True, slots=True)
class SlideInfo:
    """What a slide holds; `format` is one of `SlideFormat`; `tags` are of all its files and images.

    `left_out` names pictures of the files that are none of the specimen: label, overview, thumbnail.
    """

    format: str
    images: tuple[ImageInfo, ...]
    tags: tuple[Tag, ...] = ()
    left_out: tuple[str, ...] = ()


class Slide(Protocol):
    """An opened slide: a resource, closed by `with`. It owns the files that it was made from."""

    @property
    def info(self) -> SlideInfo: ...

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        """Return the pixels of a box of that level; the box lies inside it. Safe to call from threads.

        Raises TileUnreadable where stored bytes cannot be decoded.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ClosedByWith:
    """The part of a Slide that is the same for all: `with` closes it."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TileUnreadable(Exception):
    """Stored pixels cannot be decoded: the tile is named and counted; it does not end a read."""
