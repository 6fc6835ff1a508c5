"""Hostile names, wherever one comes back: JSON, XML, pictures, downloads, headers, log lines, commands."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import httpx
import pytest
from command_line import ultraread
from fastapi import FastAPI
from filed import new_read
from hostile_names import HOSTILE_NAMES
from serving_api import asked, served
from simulated import simulated_tissue, write_tiff

from ultraread.serving.api.app import create_api
from ultraread.serving.api.bodies import LONGEST_FILE_NAME
from ultraread.serving.api.service import Service
from ultraread.serving.settings import Settings
from ultraread.serving.store.jobs import ReadResult
from ultraread.serving.store.tables import ReadState


def _may_be_a_file(name: str) -> bool:
    unfit = not name.strip() or name in {".", ".."} or not name.isprintable()
    return not unfit and not set("/\\") & set(name) and len(name.encode()) <= LONGEST_FILE_NAME


SHOWN = tuple(name for name in HOSTILE_NAMES if _may_be_a_file(name))[:20]
ADDRESSES = (
    *(
        f"/v1/{of}/{{}}"
        for of in ("slides", "cases", "scan-records", "uploads", "reads", "models", "nothing")
    ),
    *(f"/v1/reads/{{}}/{of}" for of in ("bundle.zip", "tiles.csv", "events", "findings")),
    *(f"/v1/slides/{{}}/images/0{of}" for of in (".dzi", "/thumbnail", "_files/0/0_0.jpg")),
    *("/iiif/3/{}", "/iiif/3/{}/info.json", "/v1/cases/{}/links", "/v1/models/{}/1.0.0"),
    *("/v1/reads?cursor={}", "/v1/audit?subject={}", "/v1/slides?limit={}", "/login?next={}"),
)
DOWNLOAD = re.compile(r'attachment; filename="[A-Za-z0-9][A-Za-z0-9._-]*"')
"""RFC 6266, with names of ours alone: none needs filename*."""
A_DOWNLOAD = 'attachment; filename="a"'
KINDS = re.compile(
    r"application/(problem\+|geo\+)?(json|xml|zip|jsonl|x-ndjson)|image/|text/(csv|event-stream)"
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    limits = {"rate_per_s": 10_000, "rate_burst": 10_000, "stream_limit_s": 0.01}
    data = tmp_path_factory.mktemp("service") / "data"
    return create_api(Settings.model_validate({"data_dir": data, "poll_s": 0.02} | limits))


@pytest.fixture(scope="module")
def http(api: FastAPI) -> Iterator[httpx.Client]:
    with served(api) as address, asked(address) as client:
        yield client


def _filed(http: httpx.Client, name: str, stored: bytes) -> dict[str, str]:
    """A slide that is called so, kept under its name, with a record that says it wherever it may."""
    announced = json.dumps({"file_name": name, "bytes": len(stored)})
    upload = http.post("/v1/uploads", content=announced, headers={"Content-Type": "application/json"})
    whole = {"Content-Range": f"bytes 0-{len(stored) - 1}/{len(stored)}"}
    assert http.put(upload.headers["location"], content=stored, headers=whole).status_code == 200
    told = dict.fromkeys(("accession", "specimen", "block", "grid_or_slide_id"), name)
    body = {"upload_ids": [upload.json()["id"]], "identity": {"policy": "keep", "reason": name}, **told}
    answer = http.post("/v1/slides", json=body)
    assert answer.status_code == 201, answer.text
    filed: dict[str, str] = answer.json()
    return filed


def _read_of(service: Service, slide: str) -> str:
    """A read that has ended, with a file of each kind in its result folder."""
    read = new_read(slide)
    service.jobs.enqueue(read, "a test")
    claim = service.jobs.claim("a test")
    assert claim is not None
    folder = service.settings.result_dir(read.id, claim.epoch) / slide
    folder.mkdir(parents=True)
    for file in ("findings.json", "tiles.csv", "overlay.geojson", "provenance.json"):
        (folder / file).write_text("{}")
    service.jobs.finish(claim, ReadState.SUCCEEDED, ReadResult())
    return read.id


def test_names_come_back_as_text_in_json_and_nowhere_else(
    http: httpx.Client, api: FastAPI, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert len(SHOWN) == 20
    shown = set()
    for number, name in enumerate(SHOWN):
        tissue = simulated_tissue(64, 64, seed=number)
        slide = _filed(http, name, write_tiff(tmp_path / f"{number}.tif", tissue, 4.6).read_bytes())
        read = _read_of(api.state.service, slide["id"])
        for address in _addresses(slide, read):
            answer = http.get(address)
            assert answer.status_code == 200, (address, answer.text)
            if _comes_back(name, answer):
                shown.add(name)
    assert shown == set(SHOWN), "each was asked for under its name"
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("ultraread")]
    assert [name for name in SHOWN if len(name) > 3 and any(name in line for line in logged)] == []


def _addresses(slide: dict[str, str], read: str) -> Iterator[str]:
    yield from ("/v1/slides?limit=1", "/v1/scan-records?limit=1", "/v1/audit?limit=3", "/v1/audit/export")
    yield from (f"/v1/slides/{slide['id']}", f"/v1/scan-records/{slide['scan_record_id']}")
    yield from (f"/v1/slides/{slide['id']}/images/0{of}" for of in (".dzi", "/thumbnail", "_files/0/0_0.jpg"))
    yield from (f"/iiif/3/{slide['id']}-0/{of}" for of in ("info.json", "full/max/0/default.png"))
    yield from (f"/v1/reads/{read}{of}" for of in ("", "/findings", "/tiles.csv", "/overlay.geojson"))
    yield from (f"/v1/reads/{read}{of}" for of in ("/provenance", "/bundle.zip", "/events"))


def _comes_back(name: str, answer: httpx.Response) -> bool:
    """Whether it is in the body; it may be where no browser takes it for more than a text."""
    _held_safe(answer, name)
    if "json" not in answer.headers["content-type"]:
        assert len(name) < 4 or name.encode() not in answer.content, answer.request.url
    if "xml" in answer.headers["content-type"]:
        assert ElementTree.fromstring(answer.text).tag.endswith("Image")  # noqa: S314  # our own server's text
    return "json" in answer.headers["content-type"] and name in _texts(answer)


def _held_safe(answer: httpx.Response, name: str) -> None:
    """Its headers are ours, and say what it is."""
    assert KINDS.match(answer.headers["content-type"]), answer.headers["content-type"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert DOWNLOAD.fullmatch(answer.headers.get("content-disposition", A_DOWNLOAD))
    assert not {"set-cookie", "x", "x-other", "refresh"} & set(answer.headers)
    for header, value in answer.headers.raw:
        assert len(name) < 4 or name.encode("utf-8", "ignore") not in value
        strange = rb"[\x00-\x1f\x7f-\xff]" if header.lower() == b"link" else rb"[\x00-\x1f\x7f-\xff<>]"
        assert not re.search(strange, value), (header, value)


def _texts(answer: httpx.Response) -> str:
    """Every string of a JSON document, or of JSON lines, as it is meant."""
    lines = answer.text.splitlines() if "\n" in answer.text.strip() else [answer.text]
    return "\n".join(json.dumps(json.loads(line), ensure_ascii=False) for line in lines).replace('\\"', '"')


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_name_in_an_address_is_no_name_of_anything(
    address: str, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in HOSTILE_NAMES:
        encoded = quote(name, safe="", errors="replace")
        answer = http.get(address.format(encoded), follow_redirects=False)
        assert answer.status_code < 500, answer.text
        if not answer.is_redirect:
            _held_safe(answer, name)
        else:
            assert answer.headers["location"].startswith(("/iiif/3/", str(http.base_url)))
            assert not re.search(r"[\x00-\x20\x7f-\xff<>]", answer.headers["location"])
        logged = [one.getMessage() for one in caplog.records if one.name.startswith("ultraread")]
        assert not [line for line in logged if len(name) > 6 and name in line]
        caplog.clear()


def test_a_command_line_writes_a_hostile_name_as_one_line(tmp_path: Path) -> None:
    for name in ("a\r\nINFO forged.tif", "\x1b[2J\x1b[31mroot.tif", "a\u2028b.tif", "\u202egpj.tif"):
        (tmp_path / name).write_text("no image")
        ended = ultraread("info", tmp_path / name)
        assert ended.status != 0
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", ended.out + ended.err), name
