"""A slide as DICOM whole-slide image, without loss: a folder with one instance a level.

Frames are JPEG-LS for grey, faster than JPEG 2000 at the same size, and reversible JPEG 2000 for colours.
pydicom writes the header, and frames follow it one by one: wsidicom's own writer holds every frame that waits
for an encoder, so that its memory grows with the slide.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copyfileobj
from struct import pack
from tempfile import TemporaryFile
from typing import IO, Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, VLWholeSlideMicroscopyImageStorage
from pydicom.valuerep import DSfloat

from ultraread.datasets.convert.pyramid import levels_of, tiles_of
from ultraread.datasets.convert.source import TILE_PX, SourceImage, TellRows
from ultraread.datasets.geometry import SizePx
from ultraread.datasets.own_texts import uids_of
from ultraread.datasets.scale import StatedScale
from ultraread.datasets.slide import ImageInfo
from ultraread.errors import FormatCannotHold, RequestInvalid, ScaleMissing

NM_PER_MM = 1e6
ENCODERS = 2
LARGEST_FRAME_TIMES = 2
"""Room for a frame of JPEG-LS, in its pixels' bytes: noise becomes longer, not shorter."""
PIXEL_DATA = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
"""Tag, kind and undefined length."""
ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
SECTION_MM = 0.0001
"""Thickness that DICOM demands, of which slides say nothing: 100 nm."""


def write_dicom_wsi(
    out: Path, images: list[SourceImage], told: str, tell: TellRows, shows_names: bool = False
) -> None:
    """Write one image as a pyramid of instances into the folder `out`, which is made.

    `told` says where scale and pixels are from; `shows_names` that burnt-in text was left as it is.
    Raises RequestInvalid for several images, FormatCannotHold for floats and deep colours, and ScaleMissing,
    because a DICOM slide must state its pixel spacing.
    """
    image = _the_only(images)
    scale = _refuse_unfit(image)
    uids = _uids(told)
    common = _described(told, uids)
    common.BurnedInAnnotation = "YES" if shows_names else "NO"
    out.mkdir()
    for level, (size, bands) in enumerate(levels_of(image, tell)):
        with TemporaryFile() as frames:
            lengths = _write_frames(frames, bands, _encoder(image.info))
            times = image.info.size.width / size.width, image.info.size.height / size.height
            instance = _instance(common, image.info, size, _spacing(scale, *times), level, lengths)
            instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = uids()
            _write_instance(out / f"{level}.dcm", instance, frames, lengths)


def _the_only(images: list[SourceImage]) -> SourceImage:
    if len(images) != 1:
        what = f"a DICOM slide is one image; this one has {len(images)}"
        raise RequestInvalid(what, "Choose with --image N.")
    return images[0]


def _refuse_unfit(image: SourceImage) -> StatedScale:
    info = image.info
    if info.bit_depth == 32 or (info.samples_per_px == 3 and info.bit_depth != 8):
        raise FormatCannotHold(f"DICOM slides hold no {info.bit_depth}-bit pixels of this kind")
    if image.scale is None:
        raise ScaleMissing("a DICOM slide states its pixel size, and this slide has none")
    return image.scale


def _uids(told: str) -> Callable[[], UID]:
    uids = uids_of(told)
    return lambda: UID(next(uids))


def _encoder(info: ImageInfo) -> Callable[[Any], bytes]:
    """Encodes a tile, filled up with zeros beyond the image."""

    def encode(tile: Any) -> bytes:  # noqa: ANN401  # (rows, columns) or (rows, columns, 3)
        rgb = [(0, 0)] * (tile.ndim - 2)
        whole = np.pad(tile, [(0, TILE_PX - tile.shape[0]), (0, TILE_PX - tile.shape[1]), *rgb])
        if info.samples_per_px == 1:
            return bytes(imagecodecs.jpegls_encode(whole, out=LARGEST_FRAME_TIMES * whole.nbytes))
        return bytes(imagecodecs.jpeg2k_encode(whole, level=0, reversible=True, codecformat="j2k"))

    return encode


def _write_frames(frames: IO[bytes], bands: Iterator[Any], encode: Callable[[Any], bytes]) -> list[int]:
    """Write the items of all frames; return how many bytes each frame has, an even number."""
    lengths = []
    with ThreadPoolExecutor(ENCODERS) as pool:
        for band in bands:
            for frame in pool.map(encode, tiles_of(band)):
                even = frame + b"\0" * (len(frame) % 2)
                frames.write(ITEM + pack("<I", len(even)) + even)
                lengths.append(len(even))
    return lengths


