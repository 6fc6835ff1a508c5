"""The table of real files: what each opens as, or by which code and at which door it is refused."""

import csv
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from oracles import ORACLES

from ultraread.datasets.admission import ReadDemands, admit
from ultraread.datasets.corpora import fetch, pinned_files
from ultraread.datasets.geometry import whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import ScaleOrigin
from ultraread.datasets.slide import ImageInfo, Modality, Slide
from ultraread.errors import InputRefused, ReadRefused

DEMANDS = ReadDemands(Modality.TEM, 4.6, 3.3, 6.9, tile_px=256)
"""Those of a tissue model, as the shipped card states them."""
JPEG_STEP = 1
"""Two builds of libjpeg may round a pixel of colour differently."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; empty cells are what the file does not have."""

    files: str
    count: int
    says: dict[str, str]


def _table() -> list[Row]:
    with (Path(__file__).parent / "opened.csv").open(newline="") as rows:
        return [Row(row["files"], int(row["count"]), row) for row in csv.DictReader(rows)]


def _matching(row: Row) -> list[str]:
    return [path for path in pinned_files() if fnmatchcase(path, row.files)]


TABLE = _table()
OPENED = [row for row in TABLE if not row.says["refused"]]
REFUSED = [row for row in TABLE if row.says["refused"]]


def _name(row: Row) -> str:
    return row.files


def test_every_pinned_file_stands_in_one_row() -> None:
    rows = [path for row in TABLE for path in _matching(row)]
    assert sorted(rows) == sorted(pinned_files())
    assert [len(_matching(row)) for row in TABLE] == [row.count for row in TABLE]


@pytest.mark.parametrize("row", OPENED, ids=_name)
def test_no_file_is_compared_with_the_library_that_reads_it(row: Row) -> None:
    assert row.says["reader"] != row.says["oracle"]
    assert row.says["oracle"] in ORACLES


@pytest.mark.parametrize("row", OPENED, ids=_name)
def test_a_file_opens_as_the_table_says_and_holds_what_another_library_reads(row: Row) -> None:
    for path in _matching(row):
        with open_slide(fetch(path)) as slide:
            assert str(slide.info.format) == row.says["format"]
            assert [_describe(image) for image in slide.info.images] == [_told(row)] * int(row.says["images"])
            _assert_same_pixels(slide, fetch(path), row)
            assert _at_the_second_door(slide) == row.says["read"]


@pytest.mark.parametrize("row", REFUSED, ids=_name)
def test_what_is_no_image_is_refused_at_the_first_door(row: Row) -> None:
    for path in _matching(row):
        with pytest.raises(InputRefused) as refused:
            open_slide(fetch(path))
        assert refused.value.code == row.says["refused"]
        assert not isinstance(refused.value, ReadRefused)


def _told(row: Row) -> tuple[str, ...]:
    keys = ("width_px", "height_px", "samples", "bit_depth", "stored_as", "nm_per_px")
    return tuple(row.says[key] for key in keys)


def _describe(image: ImageInfo) -> tuple[str, ...]:
    scales = [(scale.x_nm_per_px, scale.y_nm_per_px) for scale in image.scales]
    assert all(scale.origin == ScaleOrigin.INSTRUMENT_TAG for scale in image.scales)
    nm = " x ".join(f"{each:.7g}" for each in dict.fromkeys(scales[0])) if scales else ""
    numbers = (image.size.width, image.size.height, image.samples_per_px, image.bit_depth)
    return (*map(str, numbers), image.stored_as, nm)


def _assert_same_pixels(slide: Slide, path: Path, row: Row) -> None:
    others = ORACLES[row.says["oracle"]](path)
    assert len(others) == len(slide.info.images)
    for image, other in zip(slide.info.images, others, strict=True):
        found = slide.read_box(image.index, 0, whole(image.size))
        if row.says["format"] == "jpeg":
            assert np.abs(found.astype(np.int16) - other).max() <= JPEG_STEP
        else:
            np.testing.assert_array_equal(found, other)


def _at_the_second_door(slide: Slide) -> str:
    """`admitted`, `out_of_scope` for light micrographs, or the code by which a read is refused."""
    try:
        admission = admit(slide, DEMANDS)
    except ReadRefused as refused:
        return refused.code
    return "admitted" if admission.images else "out_of_scope"
