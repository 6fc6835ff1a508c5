"""A slide as OME-TIFF: tiled, each image with its pyramid in SubIFDs, one image a series."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from ultraread.datasets.convert.pyramid import colour_axis, levels_of, stored_kind, tiles_of
from ultraread.datasets.convert.source import TILE_PX, SourceImage, TellRows, pyramid_sizes
from ultraread.datasets.convert.targets import Compression
from ultraread.datasets.formats.tiff_scale import SCALE_NAMESPACE
from ultraread.datasets.own_texts import SOURCE_SHA256
from ultraread.datasets.slide import ImageInfo
from ultraread.errors import FormatCannotHold

OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
SCHEMA = f"{OME} {OME}/ome.xsd"
JPEG_QUALITY = 90
ENCODERS = 2
"""Threads that compress."""
BUFFER_BYTES = 16 * 2**20
"""Pixels that wait for them; tifffile would hold 512 MiB."""
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
    levels = len(pyramid_sizes(image.info.size))
    for level, (size, bands) in enumerate(levels_of(image, tell)):
        head = {"subifds": levels - 1, "description": described}
        place: dict[str, Any] = head if level == 0 else {"subfiletype": 1}
        writer.write(
            (tile for band in bands for tile in tiles_of(band)),
            shape=(size.height, size.width, *colour_axis(image.info)),
            dtype=stored_kind(image.info),
            **_options(image.info, compression),
            **place,
        )


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
        "buffersize": BUFFER_BYTES,
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


def _add_image(root: ElementTree.Element, number: int, image: SourceImage) -> None:
    info = image.info
    element = ElementTree.SubElement(root, "Image", {"ID": f"Image:{number}"})
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
        "Type": OME_TYPES[str(stored_kind(info))],
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
    told = {SOURCE_SHA256: sha256, "source_image": str(image.info.index)}
    if image.scale is None:
        return told
    scale = {
        "nm_per_px_origin": image.scale.origin.value,
        "nm_per_px_tolerance": repr(float(image.scale.tolerance)),
        "nm_per_px_reason": image.scale.reason,
    }
    return told | {key: text for key, text in scale.items() if text}
