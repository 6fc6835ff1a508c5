"""Find what identifies somebody: in tags, in names of files and folders, and burnt into pixels."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from ultraread.datasets.burnt_in.look import BurntInText, Look
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.identity.found import PIXELS, Identity, IdentityItem
from ultraread.datasets.identity.judged_text import (
    is_listed,
    is_technical_text,
    kind_of_burnt_in,
    kind_of_tag,
)
from ultraread.datasets.identity.names import find_in_names, identity_words
from ultraread.datasets.identity.tag_values import values_of
from ultraread.datasets.own_texts import own_uids
from ultraread.datasets.slide import Acquisition, ImageInfo, SlideInfo, Tag
from ultraread.datasets.slide_address import SlideAddress

DERIVATION_DESCRIPTION = "DerivationDescription"
MOST_COPIES = 1000
"""Derivations of one slide whose UIDs are computed; a folder holds one for each copy."""
MARGIN_PX = 4
"""OCR draws its boxes along the letters; this much more, or a quarter of their height, covers them wholly."""
_DICOM_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),\s?([0-9A-Fa-f]{4})\)?")


def find_identity(info: SlideInfo, names: Sequence[str], looks: Sequence[Look]) -> Identity:
    """Return every find under the default policy.

    `names` are those of files and folders, with `/` between them; `looks` one an image, in order.
    `dataclasses.replace` states another policy.
    """
    tags = (*_in_tags(info.tags), *_in_acquisitions(info.images))
    known = identity_words([item.value for item in tags])
    found = (*tags, *find_in_names(names, known), *_in_pixels(info.images, looks))
    return Identity(found, not_searched=_not_searched(info.images, looks))


def told_of(made: Acquisition) -> Acquisition:
    """What may be told of an acquisition: no time, and instruments only by known words."""
    microscope, camera = (text if is_technical_text(text) else "" for text in (made.microscope, made.camera))
    return replace(made, microscope=microscope, camera=camera, acquired="")


def names_of(slide: SlideAddress) -> list[str]:
    """The names by which a slide and its files were known, with `/` between folders and files."""
    if len(slide.files) == 1:
        return [slide.files[0].name]
    return [f"{slide.name}/{file.name}" for file in slide.files]


def _in_tags(tags: Sequence[Tag]) -> Iterator[IdentityItem]:
    """Each tag counts once for each kind that it gives away."""
    own = _own_uids(tags)
    for number, tag in enumerate(tags):
        told = set()
        for part in values_of(tag):
            if part.value in own:
                continue
            kind, where = kind_of_tag(_last_part(part.name), part.value), _place(tag, part, number)
            if kind is not None and (where, kind, part.value) not in told:
                told.add((where, kind, part.value))
                yield IdentityItem(where, kind, value=part.value)


def _own_uids(tags: Sequence[Tag]) -> frozenset[str]:
    """Those that follow from what a DICOM copy of ours says of itself."""
    said = dict.fromkeys(tag.value for tag in tags if _last_part(tag.name) == DERIVATION_DESCRIPTION)
    return frozenset(uid for value in islice(said, MOST_COPIES) for uid in own_uids(value))


def _in_acquisitions(images: Sequence[ImageInfo]) -> Iterator[IdentityItem]:
    """What readers took from tags: the time, and names of instruments that are not known."""
    for image in images:
        found = image.acquisition
        named = (("acquired", found.acquired), ("microscope", found.microscope), ("camera", found.camera))
        for name, value in named:
            if value and (name == "acquired" or not is_technical_text(value)):
                kind = kind_of_tag("acquisitiondate" if name == "acquired" else name, value)
                if kind:
                    yield IdentityItem(f"acquisition, {name}", kind, value=value)


def _in_pixels(images: Sequence[ImageInfo], looks: Sequence[Look]) -> Iterator[IdentityItem]:
    for image, look in zip(images, looks, strict=False):
        for text in look.texts:
            kind = None if _is_bar_label(text, look) else kind_of_burnt_in(text.text)
            if kind:
                yield IdentityItem(PIXELS, kind, image.index, _grown(text.box, image.size), text.text)


def _not_searched(images: Sequence[ImageInfo], looks: Sequence[Look]) -> tuple[int, ...]:
    return tuple(image.index for image, look in zip(images, looks, strict=False) if look.not_looked_at)


def _is_bar_label(text: BurntInText, look: Look) -> bool:
    """Whether a bar's length was read from this text, and it is no longer than a length is."""
    return any(
        bar.length_nm is not None and bar.text == text.text and len(text.text) <= 10 for bar in look.bars
    )


def _grown(box: BoxPx, size: SizePx) -> BoxPx:
    more = max(MARGIN_PX, box.height // 4)
    left, top = max(0, box.x - more), max(0, box.y - more)
    right, bottom = min(size.width, box.right + more), min(size.height, box.bottom + more)
    return BoxPx(left, top, right - left, bottom - top)


def _last_part(name: str) -> str:
    """Of `OME/Experimenter@FirstName` or `root.ImageTags.Operator` the last part that is not a number."""
    name = _DICOM_TAG.sub("", name) or name
    parts = [part for part in re.split(r"[/.:@>\[\]|]+", name) if part.strip() and not part.strip().isdigit()]
    return parts[-1].strip() if parts else name


def _place(tag: Tag, part: Tag, number: int) -> str:
    """A name that may be told: that of the part, else of the tag that it stands in, else only its place."""
    if dicom := _DICOM_TAG.findall(tag.name):
        return f"tag ({dicom[-1][0]},{dicom[-1][1]})"
    for named in (part, tag):
        if is_listed(_last_part(named.name)):
            return f"tag {_last_part(named.name)}"
    return f"tag number {number + 1}"