def _write_instance(path: Path, instance: Dataset, frames: IO[bytes], lengths: list[int]) -> None:
    """Header with the table of offsets, an empty basic table, the frames, and the end."""
    starts = np.concatenate([[0], np.cumsum(np.asarray(lengths, np.uint64) + np.uint64(8))[:-1]])
    instance.ExtendedOffsetTable = starts.astype("<u8").tobytes()
    instance.ExtendedOffsetTableLengths = np.asarray(lengths, "<u8").tobytes()
    with path.open("wb") as file:
        instance.save_as(file, enforce_file_format=True)
        file.write(PIXEL_DATA + ITEM + pack("<I", 0))
        frames.seek(0)
        copyfileobj(frames, file)
        file.write(END)


def _instance(
    common: Dataset, info: ImageInfo, size: SizePx, spacing: Dataset, level: int, lengths: list[int]
) -> Dataset:
    instance = Dataset()
    instance.update(common)
    kind = (
        ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        if level == 0
        else ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    )
    instance.ImageType, instance.InstanceNumber = kind, level + 1
    instance.TotalPixelMatrixColumns, instance.TotalPixelMatrixRows = size.width, size.height
    instance.Rows = instance.Columns = TILE_PX
    instance.NumberOfFrames = len(lengths)
    y_mm, x_mm = map(float, spacing.PixelSpacing)
    instance.ImagedVolumeWidth, instance.ImagedVolumeHeight = size.width * x_mm, size.height * y_mm
    instance.ImagedVolumeDepth = SECTION_MM * 1000
    shared, frame_kind = Dataset(), Dataset()
    frame_kind.FrameType = kind
    shared.PixelMeasuresSequence = [spacing]
    shared.WholeSlideMicroscopyImageFrameTypeSequence = [frame_kind]
    instance.SharedFunctionalGroupsSequence = [shared]
    _describe_pixels(instance, info)
    return instance


def _describe_pixels(instance: Dataset, info: ImageInfo) -> None:
    is_rgb = info.samples_per_px == 3
    instance.file_meta = FileMetaDataset()
    instance.file_meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    instance.file_meta.TransferSyntaxUID = JPEG2000Lossless if is_rgb else JPEGLSLossless
    instance.SamplesPerPixel = info.samples_per_px
    instance.PhotometricInterpretation = "YBR_RCT" if is_rgb else "MONOCHROME2"
    instance.BitsAllocated = instance.BitsStored = info.bit_depth
    instance.HighBit, instance.PixelRepresentation = info.bit_depth - 1, 0
    if is_rgb:
        instance.PlanarConfiguration = 0


def _spacing(scale: StatedScale, times_x: float, times_y: float) -> Dataset:
    """Of a level whose pixels are so many times as wide and high; DICOM writes rows first."""
    measures = Dataset()
    sizes = scale.y_nm_per_px * times_y / NM_PER_MM, scale.x_nm_per_px * times_x / NM_PER_MM
    measures.PixelSpacing = [DSfloat(each, auto_format=True) for each in sizes]
    measures.SliceThickness = DSfloat(SECTION_MM, auto_format=True)
    return measures


def _described(told: str, uids: Callable[[], UID]) -> Dataset:
    """Patient, study and specimen as DICOM demands them: there, and empty."""
    dataset, path = Dataset(), Dataset()
    dataset.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, name, uids())
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"):
        setattr(dataset, name, "")
    for name in ("StudyID", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"):
        setattr(dataset, name, "")
    path.OpticalPathIdentifier = "1"
    dataset.OpticalPathSequence = [path]
    dataset.Modality, dataset.SeriesNumber, dataset.Manufacturer = "SM", 1, ""
    dataset.SoftwareVersions = "UltraRead"
    dataset.DimensionOrganizationType = "TILED_FULL"
    dataset.TotalPixelMatrixFocalPlanes, dataset.NumberOfOpticalPaths = 1, 1
    dataset.DerivationDescription = told
    dataset.SpecimenLabelInImage, dataset.LossyImageCompression = "NO", "00"
    dataset.FocusMethod, dataset.ExtendedDepthOfField, dataset.VolumetricProperties = "AUTO", "NO", "VOLUME"
    return dataset
