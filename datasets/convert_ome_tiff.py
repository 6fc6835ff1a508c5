"""A slide as OME-TIFF: tiled, each image with its pyramid in SubIFDs, one image a series."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from ultraread.datasets.convert import TILE_PX, SourceImage, TellRows, halved, pyramid_sizes
from ultraread.datasets.convert_targets import Compression
from ultraread.datasets.formats.tiff_scale import SCALE_NAMESPACE
from ultraread.datasets.geometry import SizePx
from ultraread.datasets.slide import ImageInfo
from ultraread.errors import FormatCannotHold

OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
SCHEMA = f"{OME} {OME}/ome.xsd"
JPEG_QUALITY = 90
ENCODERS = 2
"""Threads that compress; each holds a tile."""
OME_TYPES = {"uint8": "uint8", "uint16": "uint16", "float32": "float"}


def write_ome_tiff(
    out: Path, images: Sequence[SourceImage], source_sha256: str, compression: Compression, tell: TellRows
) -> None:
    """Write images as the series of one file. Raises FormatCannotHold for JPEG of anything but 8 bit."""
    for image in images:
        _refuse_unfit(image.info, compression)
    described = ome_xml(images, source_sha256).encode()
    with tifffile.TiffWriter(out, bigtiff=_needs_bigtiff(images)) as writer:
        for number, image in enumerate(images):
            _write_image(writer, image, compression, described if number == 0 else None, tell)


def ome_xml(images: Sequence[SourceImage], source_sha256: str) -> str:
    """The OME-XML of a file with one top-level IFD an image."""
    root = ElementTree.Element(
        "OME",
        {
            "xmlns": OME,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:schemaLocation": SCHEMA,
            "Creator": "UltraRead",
        },
    )
    for number, image in enumerate(images):
        _add_image(root, number, image)
    notes = ElementTree.SubElement(root, "StructuredAnnotations")
    for number, image in enumerate(images):
        _add_annotation(notes, number, image, source_sha256)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False)


def _write_image(
    writer: tifffile.TiffWriter,
    image: SourceImage,
    compression: Compression,
    described: bytes | None,
    tell: TellRows,
) -> None:
    sizes = pyramid_sizes(image.info.size)
    options = _options(image.info, compression)
    with ExitStack() as kept:
        bands: Iterator[Any] = _counted(image.bands(TILE_PX), tell)
        for level, size in enumerate(sizes):
            smaller = kept.enter_context(TemporaryFile()) if level + 1 < len(sizes) else None
            place = (
                {"subifds": len(sizes) - 1, "description": described} if level == 0 else {"subfiletype": 1}
            )
            writer.write(
                _tiles(_spilling(bands, smaller)),
                shape=(size.height, size.width, *_rgb(image.info)),
                dtype=_dtype(image.info),
                **options,
                **place,
            )
            if smaller is not None:
                bands = _spilled(smaller, sizes[level + 1], image.info)


def _tiles(bands: Iterator[Any]) -> Iterator[Any]:
    """Stored tiles of each band, from left to right; tifffile fills up those at the border."""
    for band in bands:
        for left in range(0, band.shape[1], TILE_PX):
            yield np.ascontiguousarray(band[:, left : left + TILE_PX])


def _spilling(bands: Iterator[Any], smaller: IO[bytes] | None) -> Iterator[Any]:
    """Keep each band at half the size in a file, from which the next level is written; then hand it on.

    In that order: a writer asks for nothing after the last tile.
    """
    for band in bands:
        if smaller is not None and (band.shape[0] > 1 or smaller.tell() == 0):
            smaller.write(halved(band).tobytes())
        yield band


def _spilled(file: IO[bytes], size: SizePx, info: ImageInfo) -> Iterator[Any]:
    file.seek(0)
    shape, dtype = (size.width, *_rgb(info)), _dtype(info)
    row_bytes = int(np.prod(shape)) * dtype.itemsize
    for top in range(0, size.height, TILE_PX):
        rows = min(TILE_PX, size.height - top)
        yield np.frombuffer(file.read(rows * row_bytes), dtype).reshape(rows, *shape)


def _counted(bands: Iterator[Any], tell: Callable[[int], None]) -> Iterator[Any]:
    for band in bands:
        tell(band.shape[0])
        yield band


def _options(info: ImageInfo, compression: Compression) -> dict[str, Any]:
    """tifffile's options; the predictor makes lossless compression of micrographs smaller."""
    codec = None if compression is Compression.NONE else compression.value
    predicted = codec is not None and compression.is_lossless
    return {
        "tile": (TILE_PX, TILE_PX),
        "photometric": "rgb" if info.samples_per_px == 3 else "minisblack",
        "compression": codec,
        "compressionargs": {"level": JPEG_QUALITY} if compression is Compression.JPEG else None,
        "predictor": predicted,
        "metadata": None,
        "software": "UltraRead",
        "maxworkers": ENCODERS,
    }


