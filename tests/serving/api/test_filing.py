"""Filing and reading are two doors: what is an image is kept, what is not safe to read is refused."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from serving_api import FileSlide

from ultraread.datasets.corpora import fetch
from ultraread.datasets.digest import sha256_of_file
from ultraread.serving.api.service import Service
from ultraread.serving.settings import Settings
from ultraread.serving.store import records as store_records
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.records import NewSlide

HERE = {"x": 0, "y": 256, "width": 512, "height": 512}
OUTSIDE = {"x": 900, "y": 0, "width": 512, "height": 512}
TOO_SMALL = {"x": 0, "y": 0, "width": 10, "height": 10}
FROM_THE_DATA_SET = {"nm_per_px": 4.6, "reason": "data set's description: 4.6 x 4.6 nm"}


def open_upload(http: httpx.Client, name: str, size: int) -> str:
    answer = http.post("/v1/uploads", json={"file_name": name, "bytes": size})
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/uploads/{answer.json()['id']}"
    return str(answer.json()["id"])


def put(
    http: httpx.Client, upload: str, start: int, part: bytes, total: int, **headers: str
) -> httpx.Response:
    told = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{total}", **headers}
    return http.put(f"/v1/uploads/{upload}", content=part, headers=told)


def test_a_real_micrograph_is_filed_with_digest_and_scan_record(
    http: httpx.Client, file_slide: FileSlide, em_field: Path, settings: Settings
) -> None:
    filed = file_slide(em_field, accession="S26-1", primary_procedure="88348")
    assert filed["files"] == [
        {"name": "0.tif", "sha256": sha256_of_file(em_field), "bytes": em_field.stat().st_size}
    ]
    assert filed["images"][0]["width_px"] == 1024
    kept = settings.slides_dir / filed["id"] / "0.tif"
    assert kept.read_bytes() == em_field.read_bytes()
    assert list(settings.uploads_dir.iterdir()) == []
    record = http.get(f"/v1/scan-records/{filed['scan_record_id']}").json()
    assert (record["slide_id"], record["accession"], record["primary_procedure"]) == (
        filed["id"],
        "S26-1",
        "88348",
    )
    filings = http.get("/v1/audit", params={"what": "slide_filed"}).json()["items"]
    assert [event["subject"] for event in filings] == [filed["scan_record_id"]]


def test_what_is_no_image_is_refused_and_not_kept(http: httpx.Client, settings: Settings) -> None:
    upload = open_upload(http, "notes.tif", 5)
    put(http, upload, 0, b"hello", 5)
    answer = http.post("/v1/slides", json={"upload_ids": [upload]})
    assert (answer.status_code, answer.json()["code"]) == (422, "slide_type_mismatch")
    assert "notes" not in answer.text
    assert http.get("/v1/slides").json()["items"] == []
    assert http.get(f"/v1/uploads/{upload}").status_code == 404
    assert [*settings.slides_dir.iterdir(), *settings.uploads_dir.iterdir()] == []


def test_an_empty_file_is_refused(http: httpx.Client) -> None:
    answer = http.post("/v1/slides", json={"upload_ids": [open_upload(http, "empty.tif", 0)]})
    assert answer.json()["code"] == "slide_empty"


def test_an_upload_that_is_not_whole_is_not_filed_and_goes_on(http: httpx.Client, em_field: Path) -> None:
    data = em_field.read_bytes()
    upload = open_upload(http, "00.tif", len(data))
    put(http, upload, 0, data[:1000], len(data))
    assert http.post("/v1/slides", json={"upload_ids": [upload]}).status_code == 409
    put(http, upload, 1000, data[1000:], len(data))
    assert http.post("/v1/slides", json={"upload_ids": [upload]}).status_code == 201


def test_a_slide_of_an_unknown_case_is_refused_its_upload_kept(http: httpx.Client, em_field: Path) -> None:
    data = em_field.read_bytes()
    upload = open_upload(http, "00.tif", len(data))
    put(http, upload, 0, data, len(data))
    assert http.post("/v1/slides", json={"upload_ids": [upload], "case_id": "C-9"}).status_code == 404
    assert http.get(f"/v1/uploads/{upload}").json()["received"] == len(data)


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_damaged_slide_is_mended_by_sending_it_again(
    http: httpx.Client, file_slide: FileSlide, settings: Settings, em_field: Path, damage: str
) -> None:
    http.post("/v1/cases", json={"id": "C-1"})
    slide = file_slide(em_field, case_id="C-1")["id"]
    (kept,) = (settings.slides_dir / slide).iterdir()
    whole = kept.read_bytes()
    kept.unlink()
    if damage == "flipped":
        kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert file_slide(em_field, case_id="C-1")["id"] == slide
    assert kept.read_bytes() == whole
    event = http.get("/v1/audit", params={"subject": slide}).json()["items"][-1]
    assert (event["what"], event["detail"]) == ("copy_repaired", {"files": 1, "from": "upload"})


def test_a_micrograph_without_scale_is_filed_and_its_read_refused(
    http: httpx.Client, file_slide: FileSlide
) -> None:
    slide = file_slide(fetch("kidney_tem_najafian/good.png"))["id"]
    answer = http.post("/v1/reads", json={"slide_ids": [slide]})
    assert (answer.status_code, answer.json()["code"]) == (422, "slide_no_pixel_size")
    assert http.get(f"/v1/slides/{slide}").status_code == 200
    assert http.get("/v1/reads").json()["items"] == []
    asked = {"subject": slide, "what": "read_refused"}
    (refusal,) = http.get("/v1/audit", params=asked).json()["items"]
    assert refusal["detail"]["code"] == "slide_no_pixel_size"


def test_a_stated_scale_opens_the_second_door(
    http: httpx.Client, file_slide: FileSlide, em_field: Path
) -> None:
    slide = file_slide(em_field)["id"]
    wanted = {"slide_ids": [slide], "scale": FROM_THE_DATA_SET, "region": HERE}
    answer = http.post("/v1/reads", json=wanted)
    read = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/reads/{read['id']}")
    assert (read["state"], read["model"]["name"], read["region"]) == ("queued", "ultrastructure-vnc", HERE)
    assert read["scale"] == {**FROM_THE_DATA_SET, "tolerance": 0.05}
    assert http.get(f"/v1/reads/{read['id']}").json() == read


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"scale": {"nm_per_px": 250, "reason": "a guess"}}, "slide_scale_out_of_range"),
        ({"scale": FROM_THE_DATA_SET, "region": OUTSIDE}, "region_invalid"),
        ({"scale": FROM_THE_DATA_SET, "region": TOO_SMALL}, "slide_too_small"),
        ({"scale": FROM_THE_DATA_SET, "model": "another"}, "model_unknown"),
        ({"scale": {"nm_per_px": 4.6, "reason": " "}}, "request_invalid"),
    ],
)  # fmt: skip
def test_an_unsafe_read_is_refused_with_its_code(
    http: httpx.Client, file_slide: FileSlide, em_field: Path, wanted: dict[str, Any], code: str
) -> None:
    slide = file_slide(em_field)["id"]
    answer = http.post("/v1/reads", json={"slide_ids": [slide], **wanted})
    assert answer.json()["code"] == code
    assert http.get("/v1/reads").json()["items"] == []


def test_a_case_is_read_with_all_its_slides_in_filing_order(
    http: httpx.Client, file_slide: FileSlide, em_fields: tuple[Path, Path]
) -> None:
    assert http.post("/v1/cases", json={"id": "C-1"}).status_code == 201
    empty = http.post("/v1/reads", json={"case_id": "C-1", "scale": FROM_THE_DATA_SET})
    assert empty.json()["code"] == "request_invalid"
    slides = [file_slide(field, case_id="C-1")["id"] for field in em_fields]
    assert http.get("/v1/cases/C-1").json()["slide_ids"] == slides
    read = http.post("/v1/reads", json={"case_id": "C-1", "scale": FROM_THE_DATA_SET}).json()
    assert (read["case_id"], read["slide_ids"]) == ("C-1", slides)


def test_a_slide_that_is_filed_again_in_its_case_is_the_one_that_is_there(
    http: httpx.Client, file_slide: FileSlide, em_field: Path, settings: Settings
) -> None:
    for case in ("C-1", "C-2"):
        http.post("/v1/cases", json={"id": case})
    first, again = (file_slide(em_field, case_id="C-1") for _ in range(2))
    assert again == first
    assert len(http.get("/v1/scan-records").json()["items"]) == 1
    assert [path.name for path in settings.slides_dir.iterdir()] == [first["id"]]
    assert list(settings.uploads_dir.iterdir()) == []
    assert file_slide(em_field, case_id="C-2")["id"] != first["id"]
    assert file_slide(em_field)["id"] != file_slide(em_field)["id"]


def test_a_slide_that_is_sent_many_times_at_once_is_filed_in_its_case_once(
    http: httpx.Client, file_slide: FileSlide, em_field: Path, settings: Settings
) -> None:
    http.post("/v1/cases", json={"id": "C-1"})
    with ThreadPoolExecutor(6) as clients:
        filed = list(clients.map(lambda _number: file_slide(em_field, case_id="C-1")["id"], range(6)))
    assert http.get("/v1/cases/C-1").json()["slide_ids"] == [filed[0]]
    assert set(filed) == {path.name for path in settings.slides_dir.iterdir()}


def test_a_case_submitted_again_after_a_refusal_is_read_once(
    http: httpx.Client, file_slide: FileSlide, em_field: Path
) -> None:
    http.post("/v1/cases", json={"id": "C-1"})
    first = file_slide(em_field, case_id="C-1")["id"]
    assert http.post("/v1/reads", json={"case_id": "C-1"}).json()["code"] == "slide_no_pixel_size"
    file_slide(em_field, case_id="C-1")
    read = http.post("/v1/reads", json={"case_id": "C-1", "scale": FROM_THE_DATA_SET}).json()
    assert read["slide_ids"] == [first]


def test_of_slides_that_a_case_has_twice_the_first_is_read(
    api: FastAPI, http: httpx.Client, file_slide: FileSlide, em_fields: tuple[Path, Path]
) -> None:
    http.post("/v1/cases", json={"id": "C-1"})
    filed = [file_slide(field, case_id="C-1") for field in em_fields]
    service: Service = api.state.service
    with service.store.writing() as session:  # past the route, which would not file it
        twin = NewSlide(new_id(), filed[0]["sha256"], "tiff", (), (), case_id="C-1")
        store_records.file_slide(session, twin, "a test")
    read = http.post("/v1/reads", json={"case_id": "C-1", "scale": FROM_THE_DATA_SET}).json()
    assert read["slide_ids"] == [slide["id"] for slide in filed]


def test_grey_coded_as_rgb_is_filed_as_what_it_is_read_as(file_slide: FileSlide) -> None:
    (image,) = file_slide(fetch("neutrophil_tem/ASD027--003.jpg"))["images"]
    assert (image["samples_per_px"], image["modality"]) == (3, "tem")


def test_no_path_on_disk_holds_the_name_of_a_file(
    http: httpx.Client, settings: Settings, em_fields: tuple[Path, Path]
) -> None:
    uploads = []
    for field, name in zip(em_fields, ("Doe^Jane 1950.TIF", "Doe^Jane"), strict=True):
        data = field.read_bytes()
        uploads.append(open_upload(http, name, len(data)))
        put(http, uploads[-1], 0, data, len(data))
    assert [path for path in settings.data_dir.rglob("*") if "Jane" in path.name] == []
    slide = http.post("/v1/slides", json={"upload_ids": uploads}).json()
    assert [file["name"] for file in slide["files"]] == ["0.tif", "1"]
    kept = sorted(path.name for path in (settings.slides_dir / slide["id"]).iterdir())
    assert kept == ["0.tif", "1"]


def test_a_queued_read_is_cancelled(http: httpx.Client, file_slide: FileSlide, em_field: Path) -> None:
    slide = file_slide(em_field)["id"]
    read = http.post("/v1/reads", json={"slide_ids": [slide], "scale": FROM_THE_DATA_SET}).json()
    cancelled = http.post(f"/v1/reads/{read['id']}/cancel").json()
    assert (cancelled["state"], cancelled["error"]["code"]) == ("cancelled", "read_cancelled")


@pytest.mark.parametrize(
    "name",
    [
        "../a.tif",
        "/a",
        "a/",
        "a//b",
        "a/../b",
        "a/./b",
        "a\\b",
        "..",
        "",
        "a\r\nb",
        "a\x00",
        "x" * 201,
        "a/" * 16 + "b",
    ],
)
def test_a_file_name_that_is_more_than_a_name_is_refused(http: httpx.Client, name: str) -> None:
    answer = http.post("/v1/uploads", json={"file_name": name, "bytes": 1})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def test_a_file_larger_than_the_service_takes_is_refused_before_it_is_sent(
    http: httpx.Client, settings: Settings
) -> None:
    answer = http.post("/v1/uploads", json={"file_name": "a.tif", "bytes": settings.max_upload_bytes + 1})
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")


def test_lists_come_in_pages_newest_first(http: httpx.Client) -> None:
    for number in range(5):
        http.post("/v1/cases", json={"id": f"C-{number}"})
    seen: list[str] = []
    query: dict[str, str] = {"limit": "2"}
    while True:
        part = http.get("/v1/cases", params=query).json()
        seen += [case["id"] for case in part["items"]]
        if part["next_cursor"] is None:
            break
        query["cursor"] = part["next_cursor"]
    assert seen == ["C-4", "C-3", "C-2", "C-1", "C-0"]
