"""Simulated OME-Zarr, DICOM and Leica slides: made by a formula, written by the formats' own libraries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)
from simulated import halved

Array = NDArray[Any]
MARKED_NAME = "MARKED^PATIENT"
NM_PER_MM = 1e6
RGB_CHANNELS = {"channels": [{"color": "FF0000"}, {"color": "00FF00"}, {"color": "0000FF"}]}


def write_ome_zarr(
    folder: Path,
    pixels: Array,
    axes: str = "yx",
    version: str = "0.4",
    levels: int = 1,
    scale: Sequence[float] | None = None,
    unit: str | None = "nanometer",
    omero: dict[str, Any] | None = None,
    **options: Any,  # noqa: ANN401
) -> Path:
    """A simulated OME-Zarr, 0.4 on zarr v2 or 0.5 on zarr v3; `options` are those of zarr's create_array."""
    group = zarr.open_group(folder, mode="w", zarr_format=2 if version == "0.4" else 3)
    chunks = (*(1,) * (len(axes) - 2), 64, 64)
    datasets = []
    for level in range(levels):
        group.create_array(str(level), data=pixels, **{"chunks": chunks, **options})
        sizes = [
            each * (2**level if axis in "yx" else 1)
            for each, axis in zip(scale or [1.0] * len(axes), axes, strict=True)
        ]
        step = {"type": "scale", "scale": sizes}
        datasets.append({"path": str(level), **({"coordinateTransformations": [step]} if scale else {})})
        pixels = halved(pixels) if pixels.ndim == 2 else pixels[..., ::2, ::2]
    told = [
        {"name": axis, **({"type": "space", "unit": unit} if unit and axis in "zyx" else {})} for axis in axes
    ]
    ome: dict[str, Any] = {"multiscales": [{"axes": told, "datasets": datasets, "name": MARKED_NAME}]}
    if omero:
        ome["omero"] = omero
    group.attrs.update(ome if version == "0.4" else {"ome": {"version": version, **ome}})
    return folder


def write_dicom_slide(
    folder: Path,
    pixels: Array,
    levels: int = 2,
    nm_per_px: float = 4.6,
    tile_px: int = 64,
    flavour: str = "VOLUME",
    jpeg: bool = False,
    **changes: Any,  # noqa: ANN401
) -> Path:
    """A simulated DICOM slide, one instance a level; `changes` are data elements of every instance."""
    folder.mkdir(exist_ok=True)
    uids = {
        name: UID(f"2.25.{number}") for number, name in enumerate(("study", "series", "frame"), start=1000)
    }
    for level in range(levels):
        instance = _instance(pixels, nm_per_px * 2**level, tile_px, flavour, level, uids, jpeg)
        for name, value in changes.items():
            setattr(instance, name, value)
        instance.save_as(folder / f"{flavour.lower()}-{level}.dcm", enforce_file_format=True)
        pixels = halved(pixels)
    return folder


def write_secondary_capture(path: Path, pixels: Array, **changes: Any) -> Path:  # noqa: ANN401
    """A simulated micrograph that was captured as a DICOM object of its own."""
    captured = _dataset(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
    _describe_pixels(captured, pixels)
    captured.Rows, captured.Columns = pixels.shape[:2]
    captured.PixelData = pixels.tobytes()
    for name, value in changes.items():
        setattr(captured, name, value)
    captured.save_as(path, enforce_file_format=True)
    return path


def write_leica(path: Path, pixels: Array, um_per_px: float = 0.25) -> Path:
    """A simulated Leica SCN file: an overview of the whole slide, then the specimen in two levels."""
    height, width = pixels.shape[:2]
    small = halved(halved(pixels))
    nm_x, nm_y = int(width * um_per_px * 1000), int(height * um_per_px * 1000)
    told = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        '<collection name="MARKED" sizeX="26564529" sizeY="76734000">'
        f"{_leica_image('26564529', '76734000', '0', small.shape, [0])}"
        f"{_leica_image(str(nm_x), str(nm_y), '1000', pixels.shape, [1, 2])}"
        "</collection></scn>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        options: dict[str, Any] = {
            "photometric": "rgb",
            "tile": (64, 64),
            "metadata": None,
            "software": False,
        }
        writer.write(small, description=told, **options)
        writer.write(pixels, **options)
        writer.write(small, **options)
    return path


