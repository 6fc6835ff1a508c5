"""What every test of an instrument's format does: read all of a file, and hold it to other libraries."""

from pathlib import Path

import numpy as np
from oracles import ORACLES, Array, handed_on
from simulated import simulated_tissue
from simulated_instruments import sections

from ultraread.datasets.geometry import BoxPx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import ImageInfo, SlideInfo

PICTURE = simulated_tissue(150, 90)
STACK = np.stack([PICTURE, PICTURE // 2, 255 - PICTURE])
KINDS = ("uint8", "uint16", "int8", "int16", "int32", "uint32", "float32", "float64")
BOX = BoxPx(31, 17, 64, 40)


def as_kind(pixels: Array, kind: str) -> Array:
    """The picture in values that need this kind: negative where it is signed, large where it is wide."""
    values = pixels.astype(np.int64)
    signed, wide = kind.startswith(("int", "float")), not kind.endswith("t8")
    return np.asarray((values - 100 * signed) // (1 if wide else 2) * (97 if wide else 1)).astype(kind)


def read(path: Path) -> tuple[SlideInfo, list[Array]]:
    """What the file holds, and all its images."""
    with open_slide(path) as slide:
        return slide.info, [slide.read_box(each.index, 0, whole(each.size)) for each in slide.info.images]


def first(path: Path) -> ImageInfo:
    """What is told of its first image."""
    with open_slide(path) as slide:
        return slide.info.images[0]


def assert_equal(path: Path, stored: Array, *oracles: str) -> None:
    """Its images are what was stored and what each oracle reads, as a whole and in a box."""
    info, found = read(path)
    expected = [handed_on(section) for section in sections(stored)]
    assert [str(image.stored_as) for image in info.images] == [stored.dtype.name] * len(expected)
    for other in [expected, *(ORACLES[name](path) for name in oracles)]:
        assert len(found) == len(other)
        for one, another in zip(found, other, strict=True):
            assert one.dtype == another.dtype
            np.testing.assert_array_equal(one, another)
    with open_slide(path) as slide:
        box = expected[-1][BOX.y : BOX.bottom, BOX.x : BOX.right]
        np.testing.assert_array_equal(slide.read_box(len(expected) - 1, 0, BOX), box)
