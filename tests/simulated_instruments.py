"""Simulated files of instruments: pictures made by a formula in the layouts that cameras write.

Nothing here is tissue, and no microscope made it. Each writer is held to the libraries that read its format.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from simulated import Array

DM_TYPES = {"i2": 2, "i4": 3, "u2": 4, "u4": 5, "f4": 6, "f8": 7, "u1": 8, "i1": 9}
DM_DATA_TYPES = {"i2": 1, "f4": 2, "u1": 6, "i4": 7, "i1": 9, "u2": 10, "u4": 11, "f8": 12}
SER_TYPES = {"u1": 1, "u2": 2, "u4": 3, "i1": 4, "i2": 5, "i4": 6, "f4": 7, "f8": 8}


def write_dm(
    path: Path,
    pixels: Array,
    units: tuple[str, ...] = ("nm", "nm", ""),
    nm_per_px: float = 4.6,
    image_tags: Mapping[str, Any] | None = None,
    thumbnail: bool = True,
) -> Path:
    """A simulated DM3 or DM4 file, by the path's suffix: one image or stack (z, y, x), and its thumbnail."""
    version = int(path.suffix[-1])
    picture = _dm_image(pixels, units, nm_per_px, image_tags or {})
    small = _dm_image(np.zeros((8, 8), np.int32), ("", ""), 1.0, {}, data_type=23)
    root = {
        "ImageList": [small, picture] if thumbnail else [picture],
        "Thumbnails": [{"ImageIndex": 0}] if thumbnail else [],
    }
    body = _dm_group(root, version)
    word = ">I" if version == 3 else ">Q"
    path.write_bytes(
        struct.pack(">I", version) + struct.pack(word, len(body)) + struct.pack(">I", 1) + body + bytes(8)
    )
    return path


def _dm_image(
    pixels: Array, units: tuple[str, ...], nm: float, tags: Mapping[str, Any], data_type: int = 0
) -> dict[str, Any]:
    kind = f"{pixels.dtype.kind}{pixels.dtype.itemsize}"
    dimensions = [{"Origin": 0.0, "Scale": nm, "Units": unit} for unit in units[: pixels.ndim]]
    data = {
        "Calibrations": {"Dimension": dimensions},
        "Data": pixels,
        "DataType": data_type or DM_DATA_TYPES[kind],
        "Dimensions": [int(side) for side in pixels.shape[::-1]],
        "PixelDepth": pixels.dtype.itemsize,
    }
    return {"ImageData": data, "ImageTags": tags, "Name": "simulated", "UniqueID": [1, 2, 3, 4]}


def _dm_group(value: Any, version: int) -> bytes:  # noqa: ANN401
    word = ">I" if version == 3 else ">Q"
    entries = value.items() if isinstance(value, Mapping) else [("", each) for each in value]
    body = b"".join(_dm_entry(name, each, version) for name, each in entries)
    return b"\1\0" + struct.pack(word, len(entries)) + body


def _dm_entry(name: str, value: Any, version: int) -> bytes:  # noqa: ANN401
    is_group = isinstance(value, Mapping | list)
    label = name.encode("latin-1")
    body = _dm_group(value, version) if is_group else _dm_value(value, version)
    length = struct.pack(">Q", len(body)) if version == 4 else b""
    return struct.pack(">BH", 20 if is_group else 21, len(label)) + label + length + body


