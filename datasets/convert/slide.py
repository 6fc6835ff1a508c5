"""One conversion from end to end: open, look for what identifies somebody, write whole or not at all."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ultraread.datasets.burnt_in.look import Look, look_at
from ultraread.datasets.convert.source import (
    SourceImage,
    TellRows,
    chosen_images,
    scale_to_write,
    written_whole,
)
from ultraread.datasets.convert.targets import Compression, Target
from ultraread.datasets.identity.find import find_identity, names_of
from ultraread.datasets.identity.found import Identity, IdentityPolicy
from ultraread.datasets.identity.policy import STRIP_BY_DEFAULT, IdentityStatement, under
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import StatedScale
from ultraread.datasets.slide import ImageInfo, Slide
from ultraread.datasets.slide_address import SlideAddress, address_of
from ultraread.datasets.slide_digest import SlideDigest, digest_slide
from ultraread.errors import RequestInvalid

StartRows = Callable[[int], TellRows]
"""Called with the pixel rows of all images; returns what is told of rows that are done."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a conversion; no `images` means all."""

    target: Target = Target.OME_TIFF
    compression: Compression | None = None
    images: tuple[int, ...] = ()
    stated_scale: StatedScale | None = None
    identity: IdentityStatement = STRIP_BY_DEFAULT


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written: the digest is that of a slide, as `ultraread info` tells it of the output."""

    source: SlideDigest
    written: SlideDigest
    images: tuple[SourceImage, ...]
    compression: str
    is_lossless: bool
    identity: Identity

    @property
    def masked_boxes(self) -> int:
        return sum(len(image.masks) for image in self.images)


def convert(address: SlideAddress, out: Path, wanted: Wanted, start: StartRows) -> Converted:
    """Write the slide to `out`, a file for OME-TIFF and a folder for DICOM.

    Raises OutputExists, FormatCannotHold, IdentityPresent, ScalesDisagree, SlideDamaged and what opening
    refuses; nothing is left at `out` then.
    """
    with written_whole(out) as unfinished, open_slide(address) as slide:
        source = digest_slide(address)
        chosen = chosen_images(slide.info.images, wanted.images)
        looks = _looks(slide, chosen, wanted.identity)
        identity = under(find_identity(slide.info, names_of(address), looks), wanted.identity)
        images = [_source_image(slide, image, looks[image.index], identity, wanted) for image in chosen]
        tell = start(sum(image.size.height for image in chosen))
        compression, is_lossless = _write(unfinished, images, source, wanted, tell)
    return Converted(source, digest_slide(address_of(out)), tuple(images), compression, is_lossless, identity)


def _write(
    out: Path, images: list[SourceImage], source: SlideDigest, wanted: Wanted, tell: TellRows
) -> tuple[str, bool]:
    """How it was compressed, and whether without loss."""
    if wanted.target is Target.OME_TIFF:
        compression = wanted.compression or Compression.DEFLATE
        from ultraread.datasets.convert.ome_tiff import write_ome_tiff

        write_ome_tiff(out, images, source.sha256, compression, tell)
        return compression.value, compression.is_lossless
    if wanted.compression is not None:
        raise RequestInvalid("--compression is of OME-TIFF", "DICOM is written without loss.")
    from ultraread.datasets.convert.dicom import write_dicom_wsi

    write_dicom_wsi(out, images, _told(images, source), tell, wanted.identity.policy == IdentityPolicy.KEEP)
    return "jpeg2000" if images[0].info.samples_per_px == 3 else "jpeg_ls", True


def _told(images: list[SourceImage], source: SlideDigest) -> str:
    """Where pixels and scale are from, in the one line that DICOM has for it."""
    scale = images[0].scale
    told = f"source sha256 {source.sha256}, image {images[0].info.index}"
    if scale is None:
        return told
    reason = f": {scale.reason}" if scale.reason else ""
    return f"{told}; nm/px from {scale.origin.value}, tolerance {scale.tolerance:g}{reason}"


def _source_image(
    slide: Slide, image: ImageInfo, look: Look, identity: Identity, wanted: Wanted
) -> SourceImage:
    scale = scale_to_write(image, wanted.stated_scale, look.scale)
    return SourceImage(slide, image, identity.masks(image.index), scale)


def _looks(slide: Slide, chosen: list[ImageInfo], stated: IdentityStatement) -> list[Look]:
    """One an image, in order; of images that are left out, and of pixels that are kept, nothing is sought."""
    sought = set() if stated.policy == IdentityPolicy.KEEP else {image.index for image in chosen}
    return [look_at(slide, image) if image.index in sought else Look() for image in slide.info.images]
