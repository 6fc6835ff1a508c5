"""TIFF, BigTIFF, tiled and pyramidal TIFF, OME-TIFF and SIS-TIFF, read stored tile by stored tile.

tifffile parses the headers and decodes; bytes come by ranges, so threads share one file without a lock.
"""

import logging
from typing import BinaryIO, cast

import numpy as np
import tifffile
from tifffile import COMPRESSION, TiffFile

from ultraread.datasets.formats.limits import is_whole_jpeg
from ultraread.datasets.formats.other_pyramid import described_by_vendor, pictures_of
from ultraread.datasets.formats.pixel_kinds import bit_depth_of
from ultraread.datasets.formats.segment_cache import SegmentCache
from ultraread.datasets.formats.stored_tiles import assemble
from ultraread.datasets.formats.tiff_layout import StoredPlane, check_ifds, check_planes, plane_of, planes_in
from ultraread.datasets.formats.tiff_pixels import JPEG_CODINGS, Transparent, stored_as
from ultraread.datasets.formats.tiff_scale import scales_of_series
from ultraread.datasets.formats.tiff_tags import acquisition_of, format_of, modality_of, tags_of
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.scale import StatedScale
from ultraread.datasets.slide import (
    Acquisition,
    ClosedByWith,
    ImageInfo,
    Modality,
    Pixels,
    SlideInfo,
    TileUnreadable,
)
from ultraread.datasets.stored_file import StoredFile
from ultraread.errors import SlidePixelFormat, SlideTruncated, SlideTypeMismatch, UltraReadError

ALPHA_TILES = 64
"""Stored tiles of the smallest level whose alpha is looked at before a slide is opened."""


class TiffSlide(ClosedByWith):
    """An open TIFF; each plane of each series is one image, each pyramid level one of its levels."""

    def __init__(self, stored: StoredFile) -> None:
        self._stored = stored
        self._stream = stored.stream()
        self._segments = SegmentCache()
        self._file = _open_headers(self._stream)
        try:
            self._images = _planes_by_image_and_level(self._file)
            self.info = described_by_vendor(_describe(self._file, self._images), self._file, stored)
            self._refuse_transparency()
        except UltraReadError:
            self.close()
            raise
        except Exception as failure:  # tifffile raises seven kinds for damaged headers; the remedy is one
            self.close()
            raise SlideTruncated(f"the TIFF header cannot be read ({type(failure).__name__})") from failure

    def read_box(self, image: int, level: int, box: BoxPx) -> Pixels:
        if self._stream.closed:
            raise ValueError("read of a closed slide")
        plane = self._images[image][level]
        shape = (box.height, box.width, 3) if plane.pixels.samples == 3 else (box.height, box.width)
        pixels = np.zeros(shape, plane.pixels.dtype)
        assemble(pixels, box, plane.step, lambda column, row: self._segment(image, level, row, column))
        return cast(Pixels, pixels)

    def close(self) -> None:
        self._file.close()
        self._stream.close()
        self._stored.close()

    def _segment(self, image: int, level: int, row: int, column: int) -> Pixels | None:
        plane = self._images[image][level]
        index = row * plane.columns + column
        return self._segments.get((image, level, index), lambda: self._decode(plane, index))

    def _decode(self, plane: StoredPlane, index: int) -> Pixels | None:
        offset, count = plane.offsets[index], plane.byte_counts[index]
        if count == 0:  # a sparse file: nothing was written there
            return None
        stored = self._stored.read_at(offset, count)
        if len(stored) != count:
            raise TileUnreadable(f"stored tile {index} is cut off")
        if plane.key.compression in JPEG_CODINGS and not is_whole_jpeg(stored):
            raise TileUnreadable(f"stored tile {index}: its JPEG has no end")
        decoded = plane.key.decode(stored, index, jpegtables=plane.jpeg_tables)[0]
        return None if decoded is None else plane.pixels.handed_on(decoded[0], plane.shown(index))

    def _refuse_transparency(self) -> None:
        """Look at the alpha of the smallest level; tiles of larger ones are refused when they are read."""
        for image, levels in enumerate(self._images):
            plane = levels[-1]
            tiles = range(0, len(plane.offsets), max(1, len(plane.offsets) // ALPHA_TILES))
            for index in tiles if plane.pixels.has_alpha else ():
                try:
                    self._segment(image, len(levels) - 1, *divmod(index, plane.columns))
                except Transparent as found:
                    raise SlidePixelFormat("pixels are partly transparent") from found
                except TileUnreadable:
                    continue


def _open_headers(stream: BinaryIO) -> TiffFile:
    """tifffile closes no stream that it was given, and reads headers from it as they are needed.

    What it logs names the file, by the name that it is given, and the files that its OME-XML names: nothing
    of it.
    """
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        check_ifds(stream)
        return TiffFile(stream, name="slide.tif")
    except UltraReadError:
        stream.close()
        raise
    except tifffile.TiffFileError as failure:
        stream.close()
        raise SlideTypeMismatch("the file is no TIFF") from failure
    except Exception as failure:  # struct.error, ValueError and others for cut headers
        stream.close()
        raise SlideTruncated("the TIFF header is cut off") from failure


def _planes_by_image_and_level(file: TiffFile) -> list[list[StoredPlane]]:
    images = [
        [plane_of(level, plane) for level in series.levels if plane < planes_in(level)]
        for _, series in pictures_of(file)
        for plane in range(planes_in(series.levels[0]))
    ]
    if not images:
        raise SlideTypeMismatch("the TIFF file holds no image")
    return images


def _describe(file: TiffFile, images: list[list[StoredPlane]]) -> SlideInfo:
    scales = [
        scale
        for number, series in pictures_of(file)
        for scale in [scales_of_series(file, number)] * planes_in(series.levels[0])
    ]
    for levels in images:
        check_planes(levels, file.filehandle.size)
    stated, acquisition = modality_of(file), acquisition_of(file)
    described = tuple(
        _describe_image(n, levels, scales[n], stated, acquisition) for n, levels in enumerate(images)
    )
    return SlideInfo(format_of(file), described, tags_of(file))


def _describe_image(
    index: int,
    levels: list[StoredPlane],
    scales: tuple[StatedScale, ...],
    stated: Modality | None,
    acquisition: Acquisition,
) -> ImageInfo:
    key, pixels = levels[0].key, levels[0].pixels
    is_whole = levels[0].step == (levels[0].size.width, levels[0].size.height)
    return ImageInfo(
        index=index,
        levels=tuple(plane.size for plane in levels),
        bit_depth=bit_depth_of(pixels.dtype),
        samples_per_px=pixels.samples,
        modality=stated or (Modality.TEM if pixels.samples == 1 else Modality.SEMITHIN_LIGHT),
        modality_is_stated=stated is not None,
        scales=scales,
        stored_as=stored_as(key),
        compression=COMPRESSION(key.compression).name.lower(),
        stored_tile=None if is_whole else SizePx(*levels[0].step),
        acquisition=acquisition,
    )
