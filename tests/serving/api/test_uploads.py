"""Uploads over HTTP: what is there, what is missing, and every header held against the bytes."""

import base64
import hashlib
from pathlib import Path

import httpx
from object_store import ObjectStore
from serving_api import asked, served

from ultraread.serving.api.app import create_api
from ultraread.serving.settings import Settings

FILE = b"0123456789"


def open_upload(http: httpx.Client, **more: str) -> str:
    answer = http.post("/v1/uploads", json={"file_name": "a.tif", "bytes": 10, **more})
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/uploads/{answer.json()['id']}")
    return str(answer.json()["id"])


def put(http: httpx.Client, upload: str, start: int, part: bytes, **headers: str) -> httpx.Response:
    told = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/10", **headers}
    return http.put(f"/v1/uploads/{upload}", content=part, headers=told)


def field(data: bytes) -> str:
    """A digest as RFC 9530 writes it, beside another one that is not looked at."""
    return f"unixsum=30637, sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def test_parts_come_in_any_order_and_the_answer_tells_what_is_missing(http: httpx.Client) -> None:
    upload = open_upload(http)
    put(http, upload, 7, b"789")
    told = put(http, upload, 2, b"23").json()
    assert (told["received"], told["ranges"], told["missing"]) == (0, [[2, 4], [7, 10]], [[0, 2], [4, 7]])
    assert http.get(f"/v1/uploads/{upload}").json() == told
    assert put(http, upload, 1, b"12345").json()["ranges"] == [[1, 6], [7, 10]]
    answer = put(http, upload, 0, b"0x")
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_offset_conflict")
    told = put(http, upload, 0, FILE).json()
    assert (told["received"], told["ranges"], told["missing"]) == (10, [[0, 10]], [])


def test_a_part_that_changed_on_the_way_is_not_taken(http: httpx.Client) -> None:
    upload = open_upload(http)
    answer = put(http, upload, 0, b"0123X", **{"Content-Digest": field(b"01234")})
    assert (answer.status_code, answer.json()["code"]) == (422, "upload_checksum_mismatch")
    assert put(http, upload, 0, b"01234", **{"Content-Digest": field(b"01234")}).json()["received"] == 5


def test_a_file_that_changed_on_the_way_is_thrown_away(http: httpx.Client) -> None:
    upload = open_upload(http)
    put(http, upload, 5, b"5678X", **{"Repr-Digest": field(FILE)})
    answer = put(http, upload, 0, b"01234")
    assert (answer.status_code, answer.json()["code"]) == (422, "upload_checksum_mismatch")
    assert http.get(f"/v1/uploads/{upload}").json()["missing"] == [[0, 10]]
    assert put(http, upload, 0, FILE, **{"Repr-Digest": field(FILE)}).json()["received"] == 10


WRONG: tuple[tuple[dict[str, str], str], ...] = (
    ({}, "request_invalid"),
    ({"Content-Range": "0-4/10"}, "request_invalid"),
    ({"Content-Range": "bytes 0-3/10"}, "request_invalid"),
    ({"Content-Range": "bytes 0-5/10"}, "request_invalid"),
    ({"Content-Range": "bytes 4-0/10"}, "request_invalid"),
    ({"Content-Range": "bytes 8-12/10"}, "request_invalid"),
    ({"Content-Range": f"bytes 0-{32 * 2**20}/{2**40}"}, "upload_too_large"),
    ({"Content-Range": "bytes 0-4/10", "Repr-Digest": "md5=:AAAA:"}, "request_invalid"),
    ({"Content-Range": "bytes 0-4/10", "Content-Digest": "sha-256=:AAAA:"}, "request_invalid"),
)


def test_a_part_that_does_not_say_rightly_what_it_is_is_refused(http: httpx.Client) -> None:
    upload = open_upload(http)
    for headers, code in WRONG:
        answer = http.put(f"/v1/uploads/{upload}", content=b"01234", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == ({"upload_too_large": 413}.get(code, 422), code)
    assert http.get(f"/v1/uploads/{upload}").json()["received"] == 0


def test_an_upload_is_found_by_its_digest_and_thrown_away(http: httpx.Client, settings: Settings) -> None:
    digest = hashlib.sha256(FILE).hexdigest()
    upload = open_upload(http, sha256=digest)
    found = http.get("/v1/uploads", params={"sha256": digest}).json()["items"]
    assert [one["id"] for one in found] == [upload]
    assert http.delete(f"/v1/uploads/{upload}").status_code == 204
    assert http.get("/v1/uploads", params={"sha256": digest}).json()["items"] == []
    assert http.delete(f"/v1/uploads/{upload}").json()["code"] == "not_found"
    assert list(settings.uploads_dir.iterdir()) == []


def test_a_slide_is_filed_from_a_listed_bucket(
    settings: Settings, object_store: ObjectStore, em_field: Path
) -> None:
    bucket = object_store.bucket()
    object_store.files().put_file(str(em_field), f"{bucket}/in/a.tif")
    digest = hashlib.sha256(em_field.read_bytes()).hexdigest()
    wanted = {"url": f"{bucket}/in/a.tif", "sha256": digest}
    listing = settings.model_copy(update={"ingest_urls": (f"{bucket}/in",)})
    with served(create_api(listing)) as address, asked(address) as http:
        answer = http.post("/v1/slides", json=wanted)
        assert (answer.status_code, answer.json()["files"][0]["sha256"]) == (201, digest)
        answer = http.post("/v1/slides", json=wanted | {"sha256": "0" * 64})
        assert (answer.status_code, answer.json()["code"]) == (422, "upload_checksum_mismatch")
        for refused in ({"url": f"{bucket}/out/a.tif"}, {"url": "https://example.org/a.tif"}):
            assert http.post("/v1/slides", json=refused).json()["code"] == "url_not_allowed"
        both = http.post("/v1/slides", json=wanted | {"upload_ids": ["u"]})
        assert both.json()["code"] == "request_invalid"
    assert list(settings.uploads_dir.iterdir()) == []
