"""IIIF Image API 3.0: what a request's words mean, and what info.json says; level 2 and no more."""

import math
import re
from dataclasses import dataclass
from typing import Any

from ultraread.datasets.geometry import BoxPx, SizePx, whole
from ultraread.errors import ViewNotOffered, ViewRequestInvalid, ViewTooLarge
from ultraread.serving.viewing.encode import Finish, PictureFormat
from ultraread.serving.viewing.region import Region, region_of

CONTEXT = "http://iiif.io/api/image/3/context.json"
PROFILE = "http://iiif.io/api/image/3/level2.json"
PHYSDIM = "http://iiif.io/api/annex/services/physdim"
TILE_PX = 512
MAX_SIDE_PX = 2048
"""Width and height that a picture may have."""
NM_PER_MM = 1e6

_BOX = re.compile(r"([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9})")
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,15})?"
_PERCENT_BOX = re.compile(rf"pct:({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})")
_SIDES = re.compile(r"(?!,$)([0-9]{0,9}),([0-9]{0,9})")
_CONFINED = re.compile(r"!([0-9]{1,9}),([0-9]{1,9})")
_PERCENT_SIZE = re.compile(rf"pct:({_NUMBER})")
_ROTATION = re.compile(rf"(!?)({_NUMBER})")
_OTHER_FORMATS = ("tif", "gif", "pdf", "jp2", "webp")


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request in level-0 pixels, and its canonical words."""

    region: Region
    finish: Finish
    canonical: str


def parse_request(image: SizePx, region: str, size: str, rotation: str, last: str) -> ImageRequest:
    """Read `{region}/{size}/{rotation}/{quality}.{format}` for an image.

    Raises ViewRequestInvalid for what is no IIIF or lies outside of the image, ViewNotOffered for what
    level 2 leaves optional, ViewTooLarge above MAX_SIDE_PX.
    """
    box = _region(image, region)
    picture = _size(SizePx(box.width, box.height), size)
    turns = _quarter_turns(rotation)
    quality, picture_format = _quality_and_format(last)
    where = f"{_region_words(box, image)}/{_size_words(picture, box)}"
    finish = Finish(picture_format, turns, grey=quality == "gray")
    return ImageRequest(region_of(box, picture), finish, f"{where}/{90 * turns}/{quality}.{picture_format}")


def info(address: str, image: SizePx, nm_per_px: float | None) -> dict[str, Any]:
    """info.json of an image at `address`, with its pixel size where one can be trusted."""
    described: dict[str, Any] = {
        "@context": CONTEXT,
        "id": address,
        "type": "ImageService3",
        "protocol": "http://iiif.io/api/image",
        "profile": "level2",
        "width": image.width,
        "height": image.height,
        "maxWidth": MAX_SIDE_PX,
        "maxHeight": MAX_SIDE_PX,
        "sizes": _sizes(image),
        "tiles": [{"width": TILE_PX, "height": TILE_PX, "scaleFactors": scale_factors(image)}],
        "preferredFormats": [PictureFormat.JPG.value],
        "extraQualities": ["color", "gray"],
        "extraFeatures": ["canonicalLinkHeader", "profileLinkHeader"],
    }
    return described | ({"service": [_physical_size(nm_per_px)]} if nm_per_px else {})


def scale_factors(image: SizePx) -> list[int]:
    """1, 2, 4 ... until the image is one tile."""
    return [2**n for n in range(max(1, math.ceil(math.log2(max(image.width, image.height) / TILE_PX)) + 1))]


def _sizes(image: SizePx) -> list[dict[str, int]]:
    """The whole image at halving sizes, smallest first, as far as they may be asked for."""
    steps = [2**n for n in range((max(image.width, image.height) - 1).bit_length() + 1)]
    sizes = [SizePx(-(-image.width // step), -(-image.height // step)) for step in reversed(steps)]
    return [
        {"width": size.width, "height": size.height}
        for size in sizes
        if max(size.width, size.height) <= MAX_SIDE_PX
    ]


def _physical_size(nm_per_px: float) -> dict[str, Any]:
    return {
        "@context": f"{PHYSDIM}/1/context.json",
        "profile": PHYSDIM,
        "physicalScale": nm_per_px / NM_PER_MM,
        "physicalUnits": "mm",
    }


def _region(image: SizePx, words: str) -> BoxPx:
    if words == "full":
        return whole(image)
    if words == "square":
        side = min(image.width, image.height)
        return BoxPx((image.width - side) // 2, (image.height - side) // 2, side, side)
    if found := _BOX.fullmatch(words):
        x, y, width, height = (int(part) for part in found.groups())
        return _cropped(image, BoxPx(x, y, width, height))
    if found := _PERCENT_BOX.fullmatch(words):
        across, down, wide, high = (float(part) / 100 for part in found.groups())
        left, right = round(across * image.width), round((across + wide) * image.width)
        top, bottom = round(down * image.height), round((down + high) * image.height)
        return _cropped(image, BoxPx(left, top, right - left, bottom - top))
    raise ViewRequestInvalid("the region is not full, square, x,y,w,h or pct:x,y,w,h")


def _cropped(image: SizePx, box: BoxPx) -> BoxPx:
    width, height = min(box.right, image.width) - box.x, min(box.bottom, image.height) - box.y
    if width < 1 or height < 1:
        raise ViewRequestInvalid("the region holds no pixel of the image")
    return BoxPx(box.x, box.y, width, height)


def _size(region: SizePx, words: str) -> SizePx:
    if words.startswith("^"):
        raise ViewNotOffered("pictures are not made larger than the pixels that there are")
    if words == "max":
        return _fitted(region, MAX_SIDE_PX, MAX_SIDE_PX)
    if found := _PERCENT_SIZE.fullmatch(words):
        return _of_share(region, float(found.group(1)) / 100)
    if found := _CONFINED.fullmatch(words):
        width, height = (min(int(part), MAX_SIDE_PX) for part in found.groups())
        return _fitted(region, width, height)
    if found := _SIDES.fullmatch(words):
        return _of_sides(region, *(int(part) if part else None for part in found.groups()))
    raise ViewRequestInvalid("the size is not max, w, or ,h or w,h or !w,h or pct:n")


def _of_share(region: SizePx, share: float) -> SizePx:
    if share <= 0:
        raise ViewRequestInvalid("a picture has at least one pixel")
    return _checked(region, _at_least_one(region.width * share), _at_least_one(region.height * share))


def _of_sides(region: SizePx, width: int | None, height: int | None) -> SizePx:
    """The size with the stated sides; a missing one follows by the region's proportions."""
    if width is None:
        width = _at_least_one(region.width * (height or 0) / region.height)
    if height is None:
        height = _at_least_one(region.height * width / region.width)
    return _checked(region, width, height)


