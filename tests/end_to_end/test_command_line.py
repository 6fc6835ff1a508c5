"""The commands as users meet them: what they print, how they end, and that an interrupted read goes on."""

import csv
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import simulated
import typer.main
from command_line import SCRIPT, ultraread
from simulated import simulated_tissue, write_tiff
from tiny_model import write_tiny_model

from ultraread.cli import app
from ultraread.datasets.corpora import fetch, files_under

NM_PER_PX = 4.6
STATED = ("--nm-per-px", NM_PER_PX, "--reason", "published: figshare 856713")
RANGES_OF_LARGE = 16


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated slide of 2,048 tiles: 16 ranges."""
    slide = tmp_path_factory.mktemp("large") / "large.tif"
    return write_tiff(slide, simulated_tissue(4096, 2048), NM_PER_PX, compression="zstd", tile=(256, 256))


@pytest.fixture(scope="module")
def interrupted(large: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The --out folder of a read of `large` that Ctrl-C stopped between the second range and the last."""
    out = tmp_path_factory.mktemp("interrupted")
    words = ("read", large, "--out", out, "--model", model)
    with _ctrl_c_is_heard():
        started = subprocess.Popen([SCRIPT, *map(str, words)], stderr=subprocess.PIPE, text=True)
    ranges = out / ".large.partial" / "ranges"
    until = time.monotonic() + 60
    while len(list(ranges.glob("*.npz"))) < 2 and started.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    started.send_signal(signal.SIGINT)
    _, told = started.communicate(timeout=60)
    assert started.returncode == 130, told
    assert "error[interrupted]: stopped; what was scored is kept. Go on with the same command" in told
    return out


