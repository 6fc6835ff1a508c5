"""Slides in an object store: only ranges that are needed are fetched, as a proxy before the server counts."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from command_line import ultraread
from counting_proxy import CountingProxy, counting
from numpy.typing import NDArray
from object_store import ObjectStore
from simulated import simulated_tissue, write_tiff
from simulated_instruments import write_dm, write_emi, write_mrc, write_ncem, write_ser
from simulated_wide import write_dicom_slide, write_ome_zarr

from ultraread.datasets.geometry import BoxPx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide_address import address_of
from ultraread.errors import SlideNotFound, StorageUnreachable

KB = 1000
SIDE_PX = 16_384
TILE_PX = 256


@pytest.fixture
def bucket(object_store: ObjectStore) -> str:
    return object_store.bucket()


@pytest.fixture
def proxy(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingProxy]:
    """Between this process and the server from here on."""
    with counting(object_store.endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.endpoint)
        _forget_connections()
        yield between
    _forget_connections()


def _forget_connections() -> None:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def put(store: ObjectStore, path: Path, bucket: str) -> str:
    """Store a file or folder; return its address."""
    address = f"{bucket}/{path.name}"
    store.files().put(str(path), address, recursive=path.is_dir())
    return address


def fetched(proxy: CountingProxy, read: Callable[[], NDArray[Any]]) -> tuple[NDArray[Any], int]:
    before = proxy.sent_back
    return read(), proxy.sent_back - before


def test_a_tile_of_a_large_pyramid_costs_its_tables_and_that_tile(
    object_store: ObjectStore,
    bucket: str,
    proxy: CountingProxy,
    tmp_path: Path,
) -> None:
    path, tissue = write_large(tmp_path / "large.tif")
    tile_bytes = stored_bytes(path, 1)
    address = put(object_store, path, bucket)
    before = proxy.sent_back
    with open_slide(address) as slide:
        opening = proxy.sent_back - before
        pixels, first = fetched(proxy, lambda: slide.read_box(0, 0, BoxPx(5120, 5120, TILE_PX, TILE_PX)))
        again, second = fetched(proxy, lambda: slide.read_box(0, 0, BoxPx(5130, 5130, 200, 200)))
        region, third = fetched(proxy, lambda: slide.read_box(0, 0, BoxPx(8192, 8192, 1024, 1024)))
    assert np.array_equal(pixels, tissue[5120:5376, 5120:5376])
    assert np.array_equal(again, tissue[5130:5330, 5130:5330])
    assert np.array_equal(region, tissue[8192:9216, 8192:9216])
    print(
        f"pyramid of {path.stat().st_size:,} bytes: opening {opening:,}, one tile {first:,}, again {second}, "
        f"4 x 4 tiles {third:,}; a stored tile {tile_bytes:,.0f}"
    )
    assert path.stat().st_size > 20_000 * KB
    assert opening < 400 * KB
    assert first < 1.1 * tile_bytes
    assert second == 0
    assert third < 1.1 * 16 * tile_bytes


def write_large(path: Path) -> tuple[Path, NDArray[np.uint8]]:
    """A simulated pyramid of 16,384 px; stored tiles repeat, and are compressed only once."""
    patch = simulated_tissue(1024, 1024) // 32 * 32
    tissue = np.tile(patch, (SIDE_PX // 1024,) * 2)
    with tifffile.TiffWriter(path) as writer:
        for level in range(4):
            side = SIDE_PX >> level
            few = [zlib.compress(tile.tobytes()) for tile in tiles_of(patch)]
            order = (
                (row % 4) * 4 + column % 4
                for row in range(side // TILE_PX)
                for column in range(side // TILE_PX)
            )
            options: dict[str, Any] = {"subifds": 3} if level == 0 else {"subfiletype": 1}
            writer.write(
                (few[number] for number in order), shape=(side, side), dtype="uint8", tile=(TILE_PX, TILE_PX),
                compression="adobe_deflate", photometric="minisblack", metadata=None, **options,
            )  # fmt: skip
    return path, tissue


def tiles_of(patch: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for top in range(0, 1024, TILE_PX):
        for left in range(0, 1024, TILE_PX):
            yield patch[top : top + TILE_PX, left : left + TILE_PX]


def stored_bytes(path: Path, tiles: int) -> float:
    """What so many stored tiles of the full size take, in the mean."""
    with tifffile.TiffFile(path) as file:
        counts = file.pages.first.databytecounts
    return tiles * sum(counts) / len(counts)


def test_a_store_that_falls_silent_while_headers_are_parsed_is_no_damage_of_the_slide(
    object_store: ObjectStore,
    bucket: str,
    proxy: CountingProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    folder = write_dicom_slide(tmp_path / "slide", simulated_tissue(1024, 1024), levels=2)
    address = put(object_store, folder, bucket)
    proxy.silent_from = proxy.sent_back + 8 * KB  # enough to see what kind of files they are
    with pytest.raises(StorageUnreachable):
        open_slide(address)


def test_a_chunk_of_an_ome_zarr_costs_its_metadata_and_that_chunk(
    object_store: ObjectStore,
    bucket: str,
    proxy: CountingProxy,
    tmp_path: Path,
) -> None:
    tissue = simulated_tissue(2048, 2048)
    folder = write_ome_zarr(tmp_path / "slide.zarr", tissue, levels=2, scale=(4.6, 4.6), chunks=(256, 256))
    before_opening = put(object_store, folder, bucket), proxy.sent_back
    with open_slide(before_opening[0]) as slide:
        opening = proxy.sent_back - before_opening[1]
        pixels, chunk = fetched(proxy, lambda: slide.read_box(0, 0, BoxPx(512, 768, 256, 256)))
    assert np.array_equal(pixels, tissue[768:1024, 512:768])
    print(f"OME-Zarr: opening {opening:,}, one chunk {chunk:,}")
    assert opening < 100 * KB
    assert chunk < 80 * KB


def test_a_frame_of_a_dicom_slide_costs_its_header_and_that_frame(
    object_store: ObjectStore,
    bucket: str,
    proxy: CountingProxy,
    tmp_path: Path,
) -> None:
    tissue = simulated_tissue(2048, 2048)
    address = put(object_store, write_dicom_slide(tmp_path / "slide", tissue, levels=2, tile_px=256), bucket)
    before = proxy.sent_back
    with open_slide(address) as slide:
        opening = proxy.sent_back - before
        pixels, frame = fetched(proxy, lambda: slide.read_box(0, 0, BoxPx(512, 768, 256, 256)))
    assert np.array_equal(pixels, tissue[768:1024, 512:768])
    print(f"DICOM: opening {opening:,}, one frame {frame:,}")
    assert opening < 400 * KB
    assert frame < 1.2 * 256 * 256


def test_info_and_read_take_addresses(
    object_store: ObjectStore,
    bucket: str,
    tmp_path: Path,
) -> None:
    path = write_tiff(tmp_path / "field.tif", simulated_tissue(512, 512), nm_per_px=4.6)
    address = put(object_store, path, bucket)
    here, there = ultraread("info", path, "--json"), ultraread("info", address, "--json")
    assert there.status == 0
    assert there.printed == here.printed
    read = ultraread("read", address, "--out", tmp_path / "results", "--json")
    assert read.status == 0
    assert (tmp_path / "results/field/findings.json").is_file()


@pytest.mark.parametrize("name", ["a.mrc", "a.emd", "a.dm3"])
def test_instrument_files_are_read_where_they_lie(
    object_store: ObjectStore, bucket: str, name: str, tmp_path: Path
) -> None:
    pixels = simulated_tissue(256, 128).astype(np.float32)
    write = {"a.mrc": write_mrc, "a.emd": write_ncem, "a.dm3": write_dm}[name]
    path = write(tmp_path / name, pixels, nm_per_px=4.6)
    with open_slide(put(object_store, path, bucket)) as there, open_slide(path) as here:
        box = whole(here.info.images[0].size)
        assert np.array_equal(there.read_box(0, 0, box), here.read_box(0, 0, box))


def test_an_emi_file_brings_the_ser_files_beside_it(
    object_store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    tissue = simulated_tissue(64, 48).astype(np.uint16)
    put(object_store, write_ser(tmp_path / "a_1.ser", [tissue], m_per_px=4.6e-9), bucket)
    address = put(object_store, write_emi(tmp_path / "a.emi", {"Mode": "TEM"}), bucket)
    with open_slide(address) as there, open_slide(tmp_path / "a.emi") as here:
        assert there.info == here.info
        box = whole(here.info.images[0].size)
        assert np.array_equal(there.read_box(0, 0, box), here.read_box(0, 0, box))


def test_what_is_not_there_is_not_found(bucket: str) -> None:
    with pytest.raises(SlideNotFound):
        address_of(f"{bucket}/none.tif")