def _checked(region: SizePx, width: int, height: int) -> SizePx:
    if width < 1 or height < 1:
        raise ViewRequestInvalid("a picture has at least one pixel")
    if width > region.width or height > region.height:
        raise ViewRequestInvalid(f"the region has only {region.width} x {region.height} px")
    if max(width, height) > MAX_SIDE_PX:
        most = f"Ask for at most {MAX_SIDE_PX} px a side."
        raise ViewTooLarge(f"{width} x {height} px in one picture", most)
    return SizePx(width, height)


def _fitted(region: SizePx, width: int, height: int) -> SizePx:
    """The largest size that fits, no larger than the region."""
    if width < 1 or height < 1:
        raise ViewRequestInvalid("a picture has at least one pixel")
    share = min(1.0, width / region.width, height / region.height)
    wide, high = _at_least_one(region.width * share), _at_least_one(region.height * share)
    return SizePx(min(width, wide), min(height, high))


def _at_least_one(side: float) -> int:
    return max(1, round(side))


def _quarter_turns(words: str) -> int:
    found = _ROTATION.fullmatch(words)
    if not found or float(found.group(2)) > 360:
        raise ViewRequestInvalid("the rotation is not 0 to 360 degrees")
    turns, rest = divmod(float(found.group(2)), 90)
    if found.group(1) or rest:
        raise ViewNotOffered("pictures are turned by 0, 90, 180 or 270 degrees and not mirrored")
    return int(turns) % 4


def _quality_and_format(words: str) -> tuple[str, PictureFormat]:
    quality, _, suffix = words.partition(".")
    if quality == "bitonal" or suffix in _OTHER_FORMATS:
        raise ViewNotOffered("pictures are default, color or gray, as jpg or png")
    if quality not in {"default", "color", "gray"} or suffix not in set(PictureFormat):
        raise ViewRequestInvalid("what follows the rotation is not {quality}.{format}")
    return quality, PictureFormat(suffix)


def _region_words(box: BoxPx, image: SizePx) -> str:
    return "full" if box == whole(image) else f"{box.x},{box.y},{box.width},{box.height}"


def _size_words(picture: SizePx, box: BoxPx) -> str:
    region = SizePx(box.width, box.height)
    is_max = picture == _fitted(region, MAX_SIDE_PX, MAX_SIDE_PX)
    return "max" if is_max else f"{picture.width},{picture.height}"
