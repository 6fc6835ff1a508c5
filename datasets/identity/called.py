"""What result folders and messages call the slides of a command: names that identify nobody."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ultraread.datasets.identity.find import find_identity, names_of
from ultraread.datasets.identity.found import IdentityPolicy
from ultraread.datasets.identity.policy import STRIP_BY_DEFAULT, IdentityStatement
from ultraread.datasets.open_slide import OpenSlide, open_slide
from ultraread.datasets.slide import SlideFormat, SlideInfo
from ultraread.datasets.slide_address import SlideAddress, SlidePlace, address_of
from ultraread.datasets.slide_digest import digest_slide
from ultraread.errors import UltraReadError

DIGITS = 16
NOTHING_KNOWN = SlideInfo(SlideFormat.TIFF, ())


@dataclass(frozen=True, slots=True)
class NamedSlide:
    """The folder of a slide's results, and what messages call the slide."""

    folder: str
    called: str


def called(slide: SlidePlace) -> str:
    """What messages and tables call a slide: its name, or `slide-<digits>` where that gives somebody away."""
    return _named(slide, 0, STRIP_BY_DEFAULT, open_slide).called


def name_slides(
    slides: Sequence[SlidePlace], stated: IdentityStatement, open_one: OpenSlide = open_slide
) -> list[NamedSlide]:
    """Decide the names before any read starts.

    A folder is called by the slide's stem, or `slide-<first 16 digits of its sha256>` where the stem gives
    somebody away or policy `strip` is stated. Stems that clash get the first 8 digits of the sha256.
    """
    named = [_named(slide, number, stated, open_one) for number, slide in enumerate(slides)]
    times = Counter(one.folder for one in named)
    return [
        one if times[one.folder] == 1 or one.folder != slide.stem else _distinct(one, slide)
        for one, slide in zip(named, slides, strict=True)
    ]


def _named(slide: SlidePlace, number: int, stated: IdentityStatement, open_one: OpenSlide) -> NamedSlide:
    if not _is_hidden(slide, stated, open_one):
        return NamedSlide(slide.stem, slide.name)
    sha256 = sha256_if_there(slide)
    anonymous = f"slide-{sha256[:DIGITS]}" if sha256 else f"slide-number-{number + 1}"
    return NamedSlide(anonymous, anonymous)


def _is_hidden(slide: SlidePlace, stated: IdentityStatement, open_one: OpenSlide) -> bool:
    if stated.policy == IdentityPolicy.KEEP:
        return False
    if stated.is_stated and stated.policy == IdentityPolicy.STRIP:
        return True
    if find_identity(NOTHING_KNOWN, [slide.name], ()).is_in_names:
        return True
    try:
        address = address_of(slide)
        return find_identity(_info(address, open_one), [slide.name, *names_of(address)], ()).is_in_names
    except Exception:  # whatever it is, the read of this slide will say so, and no other
        return False


def _info(address: SlideAddress, open_one: OpenSlide) -> SlideInfo:
    with open_one(address) as slide:
        return slide.info


def _distinct(one: NamedSlide, slide: SlidePlace) -> NamedSlide:
    return replace(one, folder=f"{one.folder}-{sha256_if_there(slide)[:8] or 'missing'}")


def sha256_if_there(slide: SlidePlace) -> str:
    """Of a slide that may not even be there, or not be readable."""
    try:
        return digest_slide(address_of(slide)).sha256
    except (OSError, UltraReadError):
        return ""
