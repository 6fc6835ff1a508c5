"""The viewing routes over real HTTP: addresses, headers, caching, refusals; never an unexpected failure."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from object_store import ObjectStore
from PIL import Image
from serving_api import asked, file_over_http, served
from simulated import damage_stored_tiles, simulated_semithin, simulated_tissue, write_semithin, write_tiff

from ultraread.serving.api.app import create_api
from ultraread.serving.settings import Settings
from ultraread.serving.store.records import find
from ultraread.serving.store.tables import SlideRow, StoredKind, StoredRow
from ultraread.serving.viewing.slots import RenderingSlots

TISSUE = simulated_tissue(600, 400)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """One application for all that only look."""
    return create_api(Settings(data_dir=tmp_path_factory.mktemp("viewing") / "data"))


@pytest.fixture(scope="module")
def http(api: FastAPI) -> Iterator[httpx.Client]:
    with served(api) as address, asked(address) as client:
        yield client


@pytest.fixture(scope="module")
def slide(http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A filed slide of 600 x 400 px at 4 nm/px."""
    path = write_tiff(tmp_path_factory.mktemp("slide") / "field.tif", TISSUE, 4.0)
    return str(file_over_http(http, path)["id"])


def pixels_of(answer: httpx.Response) -> NDArray[np.uint8]:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def mask(api: FastAPI, slide: str, **box: int) -> None:
    found = [{"where": "pixels", "kind": "name", "image": 0, "box": box}]
    with api.state.service.store.writing() as session:
        find(session, SlideRow, slide).identity = {"policy": "strip", "reason": "", "found": found}


def test_a_slide_whose_pixels_were_never_searched_for_names_is_not_shown(
    api: FastAPI, http: httpx.Client, tmp_path: Path
) -> None:
    filed = str(file_over_http(http, write_tiff(tmp_path / "old.tif", TISSUE, 4.0))["id"])
    with api.state.service.store.writing() as session:
        find(session, SlideRow, filed).identity = None
    for address in (f"/v1/slides/{filed}/images/0/thumbnail", f"/iiif/3/{filed}-0/full/max/0/default.jpg"):
        refused = http.get(address)
        assert (refused.status_code, refused.json()["code"]) == (422, "identity_present")


def test_deep_zoom_leads_from_its_descriptor_to_every_tile(http: httpx.Client, slide: str) -> None:
    answer = http.get(f"/v1/slides/{slide}/images/0.dzi")
    assert answer.headers["content-type"].startswith("application/xml")
    root = ElementTree.fromstring(answer.text)  # noqa: S314  # our own server's text
    assert root[0].attrib == {"Width": "600", "Height": "400"}
    sizes = {}
    for level in range(11):
        tile = http.get(f"/v1/slides/{slide}/images/0_files/{level}/0_0.jpg")
        assert tile.headers["content-type"] == "image/jpeg"
        sizes[level] = pixels_of(tile).shape
    assert (sizes[0], sizes[8], sizes[10]) == ((1, 1), (100, 150), (255, 255))
    last = pixels_of(http.get(f"/v1/slides/{slide}/images/0_files/10/2_1.jpg")).astype(int)
    assert np.abs(last - TISSUE[253:, 507:]).mean() < 4
    assert http.get(f"/v1/slides/{slide}/images/0_files/10/3_0.jpg").json()["code"] == "not_found"
    assert http.get(f"/v1/slides/{slide}/images/1.dzi").json()["code"] == "not_found"


def test_iiif_gives_the_very_pixels_of_the_file(http: httpx.Client, slide: str) -> None:
    whole = pixels_of(http.get(f"/iiif/3/{slide}-0/full/max/0/default.png"))
    assert np.array_equal(whole, TISSUE)
    part = pixels_of(http.get(f"/iiif/3/{slide}-0/50,60,200,100/max/90/gray.png"))
    assert np.array_equal(part, np.rot90(TISSUE[60:160, 50:250], 3))


