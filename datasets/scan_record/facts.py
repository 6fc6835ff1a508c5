"""What the file tells about itself, in the record's words."""

from collections.abc import Callable, Sequence

from ultraread.datasets.identity.found import Identity
from ultraread.datasets.scale import Scale, StatedScale
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


def filed_image(
    image: ImageInfo,
    modality: Modality,
    identity: Identity | None,
    scales: Sequence[StatedScale | Scale] = (),
) -> FiledImage:
    """One image, with the instrument's texts but those that share something with what identifies somebody.

    `identity` is as it was found in the file: what comes from the store knows no values. Without it, no text
    is told; under the policy `keep`, every one. `scales` are those that the file does not state, of a
    burnt-in bar, a calibration record, an operator.
    """
    return FiledImage(
        index=image.index,
        width_px=image.size.width,
        height_px=image.size.height,
        levels=len(image.levels),
        bit_depth=image.bit_depth,
        samples_per_px=image.samples_per_px,
        modality=modality,
        scales=tuple(_scale(scale) for scale in (*image.scales, *scales)),
        acquisition=_acquisition(image.acquisition, _telling(identity)),
    )


def _telling(identity: Identity | None) -> Callable[[str], bool]:
    """Which texts of the file may be told."""
    if identity is None:
        return lambda text: False
    values = [item.value.casefold() for item in identity.found if len(item.value) >= SHORTEST_HIDDEN]
    hidden = [] if identity.keeps_names else values

    def tells(text: str) -> bool:
        folded = text.casefold()
        return not any(value in folded or folded in value for value in hidden)

    return tells


def _scale(scale: StatedScale | Scale) -> FiledScale:
    sizes = (scale.nm_per_px,) * 2 if isinstance(scale, Scale) else (scale.x_nm_per_px, scale.y_nm_per_px)
    return FiledScale(
        x_nm_per_px=sizes[0],
        y_nm_per_px=sizes[1],
        origin=scale.origin,
        tolerance=scale.tolerance,
        reason=scale.reason,
    )


def _acquisition(made: Acquisition, tells: Callable[[str], bool]) -> FiledAcquisition:
    return FiledAcquisition(
        microscope=_told(made.microscope, tells),
        camera=_told(made.camera, tells),
        acquired=_told(made.acquired, tells),
        magnification=made.magnification,
        accelerating_kv=made.accelerating_kv,
    )


def _told(text: str, tells: Callable[[str], bool]) -> str | None:
    return text if text and tells(text) else None
