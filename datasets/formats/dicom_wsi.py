"""DICOM whole-slide images of one or several instances, through wsidicom; frames come by ranges.

Label, overview and thumbnail instances are left out: they may show a name, and are no image of the specimen.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, cast

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, RLELossless
from wsidicom import WsiDicom
from wsidicom.config import Settings, use_settings
from wsidicom.file.io import WsiDicomReadIO
from wsidicom.file.wsidicom_file_source import WsiDicomFileSource
from wsidicom.geometry import Point
from wsidicom.metadata import ImageType
from wsidicom.paths import as_upath

from ultraread.datasets.formats.dicom_tags import acquisition_of, silent, tags_of
from ultraread.datasets.formats.limits import MAX_STORED_TILE_PX, is_whole_jpeg
from ultraread.datasets.formats.segment_cache import SegmentCache
from ultraread.datasets.formats.stored_tiles import assemble
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.scale import ScaleOrigin, StatedScale
from ultraread.datasets.slide import (
    Acquisition,
    ClosedByWith,
    ImageInfo,
    Modality,
    Pixels,
    SlideFormat,
    SlideInfo,
    TileUnreadable,
)
from ultraread.datasets.slide_address import FileAddress
from ultraread.datasets.stored_file import StoredFile, open_file
from ultraread.errors import DicomInvalid, SlidePyramidInvalid, SlideTooLarge, UltraReadError

NM_PER_MM = 1e6
MAX_TILES = 50_000_000
ENCAPSULATED = "1.2.840.10008.1.2.4."
CODECS = {
    "50": "jpeg", "51": "jpeg", "57": "jpeg", "70": "jpeg", "80": "jpeg_ls", "81": "jpeg_ls",
    "90": "jpeg2000", "91": "jpeg2000", "110": "jpeg_xl", "111": "jpeg_xl", "112": "jpeg_xl",
    "201": "htj2k", "202": "htj2k", "203": "htj2k",
}  # fmt: skip
"""By what follows ENCAPSULATED in the UID of a transfer syntax (DICOM PS3.6, A.1)."""
SETTINGS = Settings(strict_tile_size_check=False, decoded_frame_cache_size=0, encoded_frame_cache_size=0)
"""Levels may have tiles of different sizes; decoded tiles are kept by our own cache alone."""


@dataclass(frozen=True, slots=True)
class _Level:
    """One instance at one focal plane and optical path; `instance` is wsidicom's."""

    instance: Any
    focal_plane: float
    optical_path: str

    @property
    def size(self) -> SizePx:
        return SizePx(self.instance.size.width, self.instance.size.height)

    @property
    def step(self) -> tuple[int, int]:
        return self.instance.tile_size.width, self.instance.tile_size.height

    @property
    def kind(self) -> tuple[Any, ...]:
        """What all levels of a pyramid share."""
        return self.instance.image_data.dtype, self.instance.image_data.samples_per_pixel