def test_iiif_says_what_it_is(http: httpx.Client, slide: str) -> None:
    answer = http.get(f"/iiif/3/{slide}-0", follow_redirects=True)
    assert (answer.history[0].status_code, answer.url.path) == (303, f"/iiif/3/{slide}-0/info.json")
    told = answer.json()
    assert told["id"] == f"{http.base_url}".rstrip("/") + f"/iiif/3/{slide}-0"
    assert (told["type"], told["profile"]) == ("ImageService3", "level2")
    assert (told["width"], told["height"]) == (600, 400)
    assert told["service"][0]["physicalScale"] == pytest.approx(4e-6)
    assert answer.headers["content-type"] == "application/json"
    as_ld = http.get(f"/iiif/3/{slide}-0/info.json", headers={"Accept": "application/ld+json"})
    assert as_ld.headers["content-type"].startswith("application/ld+json;profile=")
    forwarded = http.get(f"/iiif/3/{slide}-0/info.json", headers={"X-Forwarded-Proto": "https"})
    assert forwarded.json()["id"].startswith("https://127.0.0.1")


def test_iiif_names_the_canonical_address(http: httpx.Client, slide: str) -> None:
    answer = http.get(f"/iiif/3/{slide}-0/pct:0,0,100,100/300,/0/default.jpg")
    canonical = answer.links["canonical"]["url"]
    assert canonical.endswith(f"/iiif/3/{slide}-0/full/300,200/0/default.jpg")
    assert answer.links["profile"]["url"] == "http://iiif.io/api/image/3/level2.json"
    assert http.get(canonical).content == answer.content


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("full/max/45/default.jpg", 501, "view_not_offered"),
        ("full/^900,/0/default.jpg", 501, "view_not_offered"),
        ("full/900,/0/default.jpg", 400, "view_request_invalid"),
        ("full/max/0/default.jpg?low=9&high=3", 400, "view_request_invalid"),
        ("full/max/0/default.jpg?gamma=nan", 422, "request_invalid"),
        ("full/max/0", 404, "not_found"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_its_code(
    http: httpx.Client, slide: str, address: str, status: int, code: str
) -> None:
    answer = http.get(f"/iiif/3/{slide}-0/{address}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "identifier", ["none-0", "none", "{slide}-1", "{slide}-x", "{slide}-", "-0", "{slide}"]
)
def test_what_is_no_image_is_not_found(http: httpx.Client, slide: str, identifier: str) -> None:
    answer = http.get(f"/iiif/3/{identifier.format(slide=slide)}/info.json")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_browser_that_has_a_picture_is_sent_no_second_one(
    http: httpx.Client, api: FastAPI, tmp_path: Path
) -> None:
    slide = str(file_over_http(http, write_tiff(tmp_path / "other.tif", TISSUE))["id"])
    address = f"/v1/slides/{slide}/images/0/thumbnail?side=100"
    first = http.get(address)
    assert first.headers["cache-control"] == "private, max-age=300"
    again = http.get(address, headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert http.get(address, headers={"If-None-Match": '"other"'}).status_code == 200
    mask(api, slide, x=0, y=0, width=600, height=200)
    masked = http.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert masked.status_code == 200
    assert np.ptp(pixels_of(masked)[:20]) <= 6, "the mask came after the picture was kept"
    assert http.get(f"/v1/slides/{slide}").headers["cache-control"] == "no-store"


def test_a_picture_with_a_hole_is_sent_but_not_to_be_kept(http: httpx.Client, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "damaged.tif", TISSUE, tile=(256, 256), compression="zlib")
    slide = file_over_http(http, damage_stored_tiles(path, [5]))["id"]
    answer = http.get(f"/iiif/3/{slide}-0/full/max/0/default.png")
    assert (pixels_of(answer)[256:, 512:] == 0).all()
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers


def test_only_pages_of_the_service_s_own_hosts_may_use_a_picture(http: httpx.Client, slide: str) -> None:
    address = f"/iiif/3/{slide}-0/info.json"
    own = http.get(address, headers={"Origin": "http://localhost:5173"})
    assert own.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert own.headers["vary"] == "Origin"
    assert http.get(address, headers={"Origin": "https://elsewhere.example"}).status_code == 403
    assert "access-control-allow-origin" not in http.get(address).headers


def test_the_window_can_be_stated_on_every_route(http: httpx.Client, slide: str) -> None:
    plain = pixels_of(http.get(f"/iiif/3/{slide}-0/full/max/0/default.png"))
    inverted = pixels_of(http.get(f"/iiif/3/{slide}-0/full/max/0/default.png?invert=true"))
    assert np.array_equal(inverted, 255 - plain)
    for address in (
        f"/v1/slides/{slide}/images/0_files/10/0_0.jpg",
        f"/v1/slides/{slide}/images/0/thumbnail",
    ):
        black = pixels_of(http.get(f"{address}?low=250&high=255"))
        assert black.max() <= 4


def test_a_semithin_section_is_filed_in_the_same_case_and_shown_in_colour(
    http: httpx.Client, tmp_path: Path
) -> None:
    http.post("/v1/cases", json={"id": "C-1"})
    colours = simulated_semithin(700, 500)
    grey = file_over_http(http, write_tiff(tmp_path / "em.tif", TISSUE, 4.0), case_id="C-1")["id"]
    glass = file_over_http(http, write_semithin(tmp_path / "glass.tif", 700, 500), case_id="C-1")["id"]
    assert http.get("/v1/cases/C-1").json()["slide_ids"] == [grey, glass]
    shown = pixels_of(http.get(f"/v1/slides/{glass}/images/0/thumbnail"))
    assert shown.shape == (183, 256, 3)
    assert np.abs(shown.mean(axis=(0, 1)) - colours.mean(axis=(0, 1))).max() < 4
    assert pixels_of(http.get(f"/iiif/3/{glass}-0/full/max/0/color.png")).shape == (500, 700, 3)


def test_a_slide_that_lies_in_an_object_store_is_shown_too(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    api = create_api(Settings(data_dir=tmp_path / "data", slides_url=object_store.bucket()))
    with served(api) as address, asked(address) as http:
        slide = file_over_http(http, write_tiff(tmp_path / "far.tif", TISSUE))["id"]
        assert np.array_equal(pixels_of(http.get(f"/iiif/3/{slide}-0/full/max/0/default.png")), TISSUE)


def test_too_many_pictures_at_once_are_asked_to_come_again(
    http: httpx.Client, api: FastAPI, slide: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = RenderingSlots(at_once=1, waiting=0)
    monkeypatch.setattr(api.state.viewer, "_slots", full)
    address = f"/v1/slides/{slide}/images/0/thumbnail?side=77"
    with full.one():
        answer = http.get(address)
    assert (answer.status_code, answer.json()["code"]) == (503, "view_busy")
    assert answer.headers["retry-after"] == "1"
    assert http.get(address).status_code == 200


def test_a_slide_that_was_removed_is_not_shown_from_memory_and_not_held_open(
    http: httpx.Client, api: FastAPI, tmp_path: Path
) -> None:
    slide = str(file_over_http(http, write_tiff(tmp_path / "gone.tif", TISSUE))["id"])
    address = f"/v1/slides/{slide}/images/0/thumbnail?side=78"
    assert http.get(address).status_code == 200
    slides = api.state.viewer._slides
    there = len(slides)
    with api.state.service.store.writing() as session:
        kept = session.get_one(StoredRow, (StoredKind.SLIDE.value, slide))
        kept.expired = {"at": "2026-01-01", "why": "its time was over"}
    assert http.get(address).json()["code"] == "storage_expired"
    assert len(slides) == there - 1


def test_files_that_are_gone_are_told_without_a_path(
    http: httpx.Client, api: FastAPI, tmp_path: Path
) -> None:
    slide = str(file_over_http(http, write_tiff(tmp_path / "lost.tif", TISSUE))["id"])
    shutil.rmtree(api.state.service.settings.slides_dir / slide)
    answer = http.get(f"/v1/slides/{slide}/images/0/thumbnail")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "/" not in answer.json()["detail"]


PARTS = st.sampled_from(
    ["full", "square", "0,0,5,5", "pct:10,10,20,20", "max", "5,", ",5", "!9,9", "pct:3", "0", "90"]
)
WORDS = PARTS | st.text(st.characters(codec="utf-8", exclude_characters="/?#"), min_size=1, max_size=12)


@given(
    words=st.lists(WORDS, min_size=3, max_size=3),
    last=st.sampled_from(["default.jpg", "gray.png", "x"]) | WORDS,
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_no_address_leads_to_an_unexpected_failure(
    http: httpx.Client, slide: str, words: list[str], last: str
) -> None:
    path = "/".join(_quoted(word) for word in (*words, last))
    answer = http.get(f"/iiif/3/{slide}-0/{path}")
    assert answer.status_code in {200, 400, 404, 501}
    if answer.status_code != 200:
        problem: dict[str, Any] = answer.json()
        assert problem["status"] == answer.status_code


def _quoted(word: str) -> str:
    """Percent-encoded whole, so that nothing is taken for a step in a path."""
    return "".join(f"%{byte:02X}" for byte in word.encode())
