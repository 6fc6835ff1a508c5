"""A read again, from its record alone: the same bytes, or the place where they are not."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from calibrations import record
from command_line import ultraread
from simulated import damage_stored_tiles, simulated_tissue, write_tiff
from sqlalchemy import select
from working_house import SCALE, WorkingHouse, working_house

from ultraread.errors import NotFound, ReplayImpossible
from ultraread.serving.model_registry import open_registry
from ultraread.serving.replay import Replay, Replayer, open_registered
from ultraread.serving.store.audit import AuditLog
from ultraread.serving.store.calibrations import import_calibrations, last_calibration
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.jobs import NewRead
from ultraread.serving.store.records import file_case
from ultraread.serving.store.tables import Json, ScanRecordRow


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkingHouse]:
    with working_house(tmp_path_factory.mktemp("house")) as working:
        yield working


@pytest.fixture(scope="module")
def slide(working: WorkingHouse) -> str:
    return working.file()


@pytest.fixture(scope="module")
def read_id(working: WorkingHouse, slide: str) -> str:
    """A read of the slide that all tests share, who put back what they change."""
    return working.read(slide)


@contextmanager
def changed(file: Path, data: bytes | None) -> Iterator[None]:
    """The file with other bytes, or gone, until the end."""
    before = file.read_bytes()
    file.unlink() if data is None else file.write_bytes(data)
    try:
        yield
    finally:
        file.write_bytes(before)


def replayed(working: WorkingHouse, read_id: str) -> Replay:
    return Replayer(working.house, lambda _row: working.model, "a test").replay(read_id)


def result(working: WorkingHouse, read_id: str) -> Path:
    return working.house.settings.result_dir(read_id, working.row(read_id).epoch)


def read(working: WorkingHouse, slides: list[str], case_id: str | None = None, **request: object) -> str:
    card = working.model.card
    asked = NewRead(
        id=new_id(), case_id=case_id, slide_ids=tuple(slides), slide_sha256s=(), model_name=card.name,
        model_version=card.version, model_onnx_sha256=card.sha256,
        model_card_sha256=working.model.card_sha256, request={"region": None, "scale": SCALE, **request},
    )  # fmt: skip
    read_id = working.jobs.enqueue(asked, "a test").id
    assert working.run()
    assert working.row(read_id).state in {"succeeded", "partial"}, working.row(read_id).error_what
    return read_id


def test_a_read_again_gives_the_same_bytes_and_is_in_the_trail(working: WorkingHouse, read_id: str) -> None:
    again = replayed(working, read_id)
    assert again.is_identical, again.differences
    assert (again.files > 5, again.changes) == (True, ())
    with working.house.store.reading() as session:
        event = AuditLog(session).list(subject=read_id, what="read_replayed")[0]
    assert (event.who, event.detail["identical"]) == ("a test", True)
    assert working.row(read_id).epoch == 1


def test_a_case_with_a_region_and_a_calibration_as_of_then_is_the_same_again(
    working: WorkingHouse, tmp_path: Path
) -> None:
    """One of its fields cannot be read: the case is partial, and again."""
    bad = write_tiff(tmp_path / "bad.tif", simulated_tissue(96, 64, seed=9), compression="zlib")
    slides = [working.file(), working.file(damage_stored_tiles(bad, [0, 1]))]
    with working.house.store.writing() as session:
        file_case(session, "case-1", "a test")
        measured = record(microscope="T", camera="C", magnification=1000, nm_per_px=4.6)
        import_calibrations(session, [measured], "a test")
        upto = last_calibration(session)
    stated: Json = {
        "as_of": "2026-06-01",
        "calibrations_upto": upto,
        "instrument": {"microscope": "T", "camera": "C", "magnification": 1000.0},
        "specimens": ["kidney", "kidney"],
    }
    region = {"x": 8, "y": 0, "width": 80, "height": 64}
    read_id = read(working, slides, "case-1", region=region, scale=None, **stated)
    _change_the_specimens(working, slides)
    assert working.row(read_id).state == "partial"
    assert replayed(working, read_id).is_identical


def test_a_partial_read_is_partial_again(working: WorkingHouse, tmp_path: Path) -> None:
    field = write_tiff(tmp_path / "field.tif", simulated_tissue(320, 320), compression="zlib")
    read_id = read(working, [working.file(damage_stored_tiles(field, [0]))])
    assert working.row(read_id).state == "partial"
    assert replayed(working, read_id).is_identical


@pytest.mark.parametrize(
    ("name", "damage", "where"),
    [
        ("findings.json", lambda data: data.replace(b'"succeeded"', b'"partial"', 1), "/state"),
        ("tiles.csv", lambda data: data.replace(b"0.", b"7.", 1), "row 1, column "),
        ("heatmap.png", lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:], "byte 50"),
        ("overlay.geojson", lambda data: data[:-30], "byte "),
    ],
)
def test_a_changed_byte_of_a_stored_result_is_named(
    working: WorkingHouse, read_id: str, slide: str, name: str, damage: Callable[[bytes], bytes], where: str
) -> None:
    file = result(working, read_id) / slide / name
    with changed(file, damage(file.read_bytes())):
        again = replayed(working, read_id)
    assert [Path(one).name for one in again.damaged] == [name]
    (difference,) = again.differences
    assert difference.file == f"{slide}/{name}"
    assert difference.where.startswith(where), difference


def test_of_a_patch_map_the_tile_is_named(working: WorkingHouse, read_id: str, slide: str) -> None:
    file = result(working, read_id) / slide / "patch_map.ome.tif"
    with tifffile.TiffFile(file) as there:
        page = there.pages[1]
        before, at = float(page.asarray()[0, 0]), page.dataoffsets[0]
    data = bytearray(file.read_bytes())
    data[at : at + 2] = np.float16(before + 0.25).tobytes()
    with changed(file, bytes(data)):
        (difference,) = replayed(working, read_id).differences
    assert difference.where == "channel 1, tile row 0, tile column 0 (x 0, y 0)"
    assert difference.size == pytest.approx(0.25, abs=0.001)
    assert difference.count == 1


def test_what_is_gone_or_another_one_refuses_the_replay(
    working: WorkingHouse, read_id: str, slide: str
) -> None:
    kept = working.house.settings.slides_dir / slide / "0.tif"
    data = kept.read_bytes()
    with (
        changed(kept, data[:-1] + bytes([data[-1] ^ 1])),
        pytest.raises(ReplayImpossible, match="not what was"),
    ):
        replayed(working, read_id)
    with changed(kept, None), pytest.raises(ReplayImpossible, match=f"slide {slide}"):
        replayed(working, read_id)
    with pytest.raises(NotFound):
        replayed(working, "none")
    folder = result(working, read_id)
    folder.rename(folder.with_name("away"))
    with pytest.raises(ReplayImpossible, match="is gone"):
        replayed(working, read_id)
    folder.with_name("away").rename(folder)


def test_a_model_that_is_unknown_or_another_one_refuses_the_replay(
    working: WorkingHouse, read_id: str
) -> None:
    words = ["replay", read_id, "--data-dir", str(working.house.settings.data_dir), "--json"]
    ended = ultraread(*words)
    assert (ended.status, ended.problem["code"]) == (3, "replay_impossible")
    assert "not registered" in ended.problem["detail"]
    open_registry(working.house.settings, working.house.store).register(working.model, None, "a test")
    ended = ultraread(*words)
    assert (ended.status, ended.printed["is_identical"]) == (0, True), ended.err
    registered = working.house.settings.models_dir / working.model.card.name / working.model.card.version
    with changed(registered / "model.onnx", b"another"):
        ended = ultraread(*words)
    assert (ended.status, ended.problem["code"]) == (3, "replay_impossible")
    with changed(registered / "card.json", b"{}"), pytest.raises(ReplayImpossible, match="cannot be opened"):
        open_registered(working.house, working.row(read_id))


def test_a_difference_ends_with_its_code_and_the_environment_that_changed_is_named(
    working: WorkingHouse, read_id: str, slide: str
) -> None:
    file = result(working, read_id) / slide / "provenance.json"
    told = json.loads(file.read_text())
    told["versions"]["numpy"] = "1.0"
    with changed(file, json.dumps(told).encode()):
        ended = ultraread("replay", read_id, "--data-dir", working.house.settings.data_dir)
    assert (ended.status, "error[replay_differs]" in ended.err) == (7, True)
    assert "provenance.json: damaged" in ended.out
    assert "since then, versions/numpy is" in ended.out


def _change_the_specimens(working: WorkingHouse, slides: list[str]) -> None:
    with working.house.store.writing() as session:
        for row in session.scalars(select(ScanRecordRow).where(ScanRecordRow.slide_id.in_(slides))):
            row.record = {**row.record, "specimen": "liver"}