class DicomWsiSlide(ClosedByWith):
    """Opened instances of one DICOM slide; each focal plane and optical path of a pyramid is one image."""

    def __init__(self, addresses: Sequence[FileAddress], headers: Sequence[Dataset]) -> None:
        self._cache = SegmentCache()
        self._open = ExitStack()
        self._is_closed = False
        try:
            with silent(), use_settings(SETTINGS):
                source = _source(self._open, addresses)
                slide = WsiDicom(source)
                _refuse_unused(source, slide)
                self._images = _images(slide)
                self.info = _describe(self._images, slide, headers)
        except UltraReadError:
            self.close()
            raise
        except Exception as failure:  # wsidicom has a tree of errors, and pydicom many kinds
            self.close()
            raise DicomInvalid(f"the DICOM instances are no slide ({type(failure).__name__})") from failure

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        if self._is_closed:
            raise ValueError("read of a closed slide")
        held, rgb = self._images[image][level], (3,) * (self.info.images[image].samples_per_px == 3)
        pixels = np.zeros((box.height, box.width, *rgb), held.instance.image_data.dtype)
        across = -(-held.size.width // held.step[0])

        def tile_at(column: int, row: int) -> Pixels | None:
            return self._cache.get((image, level, row * across + column), lambda: _decoded(held, column, row))

        assemble(pixels, box, held.step, tile_at)
        return cast(Pixels, pixels)

    def close(self) -> None:
        self._is_closed = True
        self._open.close()


def _source(opened: ExitStack, addresses: Sequence[FileAddress]) -> WsiDicomFileSource:
    """wsidicom leaves out what it cannot read, without a word: nothing may be left out here."""
    files: list[StoredFile] = []
    for each in addresses:
        files.append(open_file(each.location, each.name, each.blocks))
        opened.callback(files[-1].close)
    streams = [opened.enter_context(file.stream()) for file in files]
    source = WsiDicomFileSource(
        [
            WsiDicomReadIO(stream, as_upath(each.location))
            for stream, each in zip(streams, addresses, strict=True)
        ]
    )
    if len(source.readers) != len(files):
        raise DicomInvalid("an instance of the slide cannot be read")
    if len({reader.uids.slide for reader in source.readers}) > 1:
        raise DicomInvalid("the instances are of several slides")
    return source


def _refuse_unused(source: WsiDicomFileSource, slide: WsiDicom) -> None:
    """Of two instances that claim the same level, wsidicom keeps the last."""
    levels = [level for pyramid in slide.pyramids for level in pyramid.levels]
    used = sum(len(instance.datasets) for level in levels for instance in level.instances.values())
    if used != sum(reader.image_type == ImageType.VOLUME for reader in source.readers):
        raise DicomInvalid("instances claim the same place in the pyramid")


def _decoded(level: _Level, column: int, row: int) -> Pixels:
    stored, pixels = level.instance.image_data.get_encoded_and_decoded_tile(
        Point(column, row), level.focal_plane, level.optical_path
    )
    if compression_of(level.instance.image_data.transfer_syntax) == "jpeg" and not is_whole_jpeg(stored):
        raise TileUnreadable(f"stored tile {column}, {row}: its JPEG has no end")
    wanted = (level.step[1], level.step[0], *(3,) * (level.instance.image_data.samples_per_pixel == 3))
    if pixels.shape != wanted or pixels.dtype != level.instance.image_data.dtype:
        raise TileUnreadable(f"stored tile {column}, {row} is of another size or kind than the header states")
    return cast(Pixels, pixels)


def _images(slide: WsiDicom) -> list[list[_Level]]:
    images = [
        [_Level(level.get_instance(plane, path), plane, path) for level in pyramid.levels]
        for pyramid in slide.pyramids
        for plane, path in product(
            pyramid.base_level.default_instance.focal_planes,
            pyramid.base_level.default_instance.optical_paths,
        )
    ]
    for levels in images:
        _check(levels)
    return images


def _check(levels: Sequence[_Level]) -> None:
    for level in levels:
        _check_tiles(level)
    for larger, smaller in pairwise(levels):
        across, down = larger.size.width / smaller.size.width, larger.size.height / smaller.size.height
        rounding = 2 / smaller.size.width + 2 / smaller.size.height
        if larger.kind != smaller.kind or across < 1 or abs(across / down - 1) > rounding:
            raise SlidePyramidInvalid("a level is not the same picture at a smaller size")


def _check_tiles(level: _Level) -> None:
    (step_x, step_y), size = level.step, level.size
    if level.instance.image_data.samples_per_pixel not in (1, 3):
        raise DicomInvalid("the pixels are neither grey nor colours")
    if min(step_x, step_y, size.width, size.height) < 1:
        raise DicomInvalid("an instance states no image size")
    if step_x * step_y > MAX_STORED_TILE_PX:
        raise SlideTooLarge(f"a stored tile of {step_x} x {step_y} px")
    tiles = -(-size.width // step_x) * -(-size.height // step_y)
    if tiles > MAX_TILES:
        raise SlideTooLarge(f"the header declares {size.width:,} x {size.height:,} px")
    full = [dataset for dataset in level.instance.datasets if dataset.states_tiled_full]
    planes = len(level.instance.focal_planes) * len(level.instance.optical_paths)
    if full and sum(dataset.frame_count for dataset in full) != tiles * planes:
        raise DicomInvalid("an instance has more or fewer frames than its size needs")


def _describe(images: Sequence[Sequence[_Level]], slide: WsiDicom, headers: Sequence[Dataset]) -> SlideInfo:
    acquisition = acquisition_of(headers[0])
    told = tuple(_describe_image(index, levels, acquisition) for index, levels in enumerate(images))
    left_out = (("label", slide.labels), ("overview", slide.overviews), ("thumbnail", _thumbnails(slide)))
    return SlideInfo(
        SlideFormat.DICOM_WSI,
        told,
        tuple({tag: None for header in headers for tag in tags_of(header)}),
        tuple(name for name, found in left_out if found),
    )


def _thumbnails(slide: WsiDicom) -> bool:
    return any(pyramid.thumbnails for pyramid in slide.pyramids)


def _describe_image(index: int, levels: Sequence[_Level], acquisition: Acquisition) -> ImageInfo:
    data = levels[0].instance.image_data
    is_rgb = data.samples_per_pixel == 3
    return ImageInfo(
        index=index,
        levels=tuple(level.size for level in levels),
        bit_depth=8 * data.dtype.itemsize,
        samples_per_px=data.samples_per_pixel,
        modality=Modality.SEMITHIN_LIGHT if is_rgb else Modality.TEM,
        modality_is_stated=False,
        scales=tuple(_scales(levels[0].instance.pixel_spacing)),
        stored_as=data.dtype.name,
        compression=compression_of(data.transfer_syntax),
        stored_tile=SizePx(*levels[0].step),
        acquisition=acquisition,
    )


def compression_of(syntax: UID) -> str:
    """The codec of a transfer syntax in one word, `none` for pixels that lie as they are."""
    if not syntax.is_encapsulated:
        return "none"
    return CODECS.get(str(syntax).removeprefix(ENCAPSULATED), "rle" if syntax == RLELossless else syntax.name)


def _scales(spacing_mm: Any) -> Iterator[StatedScale]:  # noqa: ANN401  # wsidicom's SizeMm, or None
    if spacing_mm is not None and spacing_mm.width > 0 and spacing_mm.height > 0:
        x_nm, y_nm = spacing_mm.width * NM_PER_MM, spacing_mm.height * NM_PER_MM
        yield StatedScale(x_nm, y_nm, ScaleOrigin.INSTRUMENT_TAG)
