"""A copy of a slide that identifies nobody: pixels and scale only, painted over where text is burnt in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ultraread.datasets.burnt_in.look import look_at
from ultraread.datasets.convert.ome_tiff import write_ome_tiff
from ultraread.datasets.convert.source import SourceImage, scale_to_write, written_whole
from ultraread.datasets.convert.targets import Compression
from ultraread.datasets.identity.find import find_identity, names_of
from ultraread.datasets.identity.found import NOTHING_FOUND, PIXELS, Identity
from ultraread.datasets.identity.policy import IdentityStatement, under
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import StatedScale
from ultraread.datasets.slide import ImageInfo, Slide
from ultraread.datasets.slide_address import SlideAddress, address_of
from ultraread.errors import IdentityRemains, OutputExists, RequestInvalid

SUFFIXES = {".tif", ".tiff"}
ROUNDS = 3
"""Copies that are made before it is given up: OCR may read beside a mask what it missed before."""


@dataclass(frozen=True, slots=True)
class Deidentified:
    """What was found in the original; in the copy, the last of `rounds` that were made, nothing was."""

    found: Identity
    images: int
    rounds: int


def deidentify(address: SlideAddress, out: Path, stated: IdentityStatement) -> Deidentified:
    """Write an OME-TIFF without identity to `out`, open it again and search it.

    Raises RequestInvalid where the name says another format; OutputExists; IdentityPresent under policy
    `refuse`; IdentityRemains where something is found in the copy, which is not kept then; the InputRefused
    that says why the slide cannot be opened or written.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise RequestInvalid(
            f"the copy is an OME-TIFF, and {out.suffix or 'no suffix'} says otherwise",
            "End its name in .ome.tif.",
        )
    if out.exists():
        raise OutputExists(f"{out.name} exists", "Choose another name, or move the old file away.")
    with open_slide(address) as slide:
        found = under(found_in(slide, names_of(address)), stated)
        with written_whole(out) as unfinished:
            rounds = _write_until_clean(slide, found, unfinished)
        return Deidentified(found, len(slide.info.images), rounds)


def found_in(slide: Slide, names: Sequence[str]) -> Identity:
    """Search tags, names and the pixels of every image."""
    looks = [look_at(slide, image) for image in slide.info.images]
    return find_identity(slide.info, names, looks)


def _write_until_clean(slide: Slide, found: Identity, out: Path) -> int:
    """Write, search, and where text is read beside a mask paint that over as well; how often it took."""
    left = NOTHING_FOUND
    for done in range(1, ROUNDS + 1):
        _write(slide, found, out)
        with open_slide(address_of(out)) as copy:
            left = found_in(copy, ())
        if not left.places:
            return done
        if left.not_searched or any(item.where != PIXELS for item in left.found):
            break
        found = replace(found, found=(*found.found, *left.found))
    raise IdentityRemains(f"the copy still holds identity in {', '.join(left.places)}")


def _write(slide: Slide, found: Identity, out: Path) -> None:
    """The original's digest is left out: with it, who has the original could tell whose copy it is."""
    out.unlink(missing_ok=True)
    images = [_source(slide, image, found) for image in slide.info.images]
    write_ome_tiff(out, images, "", Compression.DEFLATE, lambda _rows: None)


def _source(slide: Slide, image: ImageInfo, found: Identity) -> SourceImage:
    return SourceImage(slide, image, found.masks(image.index), _scale(image))


def _scale(image: ImageInfo) -> StatedScale | None:
    """Without its reason, which is a text that people state."""
    scale = scale_to_write(image, None)
    return replace(scale, reason="") if scale else None
