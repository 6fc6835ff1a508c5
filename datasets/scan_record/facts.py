"""What the file tells about itself, in the record's words."""

from collections.abc import Sequence

from ultraread.datasets.identity.find import told_of
from ultraread.datasets.identity.found import Identity
from ultraread.datasets.scale import Scale, StatedScale
from ultraread.datasets.scan_record.record import (
    FiledAcquisition,
    FiledFile,
    FiledImage,
    FiledScale,
    FromFile,
)
from ultraread.datasets.slide import ImageInfo, Modality
from ultraread.datasets.slide_digest import SlideDigest


def file_facts(file_format: str, digest: SlideDigest, images: Sequence[FiledImage]) -> FromFile:
    """The part of a record that needs nobody to state it."""
    files = tuple(FiledFile(sha256=file.sha256, bytes=file.bytes) for file in digest.files)
    return FromFile(
        format=file_format,
        sha256=digest.sha256,
        files=files,
        image_count=len(images),
        images=tuple(images),
    )


def filed_image(
    image: ImageInfo,
    modality: Modality,
    identity: Identity,
    scales: Sequence[StatedScale | Scale] = (),
) -> FiledImage:
    """One image, and of its acquisition what identifies nobody; under the policy `keep`, all of it.

    `scales` are those that the file does not state: of a calibration record, an operator.
    """
    made = image.acquisition if identity.keeps_names else told_of(image.acquisition)
    return FiledImage(
        index=image.index,
        width_px=image.size.width,
        height_px=image.size.height,
        levels=len(image.levels),
        bit_depth=image.bit_depth,
        samples_per_px=image.samples_per_px,
        modality=modality,
        scales=tuple(_scale(scale) for scale in (*image.scales, *scales)),
        acquisition=FiledAcquisition(
            microscope=made.microscope or None,
            camera=made.camera or None,
            acquired=made.acquired or None,
            magnification=made.magnification,
            accelerating_kv=made.accelerating_kv,
        ),
    )


def _scale(scale: StatedScale | Scale) -> FiledScale:
    sizes = (scale.nm_per_px,) * 2 if isinstance(scale, Scale) else (scale.x_nm_per_px, scale.y_nm_per_px)
    return FiledScale(
        x_nm_per_px=sizes[0],
        y_nm_per_px=sizes[1],
        origin=scale.origin,
        tolerance=scale.tolerance,
        reason=scale.reason,
    )