def _leica_image(size_x: str, size_y: str, offset: str, shape: Sequence[int], ifds: Sequence[int]) -> str:
    dimensions = "".join(
        f'<dimension sizeX="{shape[1] // 4**r}" sizeY="{shape[0] // 4**r}" r="{r}" ifd="{ifd}"/>'
        for r, ifd in enumerate(ifds)
    )
    return (
        f'<image name="image"><creationDate>2026-11-24</creationDate><device model="SCN400" version="1"/>'
        f'<pixels sizeX="{shape[1]}" sizeY="{shape[0]}">{dimensions}</pixels>'
        f'<view sizeX="{size_x}" sizeY="{size_y}" offsetX="{offset}" offsetY="{offset}"/>'
        "<scanSettings><objectiveSettings><objective>40</objective></objectiveSettings><illuminationSettings>"
        "<numericalAperture>0.65</numericalAperture><illuminationSource>brightfield</illuminationSource>"
        "</illuminationSettings></scanSettings></image>"
    )


def _instance(
    pixels: Array, nm_per_px: float, tile_px: int, flavour: str, level: int, uids: dict[str, UID], jpeg: bool
) -> Dataset:
    instance = _dataset(
        VLWholeSlideMicroscopyImageStorage, JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian
    )
    _describe_pixels(instance, pixels)
    kind = [
        "ORIGINAL" if level == 0 else "DERIVED",
        "PRIMARY",
        flavour,
        "NONE" if level == 0 else "RESAMPLED",
    ]
    instance.ImageType = kind
    instance.StudyInstanceUID, instance.SeriesInstanceUID = uids["study"], uids["series"]
    instance.FrameOfReferenceUID = uids["frame"]
    instance.TotalPixelMatrixRows, instance.TotalPixelMatrixColumns = pixels.shape[:2]
    instance.Rows = instance.Columns = tile_px
    instance.DimensionOrganizationType = "TILED_FULL"
    instance.SharedFunctionalGroupsSequence = [_spacing(nm_per_px)]
    height_px, width_px = pixels.shape[:2]
    instance.ImagedVolumeWidth = width_px * nm_per_px / NM_PER_MM
    instance.ImagedVolumeHeight = height_px * nm_per_px / NM_PER_MM
    instance.OpticalPathSequence = [_optical_path()]
    instance.Manufacturer, instance.ManufacturerModelName = "Simulated", "Scanner 1"
    frames = list(_frames(pixels, tile_px))
    instance.NumberOfFrames = len(frames)
    instance.PixelData = (
        encapsulate([_jpeg(frame) for frame in frames]) if jpeg else b"".join(map(_bytes, frames))
    )
    if jpeg:
        instance["PixelData"].is_undefined_length = True
    return instance


def _dataset(kind: UID, syntax: UID) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = kind
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = MARKED_NAME, "MARKED-ID", "MARKED-ACC"
    dataset.AcquisitionDateTime = "20261124093000"
    return dataset


def _describe_pixels(dataset: Dataset, pixels: Array) -> None:
    is_rgb = pixels.ndim == 3
    bits = 8 * pixels.dtype.itemsize
    dataset.SamplesPerPixel = 3 if is_rgb else 1
    dataset.PhotometricInterpretation = "RGB" if is_rgb else "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    if is_rgb:
        dataset.PlanarConfiguration = 0


def _spacing(nm_per_px: float) -> Dataset:
    measures, group = Dataset(), Dataset()
    measures.PixelSpacing = [nm_per_px / NM_PER_MM] * 2
    measures.SliceThickness = 0.0001
    group.PixelMeasuresSequence = [measures]
    return group


def _optical_path() -> Dataset:
    path = Dataset()
    path.OpticalPathIdentifier, path.ObjectiveLensPower = "1", 40
    return path


def _frames(pixels: Array, tile_px: int) -> Any:  # noqa: ANN401
    height, width = pixels.shape[:2]
    for top in range(0, height, tile_px):
        for left in range(0, width, tile_px):
            tile = np.zeros((tile_px, tile_px, *pixels.shape[2:]), pixels.dtype)
            part = pixels[top : top + tile_px, left : left + tile_px]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def _bytes(frame: Array) -> bytes:
    return frame.tobytes()


def _jpeg(frame: Array) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpeg8_encode(frame, level=95, colorspace="GRAYSCALE"))
