"""A folder of many fields: few files are open at once, and running out of them is told as what it is."""

import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from simulated import simulated_tissue, write_tiff

from ultraread.datasets.formats import fields
from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import TileUnreadable
from ultraread.datasets.slide_address import FileAddress, SlideAddress
from ultraread.datasets.stored_file import open_file
from ultraread.errors import SlideTooLarge, StorageUnreachable

GREY = simulated_tissue(64, 48)
BOX = BoxPx(0, 0, 64, 48)


def _folder(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        write_tiff(folder / f"{number}.tif", np.roll(GREY, number, axis=1))
    return folder


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def _at_most_open(more: int) -> Iterator[None]:
    """No more files than those that are open now, and `more`."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_folder_of_many_fields_keeps_few_files_open_and_is_read_by_many_threads(tmp_path: Path) -> None:
    folder, before = _folder(tmp_path / "grid", 150), _open_files()
    with open_slide(folder) as slide:
        assert len(slide.info.images) == 150
        assert _open_files() - before <= 3 * fields.MAX_OPEN
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(lambda n: slide.read_box(n % 150, 0, BOX), range(600)))
        assert all(np.array_equal(each, np.roll(GREY, n % 150, axis=1)) for n, each in enumerate(read))
        assert _open_files() - before <= 3 * fields.MAX_OPEN
    assert _open_files() <= before


def test_a_field_that_became_another_picture_is_unreadable(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "grid", fields.MAX_OPEN + 8)
    with open_slide(folder) as slide:
        write_tiff(folder / "0.tif", simulated_tissue(80, 80))
        (folder / "1.tif").unlink()
        for number in (0, 1):
            with pytest.raises(TileUnreadable):
                slide.read_box(number, 0, BOX)


def test_more_fields_than_a_grid_has_are_refused(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", GREY)
    files = tuple(FileAddress(f"{n}.tif", str(path)) for n in range(fields.MAX_FIELDS + 1))
    with pytest.raises(SlideTooLarge, match="fields in one folder"):
        open_slide(SlideAddress("grid", files))


def test_running_out_of_open_files_is_not_told_as_a_missing_file(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", GREY)
    with ExitStack() as opened, _at_most_open(8), pytest.raises(StorageUnreachable, match="Too many open"):
        _open_without_end(path, opened)


def _open_without_end(path: Path, opened: ExitStack) -> None:
    while True:
        opened.enter_context(closing(open_file(str(path), "a.tif")))