def _dm_value(value: Any, version: int) -> bytes:  # noqa: ANN401
    if isinstance(value, str):
        text = value.encode("utf-16-le")
        kind, stored = [20, 4, len(text) // 2], text
    elif isinstance(value, np.ndarray):
        code = DM_TYPES[f"{value.dtype.kind}{value.dtype.itemsize}"]
        kind, stored = [20, code, value.size], value.astype(value.dtype.newbyteorder("<")).tobytes()
    else:
        is_float = isinstance(value, float)
        kind, stored = [7 if is_float else 5], struct.pack("<d" if is_float else "<I", value)
    words = struct.pack(f">{len(kind) + 1}{'I' if version == 3 else 'Q'}", len(kind), *kind)
    return b"%%%%" + words + stored


def write_mrc(path: Path, pixels: Array, nm_per_px: float, byte_order: str = "<") -> Path:
    """A simulated MRC file; the header is made by mrcfile, its byte order then turned."""
    import mrcfile

    with mrcfile.new(path) as file:
        file.set_data(pixels)
        file.voxel_size = nm_per_px * 10
        file.add_label("SIMULATED SECTION")
    if byte_order == ">":
        _turn_mrc(path, pixels)
    return path


def _turn_mrc(path: Path, pixels: Array) -> None:
    from mrcfile.dtypes import HEADER_DTYPE

    stored = path.read_bytes()
    header = np.frombuffer(stored[:1024], HEADER_DTYPE)
    turned = bytearray(header.astype(HEADER_DTYPE.newbyteorder(">")).tobytes())
    turned[212:216] = b"\x11\x11\0\0"
    path.write_bytes(bytes(turned) + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes())


def write_ser(path: Path, images: list[Array], m_per_px: float, version: int = 0x0220) -> Path:
    """A simulated SER file of 2D images, rows from the bottom up as TIA stores them."""
    offset_kind, offset_bytes = ("q", 8) if version == 0x0220 else ("i", 4)
    dimension = struct.pack("<iddii", len(images), 0.0, 1.0, 0, 6) + b"Number" + struct.pack("<i", 0)
    head = struct.pack("<3H4i", 0x4949, 0x0197, version, 0x4122, 0x4152, len(images), len(images))
    offsets_at = len(head) + offset_bytes + 4 + len(dimension)
    elements = [_ser_element(image, m_per_px) for image in images]
    tag = struct.pack("<ii", 0x4152, 1_318_961_926)
    starts, at = [], offsets_at + 2 * offset_bytes * len(images)
    for element in elements:
        starts.append(at)
        at += len(element) + len(tag)
    ends = [start + len(element) for start, element in zip(starts, elements, strict=True)]
    places = struct.pack(f"<{2 * len(images)}{offset_kind}", *starts, *ends)
    body = b"".join(element + tag for element in elements)
    path.write_bytes(
        head + struct.pack(f"<{offset_kind}", offsets_at) + struct.pack("<i", 1) + dimension + places + body
    )
    return path


def _ser_element(image: Array, m_per_px: float) -> bytes:
    code = SER_TYPES[f"{image.dtype.kind}{image.dtype.itemsize}"]
    calibration = struct.pack("<ddi", 0.0, m_per_px, 0) * 2
    sides = struct.pack("<hii", code, image.shape[1], image.shape[0])
    return calibration + sides + np.flipud(image).astype(image.dtype.newbyteorder("<")).tobytes()


def write_emi(path: Path, says: Mapping[str, str]) -> Path:
    """A simulated EMI file: the XML that TIA keeps between other bytes."""
    rows = "".join(
        f"<Data><Label>{name}</Label><Value>{value}</Value></Data>" for name, value in says.items()
    )
    xml = (
        "<ObjectInfo><ExperimentalConditions><MicroscopeConditions>"
        "<AcceleratingVoltage>120000</AcceleratingVoltage></MicroscopeConditions></ExperimentalConditions>"
        f"<ExperimentalDescription><Root>{rows}</Root></ExperimentalDescription>"
        "<AcquireDate>Tue Oct 18 18:18:46 2011</AcquireDate></ObjectInfo>"
    )
    path.write_bytes(b"JK\0\2" + bytes(60) + xml.encode() + bytes(40))
    return path


def write_ncem(path: Path, pixels: Array, nm_per_px: float, unit: str = "[n_m]", **options: Any) -> Path:  # noqa: ANN401
    """A simulated EMD file of NCEM: one group with `data` and an axis for each dimension."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
        group = file.create_group("data/picture")
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", data=pixels, **options)
        for number, length in enumerate(pixels.shape):
            axis = group.create_dataset(f"dim{number + 1}", data=np.arange(length) * nm_per_px)
            axis.attrs["name"], axis.attrs["units"] = "zyx"[3 - pixels.ndim + number], unit
        file.create_group("user").attrs["name"] = "SIMULATED OPERATOR"
        microscope = file.create_group("microscope")
        microscope.attrs["name"], microscope.attrs["voltage"] = "Simulated TEM", 80_000
    return path


def write_velox(path: Path, frames: Array, m_per_px: float, unit: str = "m", **options: Any) -> Path:  # noqa: ANN401
    """A simulated Velox file; `frames` is (frame, y, x), which Velox stores as (y, x, frame)."""
    import h5py

    says = {
        "BinaryResult": {
            "Detector": "SIM-CAM",
            "PixelSize": {"width": str(m_per_px), "height": str(m_per_px)},
            "PixelUnitX": unit,
            "PixelUnitY": unit,
            "Encoding": {"i": "Signed", "u": "Unsigned", "f": "Float"}[frames.dtype.kind],
        },
        "Detectors": {"Detector-0": {"DetectorName": "SIM-CAM", "DetectorType": "ImagingDetector"}},
        "Instrument": {"InstrumentModel": "Simulated", "InstrumentId": "1"},
        "Optics": {"AccelerationVoltage": "120000", "NominalMagnification": "4000"},
        "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1596041299"}},
        "Scan": {"FrameTime": "0.1"},
        "Core": {"MetadataDefinitionVersion": "7.9"},
    }
    text = np.frombuffer(json.dumps(says).encode().ljust(4000, b"\0"), np.uint8)
    with h5py.File(path, "w") as file:
        group = file.create_group("Data/Image/0123456789abcdef0123456789abcdef")
        group.create_dataset("Data", data=np.moveaxis(frames, 0, 2), **options)
        group.create_dataset("Metadata", data=np.repeat(text[:, None], len(frames), axis=1))
        file.create_dataset("Version", data=[json.dumps({"format": "Velox", "version": "1.0"})])
        file.create_group("Application/Velox")
    return path


def sections(pixels: Array) -> Iterator[Array]:
    """Each section of a stack, or the one picture."""
    yield from pixels if pixels.ndim == 3 else [pixels]
