"""Pictures show every pixel once, at a known scale, with a bar of a round length."""

import math

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from ranges import Read

from ultraread.serving.results.pictures import CAPTION_PX, HEAT, Mosaic, bar_length_nm, length_in_words
from ultraread.serving.score_tiles import PICTURE_PX

BARS = [
    # width of the picture in nm, length of its bar, what stands below it
    (4710.4, 1000, "1 um"),
    (4000, 1000, "1 um"),
    (3999, 500, "500 nm"),
    (8000, 2000, "2 um"),
    (19_999, 2000, "2 um"),
    (20_000, 5000, "5 um"),
    (750, 100, "100 nm"),
    (40, 10, "10 nm"),
    (4e6, 1e6, "1000 um"),
]


@pytest.mark.parametrize(("width_nm", "bar_nm", "words"), BARS)
def test_the_bar_is_the_longest_round_length_in_a_quarter_of_the_picture(
    width_nm: float, bar_nm: float, words: str
) -> None:
    assert bar_length_nm(width_nm) == bar_nm
    assert length_in_words(bar_nm) == words


@given(st.floats(10, 1e8))
def test_a_bar_fills_between_a_tenth_and_a_quarter(width_nm: float) -> None:
    bar = bar_length_nm(width_nm)
    assert 0.0999 * width_nm <= bar <= 0.25 * width_nm
    assert round(bar / 10 ** math.floor(math.log10(bar) + 1e-9)) in (1, 2, 5)


@given(width=st.integers(1, 60), height=st.integers(1, 60), block=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_small_mosaic_is_the_picture_itself(width: int, height: int, block: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 255, (height, width))
    mosaic = Mosaic(width, height)
    for y in range(0, height, block):
        for x in range(0, width, block):
            mosaic.add(np.pad(picture, block)[block + y : 2 * block + y, block + x : 2 * block + x], x, y)
    np.testing.assert_array_equal(mosaic.means(), picture)


def test_a_large_mosaic_keeps_the_mean_of_every_pixel() -> None:
    width, height = PICTURE_PX * 2, 300
    picture = np.random.default_rng(0).integers(0, 255, (height, width))
    mosaic = Mosaic(width, height)
    assert mosaic.factor == 2
    for y in range(0, height, 37):
        for x in range(0, width, 37):
            mosaic.add(picture[y : y + 37, x : x + 37], x, y)
    expected = picture.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(mosaic.means(), expected)
    assert mosaic.means().mean() == pytest.approx(picture.mean())


def test_the_thumbnail_shows_the_slide_and_a_bar_of_the_right_length(read: Read) -> None:
    with Image.open(read.folder / "thumbnail.png") as file:
        thumbnail = np.asarray(file)
    (image,) = read.prepared.images
    size = image.plan.size
    assert thumbnail.shape == (size.height + CAPTION_PX, size.width, 3), "one picture pixel a model pixel"
    assert (thumbnail[:50, :50] == 0).all(), "nothing is shown of a tile that could not be decoded"
    assert np.ptp(thumbnail[200:260, :100]) > 100
    bar = (thumbnail[size.height + 10, :, 0] == 0).sum()
    assert bar * 4.6 == pytest.approx(bar_length_nm(size.width * 4.6), abs=2 * 4.6)


def test_the_heat_map_has_a_panel_a_class_and_colour_where_it_scored(read: Read) -> None:
    with Image.open(read.folder / "heatmap.png") as file:
        heat = np.asarray(file).astype(int)
    (image,) = read.prepared.images
    size = image.plan.size
    assert heat.shape == (size.height + CAPTION_PX, 2 * size.width + 8, 3)
    reddish = heat[: size.height, :, 0] - heat[: size.height, :, 2]
    bright, dark = reddish[:, : size.width], reddish[:, size.width + 8 :]
    assert (reddish[:64, :64] == 0).all(), "the damaged tile has no heat"
    patches = np.nan_to_num(tifffile.imread(read.folder / "patch_map.ome.tif").astype(float))
    for panel, probability in zip((bright, dark), patches, strict=True):
        of_pixels = probability.repeat(16, axis=0).repeat(16, axis=1)[: size.height, : size.width]
        np.testing.assert_allclose(panel / (0.75 * HEAT[0]), of_pixels, atol=0.02)
