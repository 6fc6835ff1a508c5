"""Any size, turned by any quarter, becomes a file that Pillow reads."""

import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from ultraread.serving.viewing.encode import Finish, PictureFormat, encoded


@pytest.mark.parametrize("picture_format", PictureFormat)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (4, 3), (1, 4, 3), (4, 1, 3), (2, 3, 3)])
def test_a_picture_of_any_size_is_turned(shape: tuple[int, ...], picture_format: PictureFormat) -> None:
    pixels = np.full(shape, 100, np.uint8)
    for turns, grey in product(range(4), (False, True)):
        file = encoded(pixels, Finish(picture_format, turns, grey))
        with Image.open(io.BytesIO(file)) as picture:
            assert picture.size == (shape[1], shape[0])[:: -1 if turns % 2 else 1]
            assert int(np.asarray(picture).max()) == 100


def test_turning_is_clockwise() -> None:
    left_white = np.array([[255, 0], [255, 0]], np.uint8)
    with Image.open(io.BytesIO(encoded(left_white, Finish(PictureFormat.PNG, 1)))) as picture:
        assert np.asarray(picture).tolist() == [[255, 255], [0, 0]]
