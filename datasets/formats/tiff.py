"""TIFF, BigTIFF, tiled and pyramidal TIFF and OME-TIFF, read stored tile by stored tile.

tifffile parses the headers and decodes; bytes come by ranges, so threads share one file without a lock.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from types import TracebackType
from typing import BinaryIO, Self, cast

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, TIFF, TiffFile, TiffPage, TiffPageSeries

from ultraread.datasets.formats.limits import MAX_STORED_TILE_PX, is_whole_jpeg
from ultraread.datasets.formats.tiff_scale import scales_of_series
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.scale import StatedScale
from ultraread.datasets.slide import ImageInfo, Modality, Pixels, SlideInfo, TileUnreadable
from ultraread.datasets.stored_file import StoredFile
from ultraread.errors import (
    SlideCodecUnsupported,
    SlideOffsetInvalid,
    SlidePixelFormat,
    SlidePyramidInvalid,
    SlideTooLarge,
    SlideTruncated,
    SlideTypeMismatch,
    UltraReadError,
)

MAX_DECLARED_PER_HELD_BYTE = 10
"""A header that declares more than ten times what the file holds is refused, not read as damage."""
CACHE_BYTES = 32 * 2**20
READABLE_DTYPES = {"uint8": 8, "uint16": 16, "float16": 32, "float32": 32, "float64": 32}
JPEG_CODINGS = (COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY)
READABLE_PHOTOMETRICS = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR)


@dataclass(frozen=True, slots=True)
class _StoredPlane:
    """Where the stored tiles of one plane lie, and the page that says how they are coded."""

    key: TiffPage
    offsets: tuple[int, ...]
    byte_counts: tuple[int, ...]
    jpeg_tables: bytes | None

    @property
    def step(self) -> tuple[int, int]:
        """Width and height of what the file compresses as one."""
        key = self.key
        if key.is_tiled:
            return key.tilewidth, key.tilelength
        return key.imagewidth, min(key.rowsperstrip or key.imagelength, key.imagelength)

    @property
    def size(self) -> SizePx:
        return SizePx(self.key.imagewidth, self.key.imagelength)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """As handed on: native byte order, floats as float32."""
        stored = np.dtype(self.key.dtype)
        return np.dtype(np.float32) if stored.kind == "f" else stored.newbyteorder("=")


class TiffSlide:
    """An open TIFF; each plane of each series is one image, each pyramid level one of its levels."""

    def __init__(self, stored: StoredFile) -> None:
        self._stored = stored
        self._stream = stored.stream()
        self._file = _open_headers(self._stream, stored.name)
        self._segments = _SegmentCache()
        try:
            self._images = _planes_by_image_and_level(self._file)
            self.info = _describe(self._file, self._images)
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
        shape = (box.height, box.width, 3) if plane.key.samplesperpixel == 3 else (box.height, box.width)
        pixels = np.zeros(shape, plane.dtype)
        step_x, step_y = plane.step
        for row in range(box.y // step_y, -(-box.bottom // step_y)):
            for column in range(box.x // step_x, -(-box.right // step_x)):
                segment = self._segment(image, level, row, column)
                if segment is not None:
                    _paste(pixels, segment, box, column * step_x, row * step_y)
        return cast(Pixels, pixels)

    def close(self) -> None:
        self._file.close()
        self._stream.close()
        self._stored.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _segment(self, image: int, level: int, row: int, column: int) -> Pixels | None:
        plane = self._images[image][level]
        index = row * -(-plane.size.width // plane.step[0]) + column
        return self._segments.get((image, level, index), lambda: self._decode(plane, index))

    def _decode(self, plane: _StoredPlane, index: int) -> Pixels | None:
        offset, count = plane.offsets[index], plane.byte_counts[index]
        if count == 0:  # a sparse file: nothing was written there
            return None
        try:
            stored = self._stored.read_at(offset, count)
        except OSError as failure:  # a fault of the disk is that of one tile, too
            raise TileUnreadable(f"stored tile {index}: {failure.strerror}") from failure
        if len(stored) != count:
            raise TileUnreadable(f"stored tile {index} is cut off")
        if plane.key.compression in JPEG_CODINGS and not is_whole_jpeg(stored):
            raise TileUnreadable(f"stored tile {index}: its JPEG has no end")
        try:
            decoded = plane.key.decode(stored, index, jpegtables=plane.jpeg_tables)[0]
        except Exception as failure:  # each codec has an error type of its own
            raise TileUnreadable(f"stored tile {index}: {type(failure).__name__}") from failure
        return None if decoded is None else _as_grey_or_rgb(decoded[0], plane)


class _SegmentCache:
    """Keeps the last decoded stored tiles within CACHE_BYTES; decodes each at most once at a time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int, int], Pixels | None] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()
        self._decoding = [Lock() for _ in range(16)]

    def get(self, key: tuple[int, int, int], decode: Callable[[], Pixels | None]) -> Pixels | None:
        with self._decoding[hash(key) % len(self._decoding)]:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            segment = decode()
            self._keep(key, segment)
            return segment

    def _keep(self, key: tuple[int, int, int], segment: Pixels | None) -> None:
        with self._lock:
            self._kept[key] = segment
            self._bytes += 0 if segment is None else segment.nbytes
            while self._bytes > CACHE_BYTES and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= 0 if dropped is None else dropped.nbytes