def _refuse_unfit(info: ImageInfo, compression: Compression) -> None:
    if not compression.is_lossless and info.bit_depth != 8:
        what = f"JPEG holds 8-bit pixels, and image {info.index} has {info.bit_depth} bit"
        raise FormatCannotHold(what, "Leave --compression out: deflate holds every kind of pixel.")


def _needs_bigtiff(images: Sequence[SourceImage]) -> bool:
    """By the size without compression, with a third more for the pyramids."""
    pixel_bytes = sum(
        image.info.size.area_px * image.info.samples_per_px * image.info.bit_depth // 8 for image in images
    )
    return pixel_bytes * 4 // 3 > 2**32 - 2**25


def _rgb(info: ImageInfo) -> tuple[int, ...]:
    return (3,) if info.samples_per_px == 3 else ()


def _dtype(info: ImageInfo) -> np.dtype[Any]:
    return np.dtype({8: np.uint8, 16: np.uint16, 32: np.float32}[info.bit_depth])


def _add_image(root: ElementTree.Element, number: int, image: SourceImage) -> None:
    info = image.info
    element = ElementTree.SubElement(root, "Image", {"ID": f"Image:{number}", "Name": f"image {info.index}"})
    pixels = ElementTree.SubElement(element, "Pixels", _pixels_attributes(number, image))
    samples = str(info.samples_per_px)
    ElementTree.SubElement(pixels, "Channel", {"ID": f"Channel:{number}:0", "SamplesPerPixel": samples})
    ElementTree.SubElement(pixels, "TiffData", {"IFD": str(number), "PlaneCount": "1"})
    ElementTree.SubElement(element, "AnnotationRef", {"ID": f"Annotation:{number}"})


def _pixels_attributes(number: int, image: SourceImage) -> dict[str, str]:
    info = image.info
    attributes = {
        "ID": f"Pixels:{number}",
        "DimensionOrder": "XYCZT",
        "Type": OME_TYPES[str(_dtype(info))],
        "SizeX": str(info.size.width),
        "SizeY": str(info.size.height),
        "SizeC": str(info.samples_per_px),
        "SizeZ": "1",
        "SizeT": "1",
        "BigEndian": "false",
        "Interleaved": "true",
    }
    if image.scale is not None:
        for axis, nm in (("X", image.scale.x_nm_per_px), ("Y", image.scale.y_nm_per_px)):
            attributes |= {f"PhysicalSize{axis}": repr(float(nm)), f"PhysicalSize{axis}Unit": "nm"}
    return attributes


def _add_annotation(notes: ElementTree.Element, number: int, image: SourceImage, sha256: str) -> None:
    attributes = {"ID": f"Annotation:{number}", "Namespace": SCALE_NAMESPACE}
    value = ElementTree.SubElement(ElementTree.SubElement(notes, "MapAnnotation", attributes), "Value")
    for key, text in _told(image, sha256).items():
        ElementTree.SubElement(value, "M", {"K": key}).text = text


def _told(image: SourceImage, sha256: str) -> dict[str, str]:
    told = {"source_sha256": sha256, "source_image": str(image.info.index)}
    if image.scale is None:
        return told
    scale = {
        "nm_per_px_origin": image.scale.origin.value,
        "nm_per_px_tolerance": repr(float(image.scale.tolerance)),
        "nm_per_px_reason": image.scale.reason,
    }
    return told | {key: text for key, text in scale.items() if text}
