"""A slide as DICOM whole-slide image: lossless JPEG 2000 by wsidicom, a pyramid of instances in a folder."""

import uuid
from collections.abc import Callable, Iterable
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEG2000Lossless, VLWholeSlideMicroscopyImageStorage
from wsidicom import WsiDicom
from wsidicom.codec import Encoder, Jpeg2kSettings
from wsidicom.codec.settings import Channels
from wsidicom.geometry import Point, Size, SizeMm
from wsidicom.instance import ImageData, WsiDataset, WsiInstance
from wsidicom.metadata import ImageCoordinateSystem, ImageType, LossyCompression
from wsidicom.source import Source

from ultraread.datasets.convert import TILE_PX, SourceImage, TellRows
from ultraread.datasets.formats.dicom_tags import silent
from ultraread.datasets.geometry import BoxPx
from ultraread.errors import FormatCannotHold, RequestInvalid, ScaleMissing

NM_PER_MM = 1e6
WRITERS = 2
"""Threads that encode; each holds a tile or two."""


def write_dicom_wsi(out: Path, images: list[SourceImage], told: str, tell: TellRows) -> None:
    """Write one image as a pyramid of instances into the folder `out`, which is made.

    `told` says where scale and pixels are from. Raises RequestInvalid for several images, FormatCannotHold
    for floats and deep colours, ScaleMissing, because a DICOM slide must state its pixel spacing.
    """
    image = _the_only(images)
    _refuse_unfit(image)
    with silent():
        source = _OneImage(image, told, tell)
        written = WsiDicom(source).save(
            out,
            uid_generator=_uids(told),
            workers=WRITERS,
            offset_table="eot",
            add_missing_levels=True,
            transcoding=_settings(image),
        )
        for number, file in enumerate(sorted(written, key=lambda file: -Path(str(file)).stat().st_size)):
            Path(str(file)).rename(out / f"{number}.dcm")


def _the_only(images: list[SourceImage]) -> SourceImage:
    if len(images) != 1:
        raise RequestInvalid(
            f"a DICOM slide is one image; this one has {len(images)}", "Choose with --image N."
        )
    return images[0]


def _refuse_unfit(image: SourceImage) -> None:
    info = image.info
    if info.bit_depth == 32 or (info.samples_per_px == 3 and info.bit_depth != 8):
        raise FormatCannotHold(f"DICOM slides hold no {info.bit_depth}-bit pixels of this kind")
    if image.scale is None:
        raise ScaleMissing("a DICOM slide states its pixel size, and this slide has none")


def _settings(image: SourceImage) -> Jpeg2kSettings:
    channels = Channels.YBR if image.info.samples_per_px == 3 else Channels.GRAYSCALE
    return Jpeg2kSettings(levels=0, bits=image.info.bit_depth, channels=channels)


def _uids(told: str) -> Callable[[], UID]:
    """UIDs of ISO/IEC 9834-8 (root 2.25) that follow from what is written: the same slide, the same bytes."""
    numbers = count()

    def next_uid() -> UID:
        digest = sha256(f"{told} {next(numbers)}".encode()).digest()
        return UID(f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}")

    return next_uid


class _Pixels(ImageData):  # type: ignore[misc]  # wsidicom is published without types
    """An image of a slide as wsidicom asks for it: tile by tile, none kept."""

    def __init__(self, image: SourceImage, tell: TellRows) -> None:
        super().__init__(Encoder.create_for_settings(_settings(image)))
        self._image = image
        self._tell = tell

    @property
    def transfer_syntax(self) -> UID:
        return JPEG2000Lossless

    @property
    def image_size(self) -> Size:
        return Size(*self._size)

    @property
    def tile_size(self) -> Size:
        return Size(TILE_PX, TILE_PX)

    @property
    def pixel_spacing(self) -> SizeMm:
        scale = self._image.scale
        if scale is None:
            raise ScaleMissing("a DICOM slide states its pixel size")
        return SizeMm(scale.x_nm_per_px / NM_PER_MM, scale.y_nm_per_px / NM_PER_MM)

    @property
    def imaged_size(self) -> None:
        return None

    @property
    def samples_per_pixel(self) -> int:
        return self._image.info.samples_per_px

    @property
    def photometric_interpretation(self) -> str:
        return "YBR_RCT" if self.samples_per_pixel == 3 else "MONOCHROME2"

    @property
    def bits(self) -> int:
        return self._image.info.bit_depth

    @property
    def image_coordinate_system(self) -> ImageCoordinateSystem | None:
        return None

    @property
    def thread_safe(self) -> bool:
        return True

    @property
    def lossy_compression(self) -> list[LossyCompression] | None:
        return None

    @property
    def transcoder(self) -> Encoder:
        return self.encoder

    def get_decoded_tile(self, tile_point: Point, z: float, path: str, cache: bool = True) -> Any:  # noqa: ANN401
        """(TILE_PX, TILE_PX) pixels, beyond the image filled with zeros."""
        left, top = tile_point.x * TILE_PX, tile_point.y * TILE_PX
        width, height = min(TILE_PX, self._size[0] - left), min(TILE_PX, self._size[1] - top)
        pixels = self._image.read(BoxPx(left, top, width, height))
        if left + width == self._size[0]:
            self._tell(height)
        rgb = [(0, 0)] * (pixels.ndim - 2)
        return np.pad(pixels, [(0, TILE_PX - height), (0, TILE_PX - width), *rgb])

    def get_encoded_tile(self, tile: Point, z: float, path: str) -> bytes:
        return bytes(self.encoder.encode(self.get_decoded_tile(tile, z, path)))

    @property
    def _size(self) -> tuple[int, int]:
        return self._image.info.size.width, self._image.info.size.height


class _OneImage(Source):  # type: ignore[misc]  # wsidicom is published without types
    """The one level that is converted; wsidicom makes the smaller ones of it."""

    def __init__(self, image: SourceImage, told: str, tell: TellRows) -> None:
        super().__init__()
        pixels = _Pixels(image, tell)
        self._instance = WsiInstance.create_instance(pixels, _described(told), ImageType.VOLUME, 0)

    @property
    def base_dataset(self) -> WsiDataset:
        return self._instance.dataset

    @property
    def level_instances(self) -> Iterable[WsiInstance]:
        return [self._instance]

    @property
    def label_instances(self) -> Iterable[WsiInstance]:
        return []

    @property
    def overview_instances(self) -> Iterable[WsiInstance]:
        return []

    @property
    def thumbnail_instances(self) -> Iterable[WsiInstance]:
        return []

    @property
    def annotation_instances(self) -> Iterable[Any]:
        return []

    def close(self) -> None:
        """The slide belongs to whoever opened it."""


def _described(told: str) -> Dataset:
    """Patient, study and specimen as DICOM demands them: there, and empty."""
    uid = _uids(f"described {told}")
    dataset = Dataset()
    dataset.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, name, uid())
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"):
        setattr(dataset, name, "")
    for name in ("StudyID", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"):
        setattr(dataset, name, "")
    dataset.Modality = "SM"
    dataset.SeriesNumber = 1
    dataset.Manufacturer = ""
    dataset.SoftwareVersions = "UltraRead"
    dataset.DerivationDescription = told
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Only pixels, pixel size and digest were copied"
    dataset.BurnedInAnnotation = "NO"
    dataset.SpecimenLabelInImage = "NO"
    dataset.VolumetricProperties = "VOLUME"
    return dataset
