"""No output carries what identifies somebody: marks are planted wherever a format takes text, then searched.

Every command and every route is asked; files are searched byte by byte, archives and pictures opened first.
"""

import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from command_line import Ended, ultraread
from PIL import Image
from planted import (
    BURNT_BOX,
    MARK,
    NM_PER_PX,
    Planted,
    marked_dicom,
    marked_dm,
    marked_emd,
    marked_jpeg,
    marked_mrc,
    marked_ome_tiff,
    marked_ome_zarr,
    marked_png,
    marked_ser,
    marked_sis,
    marked_svs,
    marked_tiff,
    marked_velox,
    marks_below,
    marks_in,
    marks_in_database,
)
from serving_api import asked, served
from simulated import simulated_tissue, write_ome_tiff, write_tiff

from ultraread.datasets.geometry import BoxPx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import DEFAULT_MODEL, find_model
from ultraread.serving.api.app import create_api
from ultraread.serving.api.service import Service
from ultraread.serving.conclusion import conclude_read
from ultraread.serving.live_models import ServedModel
from ultraread.serving.mlflow_log import OutboxSender
from ultraread.serving.runner import ReadRunner
from ultraread.serving.score_tiles import RangeScorer
from ultraread.serving.settings import Settings

STATED = ("--nm-per-px", NM_PER_PX, "--reason", "simulated at this size")
SEALED = {"slides": {"files", "looks"}}
"""Where names and what was read in pixels stay, beside the original: told in docs/guides/identity.md."""
INSIDE = BoxPx(BURNT_BOX.x + 8, BURNT_BOX.y + 8, BURNT_BOX.width // 2, BURNT_BOX.height - 16)
"""Safely within the mask that OCR makes of the burnt-in text."""

pytestmark = pytest.mark.filterwarnings(
    # MLflow 3.17 declares its own tables with a loader strategy that SQLAlchemy 2.1 deprecates.
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
)


@dataclass(frozen=True, slots=True)
class Everything:
    """The marked slides by format, and where they lie."""

    slides: dict[str, Planted]

    @property
    def with_text(self) -> list[Planted]:
        return [slide for slide in self.slides.values() if slide.in_pixels]


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Everything:
    """One slide of each format."""
    folder = tmp_path_factory.mktemp("marked")
    clean = folder / "clean"
    source = write_tiff(folder / "grid.tif", simulated_tissue(320, 256), NM_PER_PX)
    assert ultraread("convert", source, clean, "--to", "dicom-wsi").status == 0
    makers = {
        "tiff": marked_tiff, "ome_tiff": marked_ome_tiff, "png": marked_png, "jpeg": marked_jpeg,
        "mrc": marked_mrc, "emd_ncem": marked_emd, "ome_zarr": marked_ome_zarr, "svs": marked_svs,
        "ser": marked_ser, "emd_velox": marked_velox, "sis_tiff": marked_sis,
    }  # fmt: skip
    slides = {name: make(folder) for name, make in makers.items()}
    slides |= {suffix[1:]: marked_dm(folder, suffix) for suffix in (".dm3", ".dm4")}
    return Everything(slides | {"dicom_wsi": marked_dicom(folder, clean)})


def test_every_mark_reaches_the_tags_so_that_its_absence_elsewhere_means_something(
    marked: Everything,
) -> None:
    found = {}
    for name, slide in marked.slides.items():
        with open_slide(slide.path) as opened:
            found[name] = sum(bool(marks_in(tag.value.encode())) for tag in opened.info.tags) >= slide.tags
    assert found == dict.fromkeys(marked.slides, True)


def test_info_shows_no_mark(marked: Everything) -> None:
    for form in ((), ("--json",)):
        told = {name: _said(ultraread("info", slide.path, *form)) for name, slide in marked.slides.items()}
        assert {name: marks for name, marks in told.items() if marks} == {}


def test_verify_and_quality_say_no_mark(marked: Everything, tmp_path: Path) -> None:
    slide = marked.slides["tiff"].path
    for words in (("verify", slide), ("quality", slide, "--masks", tmp_path / "masks")):
        ended = ultraread(*words)
        assert (ended.status, _said(ended)) == (0, [])
    assert marks_below(tmp_path) == {}


def test_a_read_writes_and_says_no_mark(marked: Everything, tmp_path: Path) -> None:
    paths = [slide.path for slide in marked.slides.values()]
    for out, slides, form in (("out", paths, ()), ("json", paths[:1], ("--json",))):
        assert _said(ultraread("read", *slides, "--out", tmp_path / out, *STATED, *form)) == []
    assert marks_below(tmp_path) == {}
    folders = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert len(folders) >= len(marked.with_text)
    assert all(re.fullmatch("slide-[0-9a-f]{16}", path.name) for path in folders)


def test_burnt_in_text_is_painted_over_in_the_pictures_of_a_read(marked: Everything, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ultraread("read", marked.slides["tiff"].path, "--out", out, *STATED).status == 0
    (folder,) = out.iterdir()
    assert _is_flat(np.asarray(Image.open(folder / "thumbnail.png").convert("L")))
    (found,) = [
        each
        for each in json.loads((folder / "provenance.json").read_text())["identity"]["found"]
        if each["where"] == "pixels"
    ]
    assert found["box"]["x"] <= INSIDE.x


@pytest.mark.parametrize("command", ["convert", "deidentify"])
def test_a_copy_holds_no_mark(marked: Everything, tmp_path: Path, command: str) -> None:
    for name, slide in marked.slides.items():
        out = tmp_path / f"{name}.ome.tif"
        ended = ultraread(command, slide.path, out, "--json")
        assert (ended.status, _said(ended)) == (0, []), name
        with open_slide(out) as copy:
            pixels = copy.read_box(0, 0, whole(copy.info.images[0].size))
        assert not slide.in_pixels or _is_flat(np.asarray(pixels)), name
    assert marks_below(tmp_path) == {}


def test_a_dicom_copy_holds_no_mark(marked: Everything, tmp_path: Path) -> None:
    for name in ("tiff", "dicom_wsi"):
        assert (
            _said(ultraread("convert", marked.slides[name].path, tmp_path / name, "--to", "dicom-wsi")) == []
        )
    assert len(list(tmp_path.rglob("*.dcm"))) >= 2
    assert marks_below(tmp_path) == {}


def test_the_report_tells_where_and_of_what_kind_but_not_what(marked: Everything, tmp_path: Path) -> None:
    told = ultraread("deidentify", marked.slides["tiff"].path, tmp_path / "a.ome.tif", "--json").printed
    kinds = {each["where"]: each["kind"] for each in told["found"]}
    assert kinds["tag Artist"] == "operator"
    assert kinds["tag DateTime"] == "date"
    assert {"tag ImageDescription", "tag HostComputer", "file name", "pixels"} <= kinds.keys()
    shown = ultraread("deidentify", marked.slides["tiff"].path, tmp_path / "b.ome.tif", "--show-masked")
    assert "Z*****" in shown.out
    assert _said(shown) == []


def test_refuse_names_the_places_and_writes_nothing(marked: Everything, tmp_path: Path) -> None:
    slide = marked.slides["dicom_wsi"].path
    for words in (("read", slide, "--out", tmp_path / "out"), ("convert", slide, tmp_path / "copy.tif")):
        ended = ultraread(*words, "--identity", "refuse")
        assert ended.status == 3
        assert "error[identity_present]" in ended.err
        assert "tag (0010,0010)" in ended.err
        assert _said(ended) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_keep_shows_names_with_the_reason_and_needs_one(marked: Everything, tmp_path: Path) -> None:
    slide = marked.slides["tiff"].path
    keep = ("read", slide, "--out", tmp_path, *STATED, "--identity", "keep")
    assert ultraread(*keep).status == 2
    assert ultraread(*keep, "--identity-reason", "phantom, nobody's").status == 0
    told = json.loads((tmp_path / slide.stem / "provenance.json").read_text())
    assert told["file_names"] == [slide.name]
    assert (told["identity"]["policy"], told["identity"]["reason"]) == ("keep", "phantom, nobody's")


def test_a_name_that_shows_nothing_stays_unless_strip_is_stated(tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "field-3.tif", simulated_tissue(300, 300), NM_PER_PX)
    for out, stated in (("a", ()), ("b", ("--identity", "strip"))):
        assert ultraread("read", slide, "--out", tmp_path / out, *stated).status == 0
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["field-3"]
    (anonymous,) = (tmp_path / "b").iterdir()
    assert re.fullmatch("slide-[0-9a-f]{16}", anonymous.name)


def test_what_a_library_logs_of_a_file_that_contradicts_itself_names_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slide = write_ome_tiff(tmp_path / f"{MARK}.ome.tif", simulated_tissue(300, 300), NM_PER_PX)
    tifffile.tiffcomment(slide, tifffile.tiffcomment(slide).replace('SizeY="300"', 'SizeY="299"').encode())
    caplog.set_level(logging.DEBUG)
    with open_slide(slide) as opened:
        assert len(opened.info.images) == 1
    assert "tifffile" not in {record.name for record in caplog.records}
    assert marks_in(caplog.text.encode()) == []


@dataclass(frozen=True, slots=True)
class House:
    """A service on loopback, without Ray: its runner and MLflow sender are called by the test."""

    url: str
    service: Service
    settings: Settings

    def work(self) -> None:
        """Read all that is queued, and tell MLflow."""
        model = find_model(DEFAULT_MODEL)
        scorer = RangeScorer(OnnxClassifier(model, threads=2))
        live = ServedModel(model, lambda tasks: map(scorer, tasks))
        runner = ReadRunner(self.settings, self.service.jobs, lambda *_: live, conclude_read, "a runner")
        while runner.run_next():
            pass
        scorer.close()
        OutboxSender(self.service.store, self.settings.mlflow_uri).send_pending()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    settings = Settings(data_dir=tmp_path / "data", poll_s=0.02)
    api = create_api(settings)
    with served(api) as url:
        yield House(url, api.state.service, settings)


def test_a_service_answers_stores_logs_and_tells_mlflow_no_mark(
    house: House, marked: Everything, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    names = ("tiff", "ome_tiff", "png", "jpeg", "mrc", "emd_ncem", "ome_zarr", "dicom_wsi", "sis_tiff")
    for name in names:
        stated = () if name == "sis_tiff" else STATED
        submitted = ultraread("submit", marked.slides[name].path, *stated, "--url", house.url, "--json")
        assert (submitted.status, _said(submitted)) == (0, []), name
    house.work()
    answers = tmp_path / "answers"
    with asked(house.url, timeout=60) as http:
        reads = http.get("/v1/reads").json()["items"]
        assert [(read["state"], read["error"]) for read in reads] == [("succeeded", None)] * len(names)
        _ask_everything(http, answers)
        _pictures_are_painted_over(http)
    for read in reads:
        assert _said(ultraread("fetch", read["id"], "--out", tmp_path / "fetched", "--url", house.url)) == []
    assert len(list((tmp_path / "fetched").glob("*/findings.json"))) == len(names)
    assert marks_below(answers) == {}
    assert marks_below(tmp_path / "fetched") == {}
    leaks = {r.name for r in caplog.records if marks_in(r.getMessage().encode())}
    assert leaks == set()
    assert _marks_kept(house.settings) == {}
    assert marks_in_database(house.settings.database_file, SEALED) == []
    assert marks_in_database(house.settings.data_dir / "mlflow.db", {}) == []


def test_a_refused_upload_is_not_called_by_its_name(house: House) -> None:
    with asked(house.url) as http:
        answer = _file(http, f"{MARK}NOTES.tif", b"hello")
        assert (answer.status_code, answer.json()["code"]) == (422, "slide_type_mismatch")
        assert marks_in(answer.content) == []
        assert marks_in(http.get("/v1/audit").content) == []
        for body in (
            {"file_name": f"{MARK}/../a.tif", "bytes": 1},
            {"file_name": f"{MARK}.tif", "bytes": -1},
        ):
            unfit = http.post("/v1/uploads", json=body)
            assert (unfit.status_code, marks_in(unfit.content)) == (422, [])


def test_a_slide_is_refused_or_kept_as_it_is_stated_at_filing(house: House, marked: Everything) -> None:
    stored, name = marked.slides["tiff"].path.read_bytes(), marked.slides["tiff"].path.name
    with asked(house.url, timeout=60) as http:
        refused = _file(http, name, stored, {"policy": "refuse"})
        assert (refused.status_code, refused.json()["code"]) == (422, "identity_present")
        assert "tag Artist" in refused.json()["detail"]
        assert marks_in(refused.content) == []
        assert _file(http, name, stored, {"policy": "keep"}).status_code == 422
        kept = _file(http, name, stored, {"policy": "keep", "reason": "a phantom"}).json()
        assert [file["name"] for file in kept["files"]] == [name]
        assert (kept["identity"]["policy"], kept["identity"]["reason"]) == ("keep", "a phantom")
        filed = [event for event in http.get("/v1/audit").json()["items"] if event["what"] == "slide_filed"]
        assert filed[0]["detail"]["identity"] == {"policy": "keep", "reason": "a phantom"}


def _said(ended: Ended) -> list[str]:
    """Marks in what a command printed."""
    return marks_in((ended.out + ended.err).encode())


def _is_flat(picture: np.ndarray) -> bool:
    """Whether the picture, whose pixels are level-0 px, is of one value where the mark was; JPEG rounds."""
    inside = picture[INSIDE.y : INSIDE.bottom, INSIDE.x : INSIDE.right].astype(float)
    return bool(np.ptp(inside) <= 6)


def _file(
    http: httpx.Client, name: str, stored: bytes, identity: dict[str, str] | None = None
) -> httpx.Response:
    upload = http.post("/v1/uploads", json={"file_name": name, "bytes": len(stored)}).json()["id"]
    whole = {"Content-Range": f"bytes 0-{len(stored) - 1}/{len(stored)}"}
    assert http.put(f"/v1/uploads/{upload}", content=stored, headers=whole).status_code == 200
    body: dict[str, Any] = {"upload_ids": [upload]} | ({"identity": identity} if identity else {})
    return http.post("/v1/slides", json=body)


def _ask_everything(http: httpx.Client, folder: Path) -> None:
    """Keep every answer of every route that shows something of slides, records and reads."""
    folder.mkdir()
    for number, address in enumerate(_addresses(http)):
        answer = http.get(address)
        assert answer.status_code in {200, 404}, (address, answer.text)
        kind = answer.headers["content-type"].partition(";")[0].rpartition("/")[2]
        (folder / f"{number}.{kind}").write_bytes(f"{answer.headers}".encode() + b"\n" + answer.content)
        (folder / f"{number}.body").write_bytes(answer.content)


def _addresses(http: httpx.Client) -> Iterator[str]:
    yield from ("/v1/slides", "/v1/scan-records", "/v1/reads", "/v1/audit", "/v1/cases", "/metrics")
    for record in http.get("/v1/scan-records").json()["items"]:
        yield f"/v1/scan-records/{record['id']}"
    for slide in http.get("/v1/slides").json()["items"]:
        yield from (
            f"/v1/slides/{slide['id']}{part}" for part in ("", "/images/0.dzi", "/images/0/thumbnail")
        )
        yield f"/iiif/3/{slide['id']}-0/info.json"
    for read in http.get("/v1/reads").json()["items"]:
        yield f"/v1/reads/{read['id']}"
        for part in (
            "events",
            "findings",
            "tiles.csv",
            "overlay.geojson",
            "heatmap",
            "provenance",
            "bundle.zip",
        ):
            several = f"?slide_id={read['slide_ids'][0]}" if part not in {"events", "bundle.zip"} else ""
            yield f"/v1/reads/{read['id']}/{part}{several}"


def _pictures_are_painted_over(http: httpx.Client) -> None:
    seen = 0
    for slide in http.get("/v1/slides").json()["items"]:
        if any(each["where"] == "pixels" for each in slide["identity"]["found"]):
            whole = _grey(http.get(f"/iiif/3/{slide['id']}-0/full/max/0/default.png"))
            assert _is_flat(whole)
            images = f"/v1/slides/{slide['id']}/images"
            dzi = http.get(f"{images}/0.dzi").text
            side, overlap = (int(re.search(f'{name}="(\\d+)"', dzi)[1]) for name in ("TileSize", "Overlap"))  # type: ignore[index]
            tile = _grey(http.get(f"{images}/0_files/10/0_{INSIDE.y // side}.jpg"))
            shifted = np.zeros_like(whole)
            top = INSIDE.y // side * side - overlap
            shifted[top : top + tile.shape[0], : tile.shape[1]] = tile
            assert _is_flat(shifted)
            seen += 1
    assert seen == 7


def _grey(picture: httpx.Response) -> np.ndarray:
    assert picture.status_code == 200
    return np.asarray(Image.open(io.BytesIO(picture.content)).convert("L"))


def _marks_kept(settings: Settings) -> dict[str, list[str]]:
    """Marks in the data folder, but for the sealed originals and the database, searched by column."""
    sealed = re.compile(r"slides/|ultraread\.db")
    return {name: marks for name, marks in marks_below(settings.data_dir).items() if not sealed.match(name)}