@contextmanager
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell that runs the tests in the background lets them, and what they start, ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def half_done(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of the interrupted read."""
    return Path(shutil.copytree(interrupted, tmp_path / "out"))


def test_ctrl_c_keeps_what_was_scored_and_shows_no_result(interrupted: Path) -> None:
    kept = len(list(interrupted.glob(".large.partial/ranges/*.npz")))
    assert 2 <= kept < RANGES_OF_LARGE
    assert not (interrupted / "large").exists()


def test_a_resumed_read_gives_the_bytes_of_one_that_was_not_interrupted(
    half_done: Path, large: Path, model: Path, tmp_path: Path
) -> None:
    kept = len(list(half_done.glob(".large.partial/ranges/*.npz")))
    resumed = ultraread("read", large, "--out", half_done, "--model", model, "--resume")
    whole = ultraread("read", large, "--out", tmp_path / "whole", "--model", model)
    assert (resumed.status, whole.status) == (0, 0)
    for name in ("findings.json", "tiles.csv", "patch_map.ome.tif", "overlay.geojson"):
        assert (half_done / "large" / name).read_bytes() == (tmp_path / "whole/large" / name).read_bytes()
    scored_by = json.loads((half_done / "large/provenance.json").read_text())["ranges_by_process"]
    assert sorted(scored_by.values()) == sorted((kept, RANGES_OF_LARGE - kept))
    assert not (half_done / ".large.partial").exists()


def test_what_was_kept_is_never_mixed_with_other_settings(half_done: Path, large: Path, model: Path) -> None:
    words = ("--resume", "--region", "0,0,2048,2048")
    ended = ultraread("read", large, "--out", half_done, "--model", model, *words)
    assert ended.err.startswith("error[read_input_changed]: ")
    assert "without --resume" in ended.err
    assert ended.status == 7
    assert not (half_done / "large").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [("", "binding.json is damaged. "), ("{", "is damaged. "), ("[1]", "interrupted read. ")],
)
def test_a_damaged_binding_is_named_with_the_way_out(
    content: str, told: str, half_done: Path, large: Path, model: Path
) -> None:
    (half_done / ".large.partial/binding.json").write_text(content)
    ended = ultraread("read", large, "--out", half_done, "--model", model, "--resume")
    assert told in ended.err
    assert "without --resume" in ended.err
    assert ended.status == 7


def test_resuming_a_read_that_had_ended_changes_nothing(tmp_path: Path, model: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", simulated_tissue(256, 128), NM_PER_PX)
    words = ("read", slide, "--out", tmp_path / "out", "--model", model)
    assert ultraread(*words).status == 0
    before = (tmp_path / "out/slide/provenance.json").read_bytes()
    again = ultraread(*words, "--resume")
    changed = ultraread(*words, "--resume", "--region", "0,0,128,128")
    assert (again.status, changed.status) == (0, 7)
    assert changed.err.startswith("error[read_input_changed]: ")
    assert (tmp_path / "out/slide/provenance.json").read_bytes() == before
    assert [folder.name for folder in (tmp_path / "out").iterdir()] == ["slide"]


def test_resuming_a_batch_does_not_score_its_finished_slides_again(tmp_path: Path, model: Path) -> None:
    slide, broken = (
        write_tiff(tmp_path / "field.tif", simulated_tissue(256, 192), NM_PER_PX),
        tmp_path / "model",
    )
    words = ("read", slide, "--out", tmp_path / "out", "--json", "--resume")
    before = ultraread(*words, "--model", model)
    shutil.copytree(model, broken)
    (broken / "golden.npz").unlink()  # a model that cannot score any more
    again = ultraread(*words, "--model", broken)
    assert (before.status, again.status) == (0, 0), again.err
    assert again.out == before.out


def test_a_region_is_read_and_nothing_beside_it(tmp_path: Path, model: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", simulated_tissue(400, 300), NM_PER_PX)
    words = ("--region", "100,50,192,128", "--json")
    ended = ultraread("read", slide, "--out", tmp_path / "out", "--model", model, *words)
    assert ended.printed["slides"][0]["findings"]["coverage"]["tiles_planned"] == 6
    with (tmp_path / "out/slide/tiles.csv").open(newline="") as table:
        corners = {(int(row["minx"]), int(row["miny"])) for row in csv.DictReader(table)}
    assert corners == {(x, y) for x in (100, 164, 228) for y in (50, 114)}


def test_fields_of_a_case_are_read_with_the_shipped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    fields = [fetch(path) for path in files_under("drosophila_vnc/stack2/raw")[:2]]
    words = ("--case", "C-17", *STATED, "--region", "0,0,512,512")
    ended = ultraread("read", *fields, "--out", tmp_path / "out", *words)
    assert ended.status == 0, ended.err
    assert "case C-17: 2 fields" in ended.out
    assert "Research use only" in ended.out
    assert "figshare 856713" in ended.out
    case = json.loads((tmp_path / "out/case.json").read_text())
    assert [one["code"] for one in case["findings"]] == ["UR-MITO", "UR-SYN", "UR-MEM"]
    assert {one["n_of"] for one in case["findings"][0]["measurements"]} == {"fields"}
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == ["00", "01", "case.json"]
    assert "case.json: digest confirmed" in ultraread("verify", tmp_path / "out").out
    again = ultraread("read", *fields, "--out", tmp_path / "out", *words)
    assert (again.status, "error[output_exists]" in again.err) == (3, True)


def test_json_is_one_document_with_the_problems_in_it(tmp_path: Path, model: Path) -> None:
    good = write_tiff(tmp_path / "good.tif", simulated_tissue(128, 128), NM_PER_PX)
    ended = ultraread(
        "read", good, tmp_path / "none.tif", "--out", tmp_path / "o", "--model", model, "--json"
    )
    read, refused = ended.printed["slides"]
    assert (read["state"], read["error"]) == ("succeeded", None)
    assert (refused["state"], refused["error"]["code"]) == (None, "slide_not_found")
    assert refused["error"]["remedy"] == "Check the path."
    assert ended.err == ""
    assert ended.status == 3


def test_json_makes_a_problem_object_of_a_command_that_fails(tmp_path: Path) -> None:
    ended = ultraread("read", "a.tif", "--out", tmp_path, "--model", "nobody", "--json")
    assert ended.problem["code"] == "model_unknown"
    assert ended.problem["type"] == "urn:ultraread:problem:model_unknown"
    assert ended.problem["detail"] == "there is no model nobody"
    assert (ended.status, ended.out) == (5, "")


WRONG_USE = {
    "a reason without a pixel size": ("--reason", "calibrated"),
    "a pixel size without a reason": ("--nm-per-px", "4.6"),
    "a pixel size of nothing": ("--nm-per-px", "0", "--reason", "r"),
    "a pixel size without end": ("--nm-per-px", "inf", "--reason", "r"),
    "a region of three numbers": ("--region", "1,2,3"),
    "an unknown option": ("--speed", "9"),
}


@pytest.mark.parametrize("words", WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use_exits_2_before_anything_is_opened(words: tuple[str, ...], tmp_path: Path) -> None:
    ended = ultraread("read", tmp_path / "none.tif", "--out", tmp_path / "out", *words)
    assert ended.status == 2
    assert "slide_not_found" not in ended.err
    assert not (tmp_path / "out").exists()


def test_a_reason_and_a_name_in_square_brackets_are_shown_whole(tmp_path: Path, model: Path) -> None:
    slide = write_tiff(tmp_path / "[bold]x.tif", simulated_tissue(128, 128))
    words = ("--nm-per-px", "4.6", "--reason", "[/]")
    ended = ultraread("read", slide, "--out", tmp_path / "out", "--model", model, *words)
    assert ended.status == 0
    assert "[bold]x.tif" in ended.out
    assert ": [/]" in ended.out


def test_info_tells_size_levels_scale_and_what_a_read_would_need(tmp_path: Path) -> None:
    told = ultraread("info", fetch("nerve_myelin/raw/HPF4-483S1-4B-6500x-1.tif"), "--json").printed
    (image,) = told["images"]
    assert (image["width_px"], image["height_px"], image["bit_depth"]) == (1336, 888, 16)
    assert image["scales"][0]["origin"] == "instrument_tag"
    assert image["scales"][0]["x_nm_per_px"] == pytest.approx(5.962, abs=5e-4)
    without = write_tiff(tmp_path / "slide.tif", simulated_tissue(128, 128))
    assert "none stated" in ultraread("info", without).out


def test_verify_finds_one_flipped_bit_in_any_file_of_a_result(tmp_path: Path, model: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", simulated_tissue(128, 128), NM_PER_PX)
    ultraread("read", slide, "--out", tmp_path / "out", "--model", model)
    result = tmp_path / "out/slide"
    whole = ultraread("verify", result)
    assert whole.status == 0
    written = len(list(result.iterdir())) - 1  # provenance.json holds the digests of the others
    assert written >= 8
    assert f"slide: {written} files as written" in whole.out
    for file in sorted(result.iterdir()):
        middle = file.stat().st_size // 2
        simulated.flip_bit(file, middle)
        damaged = ultraread("verify", result)
        assert damaged.err.startswith("error[integrity_failed]: "), file.name
        assert file.name in damaged.err
        assert damaged.status == 7
        simulated.flip_bit(file, middle)
    (result / "tiles.csv").unlink()
    assert "missing or changed: tiles.csv" in ultraread("verify", result).err


def test_verify_misses_a_folder_that_lost_its_findings_and_a_field_without_folder(
    tmp_path: Path, model: Path
) -> None:
    fields = [
        write_tiff(tmp_path / f"{n}.tif", simulated_tissue(128, 128, seed=n), NM_PER_PX) for n in (1, 2)
    ]
    out = tmp_path / "out"
    assert ultraread("read", *fields, "--out", out, "--model", model, "--case", "C").status == 0
    assert ultraread("verify", out).status == 0
    (out / "1" / "findings.json").rename(tmp_path / "kept")
    missing = ultraread("verify", out)
    assert (missing.status, "findings.json" in missing.err) == (7, True)
    shutil.rmtree(out / "1")
    fewer = ultraread("verify", out)
    assert fewer.err.startswith("error[integrity_failed]: 1 fields of out/case.json have no result folder")


def test_a_field_that_is_named_twice_counts_once(tmp_path: Path, model: Path) -> None:
    one = write_tiff(tmp_path / "one.tif", simulated_tissue(128, 128), NM_PER_PX)
    copy = Path(shutil.copy(one, tmp_path / "copy.tif"))
    ended = ultraread("read", one, copy, "--out", tmp_path / "out", "--model", model, "--case", "C", "--json")
    told = ended.printed
    assert (ended.status, told["slides"][1]["error"]["code"]) == (3, "slide_duplicate")
    assert told["case"]["state"] == "partial"
    assert told["case"]["coverage"]["tiles_scored"] == 4


def test_a_field_of_the_same_name_in_another_folder_is_a_duplicate_too(tmp_path: Path, model: Path) -> None:
    one = write_tiff(tmp_path / "one.tif", simulated_tissue(128, 128), NM_PER_PX)
    (tmp_path / "copy").mkdir()
    copy = Path(shutil.copy(one, tmp_path / "copy/one.tif"))
    ended = ultraread("read", one, copy, "--out", tmp_path / "out", "--model", model, "--case", "C", "--json")
    told = ended.printed
    assert told["slides"][1]["error"]["code"] == "slide_duplicate"
    assert told["case"]["coverage"]["tiles_planned"] == 4, "what was planned once counts once"


@pytest.mark.parametrize("damaged", ["findings.json", "provenance.json"])
def test_a_damaged_field_is_named_when_its_case_is_resumed(damaged: str, tmp_path: Path, model: Path) -> None:
    field = write_tiff(tmp_path / "field.tif", simulated_tissue(128, 128), NM_PER_PX)
    words = ("read", field, "--out", tmp_path / "out", "--model", model, "--json")
    assert ultraread(*words).status == 0
    (tmp_path / "out/field" / damaged).unlink()
    ended = ultraread(*words, "--case", "C", "--resume")
    error = ended.printed["slides"][0]["error"]
    assert (error["code"], error["remedy"]) == ("integrity_failed", "Move it away and read again.")


@pytest.mark.parametrize("damaged", ["findings.json", "provenance.json"])
def test_a_damaged_result_is_named_and_does_not_end_a_batch(
    damaged: str, tmp_path: Path, model: Path
) -> None:
    first, second = (
        write_tiff(tmp_path / f"{n}.tif", simulated_tissue(128, 128, seed=n), NM_PER_PX) for n in (1, 2)
    )
    words = ("--out", tmp_path / "out", "--model", model)
    assert ultraread("read", first, *words).status == 0
    (tmp_path / "out/1" / damaged).write_text("{")
    ended = ultraread("read", first, second, *words, "--resume", "--json")
    assert [one["state"] for one in ended.printed["slides"]] == [None, "succeeded"]
    assert ended.printed["slides"][0]["error"]["code"] == "integrity_failed"


def test_verify_names_the_place_where_a_slide_cannot_be_decoded(tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", simulated_tissue(256, 256), compression="deflate")
    whole = ultraread("verify", slide)
    assert whole.status == 0
    assert "256 x 256 px decodable" in whole.out
    simulated.cut_off(slide, 0.9)
    cut = ultraread("verify", slide)
    assert "error[integrity_failed]: slide.tif: image 0 near x=0, y=0: stored tile" in cut.err
    assert "Copy the slide again" in cut.err
    assert cut.status == 7


def _commands() -> Iterator[tuple[str, ...]]:
    group = typer.main.get_command(app)
    for name, command in getattr(group, "commands", {}).items():
        inner = getattr(command, "commands", None)
        yield from ((name, below) for below in inner) if inner else [(name,)]


@pytest.mark.parametrize("command", list(_commands()), ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    ended = ultraread(*command, "--help")
    assert ended.status == 0
    assert f"Example: ultraread {' '.join(command)}" in ended.out


def test_the_installed_command_lists_its_commands() -> None:
    ended = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True)
    for command in _commands():
        assert command[0] in ended.stdout
    assert "Research use only" in ended.stdout
