"""The numbers of Deep Zoom: levels from one pixel to the full size, tiles with one pixel of overlap."""

from xml.etree import ElementTree

import pytest

from ultraread.datasets.geometry import SizePx
from ultraread.errors import NotFound
from ultraread.serving.viewing.dzi import DeepZoom
from ultraread.serving.viewing.region import Region


@pytest.mark.parametrize(
    ("size", "last"), [((1, 1), 0), ((2, 1), 1), ((256, 100), 8), ((257, 100), 9), ((1000, 4097), 13)]
)
def test_levels_run_from_one_pixel_to_the_full_size(size: tuple[int, int], last: int) -> None:
    zoom = DeepZoom(SizePx(*size))
    assert zoom.last_level == last
    assert zoom.level_size(0) == SizePx(1, 1)
    assert zoom.level_size(last) == SizePx(*size)


def test_tiles_overlap_by_one_pixel_inside_and_not_at_the_border() -> None:
    zoom = DeepZoom(SizePx(600, 300))
    assert zoom.tile_counts(10) == (3, 2)
    assert zoom.tile(10, 0, 0) == Region(0, 0, 255, 255, SizePx(255, 255))
    assert zoom.tile(10, 1, 0) == Region(253, 0, 509, 255, SizePx(256, 255))
    assert zoom.tile(10, 2, 1) == Region(507, 253, 600, 300, SizePx(93, 47))
    assert zoom.tile(9, 1, 0) == Region(506, 0, 600, 300, SizePx(47, 150))


@pytest.mark.parametrize("place", [(11, 0, 0), (10, 3, 0), (10, 0, 2), (0, 1, 0)])
def test_what_lies_outside_of_the_pyramid_is_not_found(place: tuple[int, int, int]) -> None:
    with pytest.raises(NotFound):
        DeepZoom(SizePx(600, 300)).tile(*place)


def test_the_descriptor_says_it_in_the_words_of_its_schema() -> None:
    root = ElementTree.fromstring(DeepZoom(SizePx(600, 300)).xml())  # noqa: S314  # our own text
    assert root.tag == "{http://schemas.microsoft.com/deepzoom/2008}Image"
    assert root.attrib == {"Format": "jpg", "Overlap": "1", "TileSize": "254"}
    assert root[0].attrib == {"Width": "600", "Height": "300"}
