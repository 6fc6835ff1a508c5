"""What the file tells about itself, in the record's words."""

from collections.abc import Sequence

from ultraread.datasets.identity.found import Identity
from ultraread.datasets.scan_record.record import (
    FiledAcquisition,
    FiledFile,
    FiledImage,
    FiledScale,
    FromFile,
)
from ultraread.datasets.slide import Acquisition, ImageInfo, Modality
from ultraread.datasets.slide_digest import SlideDigest

SHORTEST_HIDDEN = 2
"""Characters; a shorter value that identifies would be found in every text."""


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


def filed_image(image: ImageInfo, modality: Modality, identity: Identity) -> FiledImage:
    """One image; the instrument's texts are told unless they hold what identifies somebody."""
    return FiledImage(
        index=image.index,
        width_px=image.size.width,
        height_px=image.size.height,
        levels=len(image.levels),
        bit_depth=image.bit_depth,
        samples_per_px=image.samples_per_px,
        modality=modality,
        scales=_scales(image),
        acquisition=_acquisition(image.acquisition, identity),
    )


def _scales(image: ImageInfo) -> tuple[FiledScale, ...]:
    return tuple(
        FiledScale(
            x_nm_per_px=scale.x_nm_per_px,
            y_nm_per_px=scale.y_nm_per_px,
            origin=scale.origin,
            tolerance=scale.tolerance,
            reason=scale.reason,
        )
        for scale in image.scales
    )


def _acquisition(made: Acquisition, identity: Identity) -> FiledAcquisition:
    return FiledAcquisition(
        microscope=_told(made.microscope, identity),
        camera=_told(made.camera, identity),
        acquired=_told(made.acquired, identity),
        magnification=made.magnification,
        accelerating_kv=made.accelerating_kv,
    )


def _told(text: str, identity: Identity) -> str | None:
    """The text, or nothing where it shares something with what identifies somebody."""
    if not text or identity.keeps_names:
        return text or None
    hidden = [item.value.casefold() for item in identity.found if len(item.value) >= SHORTEST_HIDDEN]
    folded = text.casefold()
    return None if any(value in folded or folded in value for value in hidden) else text
