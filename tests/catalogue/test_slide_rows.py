"""Section 2.2 of the catalogue of bad input, slide rows: each is crafted, and met at its door with its code.

`REFUSED` are turned away when they are filed. `UNREADABLE` are filed, and their read is refused. `ENDS` are
read, and end with this state and code. After each, the service still files and reads a good slide.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from crafted import (
    GREY,
    LAUGHS,
    NM_PER_PX,
    Make,
    bomb,
    bomb_beside_the_pixels,
    chain_of_directories,
    content,
    cut,
    declared_size,
    deep_groups,
    deeper,
    deflated,
    dicom_of_depth,
    dicom_of_frames,
    dicom_of_length,
    emd,
    external_link,
    external_storage,
    first_bytes,
    floats,
    group_heap,
    inconsistent_pyramid,
    jpeg2000,
    lzw,
    ome_xml,
    png_bomb,
    soft_link_loop,
    tarred,
    tiff,
    virtual_dataset,
    with_tags,
    zarr_of_depth,
    zarr_of_much_metadata,
    zip_bomb,
    zipped,
    zstandard,
)
from fastapi import FastAPI
from harmful import taught, write_harmful
from serving_api import asked, served
from simulated import damage_stored_tiles, simulated_tissue, write_png, write_tiff
from tiny_model import tiny_model

from ultraread.datasets.slide_address import address_of
from ultraread.errors import SlideTooLarge, UltraReadError
from ultraread.models.classifier import OnnxClassifier
from ultraread.serving.api.app import create_api
from ultraread.serving.conclusion import conclude_read
from ultraread.serving.decoding.limits import DecodeLimits
from ultraread.serving.decoding.pool import DecodingPool
from ultraread.serving.live_models import ServedModel
from ultraread.serving.runner import ReadRunner
from ultraread.serving.score_tiles import RangeScorer
from ultraread.serving.settings import Settings

SCALE = {"nm_per_px": NM_PER_PX, "tolerance": 0.05, "reason": "a test"}
NAME = "PATIENT-NAME"
"""Part of every file's name: no answer may hold it."""


def _harms(does: str, at: str) -> Make:
    everywhere = tuple((x, y) for x in range(8, 256, 16) for y in range(8, 256, 16))
    return lambda folder: write_harmful(folder / "slide.tif", does, at, everywhere)


