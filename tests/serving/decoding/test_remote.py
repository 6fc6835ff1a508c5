"""Slides in an object store: the service fetches the ranges, and the decoding process has no network."""

from contextlib import closing
from pathlib import Path

import pytest
from object_store import ObjectStore
from simulated import simulated_tissue, write_tiff

from ultraread.datasets.geometry import whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide_address import FileAddress, SlideAddress, address_of
from ultraread.datasets.stored_file import remote_files
from ultraread.errors import SlideNotFound
from ultraread.serving.decoding.fetching import fetcher_of
from ultraread.serving.decoding.messages import Fetch
from ultraread.serving.decoding.pool import DecodingPool


def test_a_remote_slide_is_read_through_the_service(object_store: ObjectStore, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", simulated_tissue(300, 200), 4.6, compression="zstd")
    place = f"{object_store.bucket()}/slide.tif"
    files, key = remote_files(place)
    files.put_file(str(path), key)
    gone = SlideAddress("gone.tif", (FileAddress("gone.tif", f"{place}.gone"),))
    with closing(DecodingPool()) as pool, open_slide(path) as same:
        with pool.open(address_of(place)) as slide:
            box = whole(same.info.images[0].size)
            assert (slide.read_box(0, 0, box) == same.read_box(0, 0, box)).all()
        with pytest.raises(SlideNotFound):
            pool.open(gone)


def test_nothing_but_the_slide_is_fetched_for_it() -> None:
    slide = SlideAddress("a.tif", (FileAddress("a.tif", "s3://slides/a.tif"),))
    assert fetcher_of(slide)(Fetch("s3://slides/b.tif")).failure == "FileNotFoundError"
