"""`ultraread read` and `serve`: what they call slides, where they write, what they say of a bad option."""

import shutil
import socket
from pathlib import Path

import pytest
from calibrations import RECORD
from command_line import ultraread
from simulated import simulated_tissue, write_tiff
from tiny_model import write_tiny_model

from ultraread.datasets.calibration import COLUMNS
from ultraread.errors import DataDirInUse
from ultraread.serving.alone import alone
from ultraread.serving.draining import draining_of
from ultraread.serving.settings import Settings

NM_PER_PX = 4.6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def test_a_slide_whose_name_is_hidden_is_told_by_its_place_among_the_arguments(
    tmp_path: Path, model: Path
) -> None:
    plain = write_tiff(tmp_path / "field.tif", simulated_tissue(128, 128), NM_PER_PX)
    named = write_tiff(tmp_path / "S24-1234 Jane Doe.tif", simulated_tissue(128, 128, seed=1), NM_PER_PX)
    unscaled = write_tiff(tmp_path / "S24-1235 Jane Doe.tif", simulated_tissue(128, 128, seed=2))
    ended = ultraread("read", plain, named, unscaled, "--out", tmp_path / "out", "--model", model)
    first, second = [line for line in ended.err.splitlines() if line.startswith("argument")]
    (folder,) = (tmp_path / "out").glob("slide-*")
    assert first == f"argument 2 of 3 -> {folder}"
    assert second.startswith("argument 3 of 3 -> slide-")
    assert "Doe" not in ended.out + ended.err
    asked = ultraread("read", plain, named, "--out", tmp_path / "again", "--model", model, "--json")
    assert [one["folder"] for one in asked.printed["slides"]] == [
        str(tmp_path / "again" / name) for name in ("field", folder.name)
    ]
    assert "argument" not in asked.err


def test_a_read_that_is_refused_leaves_no_folder(tmp_path: Path, model: Path) -> None:
    unscaled = write_tiff(tmp_path / "field.tif", simulated_tissue(128, 128))
    out = tmp_path / "new" / "out"
    assert ultraread("read", unscaled, "--out", out, "--model", model).status == 3
    assert not out.parent.exists()
    out.mkdir(parents=True)
    assert ultraread("read", unscaled, "--out", out, "--model", model).status == 3
    assert out.exists(), "a folder that was there stays"


def test_a_read_that_is_refused_after_it_began_leaves_no_folder(tmp_path: Path, model: Path) -> None:
    whole = write_tiff(
        tmp_path / "field.tif", simulated_tissue(256, 256), NM_PER_PX, compression="deflate", tile=(64, 64)
    )
    _zero_the_end(whole)
    out = tmp_path / "out"
    ended = ultraread("read", whole, "--out", out, "--model", model)
    assert "read_too_many_failed_tiles" in ended.err
    assert not out.exists()


def _zero_the_end(slide: Path) -> None:
    data = bytearray(slide.read_bytes())
    data[len(data) // 4 : len(data) // 4 * 3] = bytes(len(data) // 4 * 3 - len(data) // 4)
    slide.write_bytes(bytes(data))


def test_results_that_cannot_be_written_end_the_batch_before_a_slide_is_opened(
    tmp_path: Path, model: Path
) -> None:
    slide = write_tiff(tmp_path / "field.tif", simulated_tissue(128, 128), NM_PER_PX)
    file = Path(shutil.copy(slide, tmp_path / "a-file"))
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for out in (file, file / "below", Path("/proc/x"), tmp_path / "dangling", tmp_path / ("x" * 300)):
        ended = ultraread("read", slide, "--out", out, "--model", model)
        told = f"error[service_unavailable]: --out {out} cannot be written to ("
        assert (ended.status, ended.err[: len(told)]) == (6, told)
        assert ended.err.endswith("). Choose another --out.\n")


def test_a_taken_port_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = ultraread("serve", "--port", port, "--data-dir", tmp_path / "data")
    assert (ended.status, f"port {port} is taken" in ended.err) == (6, True)
    assert not (tmp_path / "data").exists()


def test_a_second_service_in_a_data_folder_is_refused_before_it_touches_anything(tmp_path: Path) -> None:
    in_use = DataDirInUse("by this test")
    with alone(tmp_path / "service.lock", in_use):
        with pytest.raises(DataDirInUse, match="by this test"), alone(tmp_path / "service.lock", in_use):
            pass
        ended = ultraread("serve", "--port", 0, "--data-dir", tmp_path)
    assert (ended.status, "error[data_dir_in_use]" in ended.err) == (6, True)
    assert not (tmp_path / "ultraread.db").exists()
    assert not draining_of(Settings(data_dir=tmp_path)).is_on


def test_doctor_looks_at_the_data_folder_that_is_named(tmp_path: Path) -> None:
    checks = ultraread("doctor", "--data-dir", tmp_path / "data", "--json").printed
    told = {one["check"]: one["told"] for one in checks}
    assert told["settings"].endswith(f"data will be kept in {tmp_path / 'data'}")
    assert told["secrets"] == "files of secrets, for their owner alone: 0"
    assert not (tmp_path / "data").exists()


def test_a_settings_file_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    ended = ultraread("serve", "--config", tmp_path / "nope.toml")
    told = f"error[request_invalid]: there is no file {tmp_path / 'nope.toml'}. Check --config.\n"
    assert (ended.status, ended.err) == (2, told)


def test_a_day_and_a_file_of_records_are_told_apart_from_what_they_have_to_be(
    tmp_path: Path, model: Path
) -> None:
    slide = write_tiff(tmp_path / "field.tif", simulated_tissue(128, 128), NM_PER_PX)
    records = tmp_path / "records.csv"
    words = ("read", slide, "--out", tmp_path / "out", "--model", model, "--calibrations", records)
    assert f"there is no file {records}" in ultraread(*words).err
    assert "has to be YYYY-MM-DD" in ultraread(*words, "--as-of", "05.01.2026").err
    records.write_text(f"{';'.join(COLUMNS)}\n{';'.join(str(RECORD[column]) for column in COLUMNS)}\n")
    assert "columns have to be separated by commas" in ultraread(*words).err


def test_a_region_outside_is_told_in_words(tmp_path: Path, model: Path) -> None:
    slide = write_tiff(tmp_path / "field.tif", simulated_tissue(128, 96), NM_PER_PX)
    words = ("--region", "0,0,9999,9999")
    ended = ultraread("read", slide, "--out", tmp_path / "out", "--model", model, *words)
    assert "region 0,0 9999 x 9999 px does not lie in 128 x 96 px" in ended.err


def test_the_version_is_told() -> None:
    ended = ultraread("--version")
    assert (ended.status, ended.out.split()[0], ended.out.count(".")) == (0, "ultraread", 2)