def _open_headers(stream: BinaryIO, name: str) -> TiffFile:
    """tifffile closes no stream that it was given, and reads headers from it as they are needed."""
    try:
        return TiffFile(stream, name=name)
    except tifffile.TiffFileError as failure:
        stream.close()
        raise SlideTypeMismatch("the file is no TIFF") from failure
    except Exception as failure:  # struct.error, ValueError and others for cut headers
        stream.close()
        raise SlideTruncated("the TIFF header is cut off") from failure


def _planes_by_image_and_level(file: TiffFile) -> list[list[_StoredPlane]]:
    images = [
        [_plane(level, plane) for level in series.levels if plane < len(level.pages)]
        for series in file.series
        for plane in range(len(series.levels[0].pages))
    ]
    if not images:
        raise SlideTypeMismatch("the TIFF file holds no image")
    return images


def _plane(level: TiffPageSeries, number: int) -> _StoredPlane:
    page = level.pages[number]
    key = page.keyframe if page else None
    if page is None or key is None:
        raise SlideTruncated("a plane that the header declares is missing")
    return _StoredPlane(key, tuple(page.dataoffsets), tuple(page.databytecounts), page.jpegtables)


def _describe(file: TiffFile, images: list[list[_StoredPlane]]) -> SlideInfo:
    scales = [
        scales_of_series(file, number)
        for number, series in enumerate(file.series)
        for _ in range(len(series.levels[0].pages))
    ]
    for levels in images:
        _check(levels, file.filehandle.size)
    described = tuple(_describe_image(n, levels, scales[n]) for n, levels in enumerate(images))
    return SlideInfo("ome_tiff" if file.is_ome else "tiff", described)


def _describe_image(index: int, levels: list[_StoredPlane], scales: tuple[StatedScale, ...]) -> ImageInfo:
    samples = levels[0].key.samplesperpixel
    return ImageInfo(
        index=index,
        levels=tuple(plane.size for plane in levels),
        bit_depth=READABLE_DTYPES[str(levels[0].key.dtype)],
        samples_per_px=samples,
        modality=Modality.TEM if samples == 1 else Modality.SEMITHIN_LIGHT,
        modality_is_stated=False,
        scales=scales,
    )


def _check(levels: list[_StoredPlane], file_bytes: int) -> None:
    for plane in levels:
        _check_pixels(plane.key)
        _check_layout(plane, file_bytes)
    for larger, smaller in pairwise(levels):
        _check_step_of_pyramid(larger, smaller)


def _check_pixels(key: TiffPage) -> None:
    if str(key.dtype) not in READABLE_DTYPES:
        raise SlidePixelFormat(f"pixels are {key.dtype}")
    if key.samplesperpixel not in (1, 3) or (key.samplesperpixel == 3 and key.planarconfig != 1):
        raise SlidePixelFormat(f"{key.samplesperpixel} samples a pixel")
    if key.photometric not in READABLE_PHOTOMETRICS:
        raise SlidePixelFormat(f"photometric interpretation {key.photometric}")
    if key.imagedepth != 1:
        raise SlidePixelFormat("a volume in one page")
    if key.compression not in TIFF.DECOMPRESSORS:
        raise SlideCodecUnsupported(f"TIFF compression {int(key.compression)} is not decoded here")


def _check_layout(plane: _StoredPlane, file_bytes: int) -> None:
    (step_x, step_y), size = plane.step, plane.size
    if step_x < 1 or step_y < 1:
        raise SlideTruncated("the header states no image size")
    if step_x * step_y > MAX_STORED_TILE_PX:
        raise SlideTooLarge(f"a stored tile of {step_x} x {step_y} px")
    expected = -(-size.width // step_x) * -(-size.height // step_y)
    if len(plane.offsets) != expected or len(plane.byte_counts) != expected:
        raise SlideOffsetInvalid(f"{len(plane.offsets)} stored tiles listed, {expected} needed")
    declared = sum(plane.byte_counts)
    if declared and not any(0 < offset < file_bytes for offset in plane.offsets):
        raise SlideTruncated("all pixel data lie beyond the end of the file")
    if declared > MAX_DECLARED_PER_HELD_BYTE * file_bytes:
        raise SlideTooLarge(f"the header declares {declared:,} bytes; the file holds {file_bytes:,}")


def _check_step_of_pyramid(larger: _StoredPlane, smaller: _StoredPlane) -> None:
    across, down = larger.size.width / smaller.size.width, larger.size.height / smaller.size.height
    rounding = 2 / smaller.size.width + 2 / smaller.size.height
    same_kind = larger.dtype == smaller.dtype and larger.key.samplesperpixel == smaller.key.samplesperpixel
    if not same_kind or across < 1 or abs(across / down - 1) > rounding:
        raise SlidePyramidInvalid("a level is not the same picture at a smaller size")


def _as_grey_or_rgb(segment: np.ndarray, plane: _StoredPlane) -> Pixels:
    pixels = segment[..., 0] if plane.key.samplesperpixel == 1 else segment
    pixels = pixels.astype(plane.dtype, copy=False)
    if plane.key.photometric == PHOTOMETRIC.MINISWHITE and plane.dtype.kind == "u":
        pixels = np.bitwise_not(pixels)  # of unsigned values: maximum minus value
    return cast(Pixels, pixels)


def _paste(pixels: np.ndarray, segment: Pixels, box: BoxPx, left: int, top: int) -> None:
    x0, y0 = max(box.x, left), max(box.y, top)
    x1, y1 = min(box.right, left + segment.shape[1]), min(box.bottom, top + segment.shape[0])
    if x1 > x0 and y1 > y0:
        source = segment[y0 - top : y1 - top, x0 - left : x1 - left]
        pixels[y0 - box.y : y1 - box.y, x0 - box.x : x1 - box.x] = source