REFUSED: dict[str, tuple[Make, str]] = {
    "zero-size file": (content(b""), "slide_empty"),
    "wrong extension: text": (content(b"a letter about somebody\n"), "slide_type_mismatch"),
    "wrong extension: a program": (content(b"\x7fELF" + bytes(600)), "slide_type_mismatch"),
    "wrong extension: PDF": (content(b"%PDF-1.7" + bytes(600)), "slide_type_mismatch"),
    "wrong extension: GIF": (content(b"GIF89a" + bytes(600)), "slide_type_mismatch"),
    "wrong extension: BMP": (content(b"BM" + bytes(600)), "slide_type_mismatch"),
    "header only: 4 bytes": (first_bytes(4), "slide_truncated"),
    "header only: 8 bytes": (first_bytes(8), "slide_truncated"),
    "header only: 100 bytes": (first_bytes(100), "slide_truncated"),
    "offsets past the end, all": (
        with_tags(tiff(), TileOffsets=lambda old: [2**31] * len(old)),
        "slide_truncated",
    ),
    "offsets that overlap": (
        with_tags(tiff(), TileOffsets=lambda old: [old[0] + 7 * n for n in range(len(old))]),
        "slide_offset_invalid",
    ),
    "circular IFD": (deeper(tiff(), lambda first: first), "slide_ifd_loop"),
    "more than 10,000 IFDs": (chain_of_directories(20_000), "slide_too_many_ifds"),
    "giant dimensions: 2^31": (declared_size(2**31, 2**31), "slide_too_large"),
    "giant dimensions: 400,000": (declared_size(400_000, 400_000), "slide_too_large"),
    "giant dimensions: a tile of 65,536": (declared_size(65_536, 65_536, 65_536), "slide_too_large"),
    "compression bomb: texts of HDF5": (bomb_beside_the_pixels, "slide_bomb"),
    "unsupported compression": (with_tags(tiff(), Compression=34_661), "slide_codec_unsupported"),
    "decoder hangs at opening": (_harms("hang", "open"), "slide_decode_timeout"),
    "decoder crashes at opening": (_harms("abort", "open"), "slide_decode_crash"),
    "decoder exceeds memory at opening": (_harms("fill", "open"), "slide_decode_crash"),
    "decoder hangs at a tile": (_harms("hang", "tile"), "slide_decode_timeout"),
    "decoder crashes at a tile": (_harms("abort", "tile"), "slide_decode_crash"),
    "decoder exceeds memory at a tile": (_harms("fill", "tile"), "slide_decode_crash"),
    "0x0 image": (declared_size(0, 0), "slide_truncated"),
    "pixel format: complex": (
        tiff(GREY.astype(np.complex64), photometric="minisblack"),
        "slide_pixel_format",
    ),
    "pixel format: CMYK": (tiff(np.dstack([GREY] * 4), photometric="separated"), "slide_pixel_format"),
    "pyramid levels inconsistent": (inconsistent_pyramid, "slide_pyramid_invalid"),
    "zip with ../x": (zipped, "archive_not_taken"),
    "zip bomb": (zip_bomb, "archive_not_taken"),
    "tar with an absolute member and a symlink": (tarred("w"), "archive_not_taken"),
    "tar, compressed": (tarred("w:gz"), "archive_not_taken"),
    "HDF5 external link": (emd(external_link), "slide_external_ref"),
    "HDF5 external storage": (emd(external_storage), "slide_external_ref"),
    "HDF5 virtual dataset": (emd(virtual_dataset), "slide_external_ref"),
    "HDF5 groups too deep": (emd(deep_groups), "slide_damaged"),
    "HDF5 heap of 2^40 bytes": (group_heap, "slide_damaged"),
    "XML: billion laughs": (ome_xml(LAUGHS, "&l9;"), "slide_metadata_invalid"),
    "XML: external entity": (
        ome_xml('<!ENTITY x SYSTEM "file:///etc/passwd">', "&x;"),
        "slide_metadata_invalid",
    ),
    "DICOM: sequences too deep": (dicom_of_depth(5_000), "dicom_invalid"),
    "DICOM: length overflow": (dicom_of_length(2**32 - 16), "dicom_invalid"),
    "DICOM: a million frames": (dicom_of_frames(1_000_000), "dicom_invalid"),
}
UNREADABLE: dict[str, tuple[Make, str]] = {
    "NaN: one": (floats(np.nan), "slide_nonfinite_pixels"),
    "NaN: all": (floats(np.nan, everywhere=True), "slide_nonfinite_pixels"),
    "Inf": (floats(np.inf), "slide_nonfinite_pixels"),
    "1x1 image": (tiff(GREY[:1, :1]), "slide_too_small"),
    "1xN image": (tiff(GREY[:1]), "slide_too_small"),
    "missing pixel size": (tiff(nm_per_px=None), "slide_no_pixel_size"),
    "unit none": (tiff(nm_per_px=None, resolution=(1, 1), resolutionunit="NONE"), "slide_no_pixel_size"),
    "72 dpi": (tiff(nm_per_px=None, resolution=(72, 72), resolutionunit="INCH"), "slide_no_pixel_size"),
    "non-square pixels": (
        tiff(nm_per_px=None, resolution=(2e6, 1e6), resolutionunit="CENTIMETER"),
        "slide_pixel_not_square",
    ),
}
ENDS: dict[str, tuple[Make, str, str]] = {
    "truncated tile, one of 16": (
        lambda at: damage_stored_tiles(tiff(compression="zstd")(at), [5]),
        "partial",
        "",
    ),
    "truncated tiles, all": (
        lambda at: damage_stored_tiles(tiff(compression="zstd")(at), list(range(16))),
        "failed",
        "read_too_many_failed_tiles",
    ),
    "compression bomb: deflate": (bomb("deflate", deflated), "failed", "read_too_many_failed_tiles"),
    "compression bomb: zstd": (bomb("zstd", zstandard), "failed", "read_too_many_failed_tiles"),
    "compression bomb: LZW, stopped at the declared bytes": (bomb("lzw", lzw), "succeeded", ""),
    "compression bomb: PNG, stopped at the declared bytes": (png_bomb, "succeeded", ""),
    "compression bomb: JPEG 2000": (bomb("jpeg2000", jpeg2000), "failed", "read_too_many_failed_tiles"),
    "constant slide": (tiff(np.full((256, 256), 90, np.uint8)), "succeeded", ""),
    "black slide": (tiff(np.zeros((256, 256), np.uint8)), "succeeded", ""),
    "16 bit": (tiff(GREY.astype(np.uint16) * 200), "succeeded", ""),
    "inverted (MinIsWhite)": (tiff(photometric="miniswhite"), "succeeded", ""),
    "big-endian": (tiff(byteorder=">"), "succeeded", ""),
    "BigTIFF": (tiff(bigtiff=True), "succeeded", ""),
    "wrong extension: PNG": (lambda at: write_png(at / "slide.tif", GREY), "succeeded", ""),
    "HDF5 soft-link loop": (emd(soft_link_loop), "succeeded", ""),
}


