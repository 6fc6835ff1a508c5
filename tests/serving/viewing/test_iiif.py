"""The words of IIIF: what they mean, and that nothing else is taken for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultraread.datasets.geometry import SizePx
from ultraread.errors import ViewNotOffered, ViewRequestInvalid, ViewTooLarge
from ultraread.serving.viewing.encode import Finish, PictureFormat
from ultraread.serving.viewing.iiif import MAX_SIDE_PX, ImageRequest, info, parse_request, scale_factors
from ultraread.serving.viewing.region import Region

FIELD = SizePx(600, 400)


def asked(
    region: str = "full",
    size: str = "max",
    rotation: str = "0",
    last: str = "default.jpg",
    of: SizePx = FIELD,
) -> ImageRequest:
    return parse_request(of, region, size, rotation, last)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("full", (0, 0, 600, 400)),
        ("square", (100, 0, 500, 400)),
        ("10,20,30,40", (10, 20, 40, 60)),
        ("590,390,100,100", (590, 390, 600, 400)),
        ("pct:50,25,50,25.5", (300, 100, 600, 202)),
        ("pct:90,0,50,100", (540, 0, 600, 400)),
    ],
)
def test_regions(words: str, meant: tuple[int, int, int, int]) -> None:
    region = asked(region=words).region
    assert (region.left, region.top, region.right, region.bottom) == meant


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("max", (600, 400)),
        ("300,", (300, 200)),
        (",100", (150, 100)),
        ("pct:10", (60, 40)),
        ("7,9", (7, 9)),
        ("!300,300", (300, 200)),
        ("!9000,9000", (600, 400)),
        ("1,", (1, 1)),
    ],
)
def test_sizes(words: str, meant: tuple[int, int]) -> None:
    assert asked(size=words).region.size == SizePx(*meant)


def test_a_large_image_is_given_at_the_size_that_info_json_allows() -> None:
    large = SizePx(30_000, 20_000)
    assert asked(of=large).region.size == SizePx(MAX_SIDE_PX, 1365)
    assert asked(size="!5000,5000", of=large).region.size == SizePx(MAX_SIDE_PX, 1365)
    for size in ("2049,", "pct:50", "30000,20000"):
        with pytest.raises(ViewTooLarge):
            asked(size=size, of=large)


@pytest.mark.parametrize(("words", "turns"), [("0", 0), ("90", 1), ("180.0", 2), ("270", 3), ("360", 0)])
def test_rotations(words: str, turns: int) -> None:
    assert asked(rotation=words).finish.quarter_turns == turns


def test_qualities_and_formats() -> None:
    assert asked(last="default.jpg").finish == Finish(PictureFormat.JPG)
    assert asked(last="color.png").finish == Finish(PictureFormat.PNG)
    assert asked(last="gray.png").finish == Finish(PictureFormat.PNG, grey=True)


@pytest.mark.parametrize(
    "stated",
    [
        {"region": "600,0,10,10"}, {"region": "0,0,0,5"}, {"region": "1,2,3"}, {"region": "-1,0,5,5"},
        {"region": "pct:0,0,0,50"}, {"region": "pct:1,2,3,x"}, {"region": "Full"}, {"region": "1.5,0,5,5"},
        {"size": "601,"}, {"size": ",401"}, {"size": "600,401"}, {"size": "0,"}, {"size": "!0,10"},
        {"size": ","}, {"size": "!10,"}, {"size": "pct:0"}, {"size": "pct:101"}, {"size": "full"},
        {"size": "1e2,"}, {"rotation": "361"}, {"rotation": "-90"}, {"rotation": "north"},
        {"last": "default"}, {"last": "native.jpg"}, {"last": "default.exe"}, {"last": "default.jpg.png"},
    ],
)  # fmt: skip
def test_what_is_no_iiif_is_a_bad_request(stated: dict[str, str]) -> None:
    with pytest.raises(ViewRequestInvalid):
        asked(**stated)


@pytest.mark.parametrize(
    "stated",
    [
        {"size": "^max"}, {"size": "^1200,"}, {"rotation": "22.5"}, {"rotation": "!90"},
        {"last": "bitonal.jpg"}, {"last": "default.tif"}, {"last": "color.webp"},
    ],
)  # fmt: skip
def test_what_level_2_leaves_optional_is_not_offered(stated: dict[str, str]) -> None:
    with pytest.raises(ViewNotOffered):
        asked(**stated)


NUMBERS = st.integers(0, 3000).map(str) | st.sampled_from(["", "-1", "1.5", "9999999999", "x"])
REGIONS = st.sampled_from(["full", "square"]) | st.lists(NUMBERS, min_size=3, max_size=5).map(",".join)
SIZES = st.tuples(st.sampled_from(["", "!", "^"]), NUMBERS, NUMBERS).map(
    lambda one: f"{one[0]}{one[1]},{one[2]}"
)
IMAGES = st.builds(SizePx, st.integers(1, 40_000), st.integers(1, 40_000))


@given(image=IMAGES, region=REGIONS | REGIONS.map("pct:{}".format) | st.text(), size=SIZES | st.text())
def test_any_words_are_refused_or_mean_a_part_of_the_image_at_most_at_its_own_size(
    image: SizePx, region: str, size: str
) -> None:
    try:
        found = parse_request(image, region, size, "0", "default.jpg")
    except (ViewRequestInvalid, ViewNotOffered, ViewTooLarge):
        return
    shown = found.region
    assert 0 <= shown.left < shown.right <= image.width
    assert 0 <= shown.top < shown.bottom <= image.height
    assert 1 <= shown.size.width <= min(MAX_SIDE_PX, shown.right - shown.left)
    assert 1 <= shown.size.height <= min(MAX_SIDE_PX, shown.bottom - shown.top)
    again = parse_request(image, *found.canonical.split("/"))
    assert again == found, "the canonical words mean something else"


@given(image=IMAGES)
def test_every_size_and_tile_that_info_json_promises_is_served(image: SizePx) -> None:
    told = info("http://here", image, None)
    assert told["sizes"][0] == {"width": 1, "height": 1}
    for size in told["sizes"]:
        assert asked(size=f"{size['width']},{size['height']}", of=image).region.size.width == size["width"]
    (tiles,) = told["tiles"]
    for factor in tiles["scaleFactors"]:
        side = tiles["width"] * factor
        width, height = min(side, image.width), min(side, image.height)
        words = f"{-(-width // factor)},{-(-height // factor)}"
        assert asked(f"0,0,{side},{side}", words, of=image).region == Region(
            0, 0, width, height, SizePx(*map(int, words.split(",")))
        )
    assert max(image.width, image.height) <= tiles["width"] * scale_factors(image)[-1]


def test_info_json_tells_the_pixel_size_where_there_is_one() -> None:
    (service,) = info("http://here", FIELD, 2.5)["service"]
    assert (service["physicalScale"], service["physicalUnits"]) == (2.5e-6, "mm")
    assert "service" not in info("http://here", FIELD, None)
