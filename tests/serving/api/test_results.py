"""What a read left is handed out as it is; before its end there is nothing to hand out."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from serving_api import FileSlide

from ultraread.serving.api.results import RESULT_FILES, zipped
from ultraread.serving.api.service import Service
from ultraread.serving.store.jobs import ReadResult
from ultraread.serving.store.tables import ReadState

SCALE = {"nm_per_px": 4.6, "reason": "data set's description"}
NAMES = ("findings.json", *(file.name for file in RESULT_FILES))


@pytest.fixture
def service(api: FastAPI) -> Service:
    opened: Service = api.state.service
    return opened


def finished_read(
    http: httpx.Client, service: Service, slides: list[str], *, of_case: str | None = None
) -> str:
    """A read whose result folders hold, in each file, the slide's id and the file's name."""
    which = {"case_id": of_case} if of_case else {"slide_ids": slides}
    read_id = str(http.post("/v1/reads", json={**which, "scale": SCALE}).json()["id"])
    claim = service.jobs.claim("a test")
    assert claim is not None
    folder = service.settings.result_dir(read_id, claim.epoch)
    for slide in slides:
        (folder / slide).mkdir(parents=True)
        for name in NAMES:
            (folder / slide / name).write_text(json.dumps([slide, name]))
    if of_case:
        (folder / "case.json").write_text(json.dumps(["the case"]))
    service.jobs.finish(claim, ReadState.SUCCEEDED, ReadResult())
    return read_id


def test_each_file_of_a_slide_has_its_address(
    http: httpx.Client, service: Service, file_slide: FileSlide, em_field: Path
) -> None:
    slide = file_slide(em_field)["id"]
    read = finished_read(http, service, [slide])
    assert http.get(f"/v1/reads/{read}/findings").json() == [slide, "findings.json"]
    for file in RESULT_FILES:
        answer = http.get(f"/v1/reads/{read}/{file.address}")
        assert (answer.json(), answer.headers["content-type"]) == ([slide, file.name], file.media_type)


def test_findings_of_a_case_are_those_over_all_slides_unless_one_is_named(
    http: httpx.Client, service: Service, file_slide: FileSlide, em_fields: tuple[Path, Path]
) -> None:
    http.post("/v1/cases", json={"id": "C-1"})
    slides = [file_slide(field, case_id="C-1")["id"] for field in em_fields]
    read = finished_read(http, service, slides, of_case="C-1")
    assert http.get(f"/v1/reads/{read}/findings").json() == ["the case"]
    for slide in slides:
        assert http.get(f"/v1/reads/{read}/findings?slide={slide}").json() == [slide, "findings.json"]
    assert http.get(f"/v1/reads/{read}/heatmap").json()["code"] == "request_invalid"
    assert http.get(f"/v1/reads/{read}/heatmap?slide=../{slides[0]}").json()["code"] == "not_found"


def test_the_bundle_is_the_whole_tree(
    http: httpx.Client, service: Service, file_slide: FileSlide, em_field: Path
) -> None:
    slide = file_slide(em_field)["id"]
    read = finished_read(http, service, [slide])
    answer = http.get(f"/v1/reads/{read}/bundle.zip")
    assert answer.headers["content-disposition"] == f'attachment; filename="{read}.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as bundle:
        assert bundle.testzip() is None
        assert sorted(bundle.namelist()) == sorted(f"{slide}/{name}" for name in NAMES)
        assert json.loads(bundle.read(f"{slide}/tiles.csv")) == [slide, "tiles.csv"]


def test_the_same_tree_makes_the_same_archive(tmp_path: Path) -> None:
    (tmp_path / "large.csv").write_bytes(b"0.123,0.456\n" * 300_000)
    (tmp_path / "map.png").write_bytes(bytes(range(256)) * 10_000)
    pieces = list(zipped(tmp_path))
    (tmp_path / "large.csv").touch()
    assert b"".join(pieces) == b"".join(zipped(tmp_path))
    assert len(pieces) > 4


def test_a_file_that_the_model_does_not_give_is_not_found(
    http: httpx.Client, service: Service, file_slide: FileSlide, em_field: Path
) -> None:
    slide = file_slide(em_field)["id"]
    read = finished_read(http, service, [slide])
    (service.settings.result_dir(read, 1) / slide / "patch_map.ome.tif").unlink()
    assert http.get(f"/v1/reads/{read}/patch-map").json()["code"] == "not_found"


@pytest.mark.parametrize("address", ["findings", "bundle.zip", "tiles.csv"])
def test_a_read_that_has_not_ended_has_no_result(
    http: httpx.Client, file_slide: FileSlide, em_field: Path, address: str
) -> None:
    slide = file_slide(em_field)["id"]
    read = http.post("/v1/reads", json={"slide_ids": [slide], "scale": SCALE}).json()["id"]
    answer = http.get(f"/v1/reads/{read}/{address}")
    assert (answer.status_code, answer.json()["code"]) == (409, "read_not_finished")


def test_models_show_their_cards(http: httpx.Client, service: Service) -> None:
    (model,) = http.get("/v1/models").json()["items"]
    card: dict[str, Any] = model["card"]
    assert (model["is_default"], card["research_use_only"]) == (True, True)
    assert http.get(f"/v1/models/{model['name']}").json()["items"] == [model]
    assert http.get(f"/v1/models/{model['name']}/{model['version']}").json() == model