@dataclass(frozen=True, slots=True)
class Door:
    """The service, asked over HTTP, and its runner, which works when it is told to."""

    http: httpx.Client
    runner: ReadRunner
    settings: Settings

    def file(self, path: Path) -> httpx.Response:
        data, name = path.read_bytes(), f"{NAME}{path.suffix}"
        upload = self.http.post("/v1/uploads", json={"file_name": name, "bytes": len(data)})
        if upload.status_code != 201:
            return upload
        address = upload.headers["location"]
        if data:
            whole = {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
            assert self.http.put(address, content=data, headers=whole).status_code == 200
        return self.http.post("/v1/slides", json={"upload_ids": [address.rpartition("/")[2]]})

    def ask(self, path: Path, **more: Any) -> httpx.Response:  # noqa: ANN401
        filed = self.file(path)
        assert filed.status_code == 201, filed.text
        return self.http.post("/v1/reads", json={"slide_ids": [filed.json()["id"]], **more})

    def read(self, path: Path) -> dict[str, Any]:
        asked_for = self.ask(path, scale=SCALE, contrast_confirmed="a test")
        assert asked_for.status_code == 202, asked_for.text
        while self.runner.run_next():
            pass
        ended: dict[str, Any] = self.http.get(asked_for.headers["location"]).json()
        return ended

    def is_alive(self, folder: Path) -> None:
        """A good slide is filed as before, by the same processes."""
        filed = self.file(write_tiff(folder / "good.tif", simulated_tissue(96, 96), NM_PER_PX))
        assert filed.status_code in {200, 201}, filed.text
        assert self.http.get("/healthz").status_code == 200


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("service")
    model = tiny_model(folder / "model", max_failed_fraction=0.1, bit_depths=[8, 16, 32])
    limits = {"decode_memory_mib": 512, "decode_tile_s": 4, "decode_open_s": 8, "range_tiles": 16}
    settings = Settings(data_dir=folder / "data", models=(str(model.path),), poll_s=0.02, **limits)
    with pytest.MonkeyPatch.context() as environment:
        taught(environment)
        app: FastAPI = create_api(settings)
        decoding = app.state.service.decoding
        scorer = RangeScorer(OnnxClassifier(model, threads=1), decoding=decoding)
        live = ServedModel(model, lambda tasks: map(scorer, tasks))
        runner = ReadRunner(
            settings, app.state.service.jobs, lambda *_: live, conclude_read, "tests", open_one=decoding.open
        )
        with served(app) as address, asked(address) as http:
            yield Door(http, runner, settings)
        scorer.close()


@pytest.mark.parametrize("row", REFUSED)
def test_it_is_not_filed(row: str, door: Door, tmp_path: Path) -> None:
    make, code = REFUSED[row]
    answer = door.file(make(tmp_path))
    _is_told(answer, code, tmp_path, door)
    door.is_alive(tmp_path)


@pytest.mark.parametrize("row", UNREADABLE)
def test_it_is_filed_and_its_read_is_refused(row: str, door: Door, tmp_path: Path) -> None:
    make, code = UNREADABLE[row]
    _is_told(door.ask(make(tmp_path)), code, tmp_path, door)


@pytest.mark.parametrize("row", ENDS)
def test_it_is_read_and_ends(row: str, door: Door, tmp_path: Path) -> None:
    make, state, code = ENDS[row]
    ended = door.read(make(tmp_path))
    assert (ended["state"], (ended.get("error") or {}).get("code", "")) == (state, code), ended
    door.is_alive(tmp_path)


def _is_told(answer: httpx.Response, code: str, folder: Path, door: Door) -> None:
    """422 with the code, and no word of where, what and whose it is."""
    told = answer.json()
    assert (answer.status_code, told["code"]) == (422, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    for secret in (NAME, str(folder), str(door.settings.data_dir), "Traceback", ".py", "/etc/"):
        assert secret not in answer.text


@pytest.mark.parametrize(("keep", "state"), [(0.3, "failed"), (0.6, "failed"), (0.99, "partial")])
def test_a_file_that_is_cut_off_is_read_as_far_as_the_card_allows(
    keep: float, state: str, door: Door, tmp_path: Path
) -> None:
    assert door.read(cut(keep, compression="zstd")(tmp_path))["state"] == state


def test_a_file_that_changes_while_the_service_reads_it_gives_no_result(door: Door, tmp_path: Path) -> None:
    path = tiff(simulated_tissue(512, 512, seed=5))(tmp_path)
    asked_for = door.ask(path, scale=SCALE, contrast_confirmed="a test")
    kept = door.settings.slides_dir / asked_for.json()["slide_ids"][0] / "0.tif"
    reading = threading.Thread(target=door.runner.run_next)
    reading.start()
    while reading.is_alive() and not list(door.settings.reads_dir.rglob("*.npz")):
        time.sleep(0.001)
    kept.write_bytes(tiff(simulated_tissue(512, 512, seed=6))(tmp_path).read_bytes())
    reading.join()
    ended = door.http.get(asked_for.headers["location"]).json()
    assert (ended["state"], ended["error"]["code"]) == ("failed", "read_input_changed")


def test_the_queue_flows_behind_a_slide_that_kills_its_decoder_at_every_tile(
    door: Door, tmp_path: Path
) -> None:
    """Filed as harmless, it turns: as a decoder does that crashes on another machine."""
    harmless = write_harmful(tmp_path / "turns.tif", "nothing")
    poisoned = door.ask(harmless, scale=SCALE, contrast_confirmed="a test")
    good = door.ask(
        tiff(simulated_tissue(256, 256, seed=9))(tmp_path), scale=SCALE, contrast_confirmed="a test"
    )
    kept = door.settings.slides_dir / poisoned.json()["slide_ids"][0] / "0.tif"
    kept.write_bytes(_harms("abort", "tile")(tmp_path).read_bytes())
    while door.runner.run_next():
        pass
    ends = [door.http.get(each.headers["location"]).json() for each in (poisoned, good)]
    assert [(each["state"], (each.get("error") or {}).get("code")) for each in ends] == [
        ("failed", "slide_decode_crash"),
        ("succeeded", None),
    ]


@pytest.mark.parametrize(
    ("make", "code"), [(zarr_of_much_metadata, "slide_too_large"), (zarr_of_depth, "slide_truncated")]
)
def test_folders_whose_description_is_a_bomb_are_refused(make: Make, code: str, tmp_path: Path) -> None:
    decoding = DecodingPool()
    with pytest.raises(UltraReadError) as refused:
        decoding.open(address_of(make(tmp_path)))
    decoding.close()
    assert refused.value.code == code


def test_giant_dimensions_are_refused_from_the_header_alone(tmp_path: Path) -> None:
    """Below 200 ms and 100 MB, once a process is there."""
    decoding = DecodingPool(DecodeLimits(memory_bytes=100 * 2**20))
    decoding.open(address_of(tiff()(tmp_path))).close()
    path = declared_size(400_000, 400_000)(tmp_path)
    started = time.monotonic()
    with pytest.raises(SlideTooLarge):
        decoding.open(address_of(path))
    taken = time.monotonic() - started
    decoding.close()
    assert taken < 5, "5 s on a machine where other tests run; 200 ms on a quiet one"
