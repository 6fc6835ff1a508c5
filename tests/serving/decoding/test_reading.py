"""What a decoding process may read: its slide, and what Python needs; no other file of the service's user."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from harmful import readable, readable_by_version
from mutated_formats import MUTATED_FORMATS
from mutation import MutatedFormat
from simulated import simulated_tissue, write_tiff
from simulated_wide import write_ome_zarr

from ultraread.datasets.geometry import whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide_address import FileAddress, SlideAddress, address_of
from ultraread.serving.decoding.bounded_slide import SlideProcess
from ultraread.serving.decoding.landlock import version
from ultraread.serving.decoding.messages import Call
from ultraread.serving.decoding.pool import DecodingPool
from ultraread.serving.decoding.readable import SINGLE_FILES, of_code, of_slide
from ultraread.serving.decoding.shared_memory import SharedMemory

GREY = simulated_tissue(64, 64)
EVERYTHING = ("/",)
with_landlock = pytest.mark.skipif(not version(), reason="this kernel has no Landlock")


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodingPool]:
    with closing(DecodingPool()) as pool:
        yield pool


def _readable_beside(pool: DecodingPool, slide: Path, *others: Path | str) -> list[str]:
    """Those of the places that can be opened where the slide is opened, by a decoder that asks for all."""
    with closing(SharedMemory(2**16)) as memory:
        process = SlideProcess(pool._nursery, address_of(slide), pool.limits, memory)
        process.info  # noqa: B018  # opens it
        found = process.ask(Call(readable, tuple(map(str, (slide, *others))), EVERYTHING))
        process.close()
    return list(found)


@with_landlock
def test_beside_its_slide_a_decoder_reads_no_file_of_the_service(pool: DecodingPool, tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", GREY)
    others = [tmp_path / name for name in ("other.tif", "ultraread.db", "owner.token", "audit.key")]
    for other in others:
        other.write_text("of somebody else")
    of_machine = ("/etc/passwd", sys.executable, f"/proc/{os.getpid()}/environ", str(tmp_path))
    assert _readable_beside(pool, slide, *others, *of_machine) == [str(slide)]


@with_landlock
def test_a_linked_slide_is_the_file_behind_it(pool: DecodingPool, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    stored = write_tiff(tmp_path / "elsewhere" / "slide.tif", GREY)
    beside = write_tiff(tmp_path / "elsewhere" / "other.tif", GREY)
    (tmp_path / "linked.tif").symlink_to(stored)
    (tmp_path / "further.tif").symlink_to(beside)
    found = _readable_beside(pool, tmp_path / "linked.tif", tmp_path / "further.tif", stored, beside)
    assert found == [str(tmp_path / "linked.tif"), str(stored)]


@with_landlock
def test_of_a_folder_its_files_are_read_and_none_beside_it(pool: DecodingPool, tmp_path: Path) -> None:
    slide = write_ome_zarr(tmp_path / "slide.zarr", GREY, scale=(4.6, 4.6))
    (tmp_path / "beside").write_text("of somebody else")
    (slide / "notes").mkdir()
    (slide / "notes" / ".hidden").write_text("of the slide's owner")
    *files, hidden = sorted(
        (str(file) for file in slide.rglob("*") if file.is_file()), key=lambda file: ".hidden" in file
    )
    found = pool.call(readable, *files, hidden, str(tmp_path / "beside"), files=of_slide(address_of(slide)))
    assert (found, len(files) > 1) == (files, True)


@with_landlock
def test_of_many_files_their_folder_is_read(pool: DecodingPool, tmp_path: Path) -> None:
    folder = tmp_path / "slide"
    (folder / "0").mkdir(parents=True)
    names = [f"0/{number}" for number in range(SINGLE_FILES + 1)]
    (folder / names[0]).touch()
    (tmp_path / "beside").touch()
    slide = SlideAddress("slide", tuple(FileAddress(name, str(folder / name)) for name in names))
    places = (str(folder / names[0]), str(tmp_path / "beside"))
    assert pool.call(readable, *places, files=of_slide(slide)) == [places[0]]


@pytest.mark.parametrize("known", range(1, version() + 1))
def test_every_version_of_landlock_keeps_to_the_places(
    known: int, pool: DecodingPool, tmp_path: Path
) -> None:
    for name in ("named", "other"):
        (tmp_path / name).touch()
    places = (str(tmp_path / "named"), str(tmp_path / "other"), str(tmp_path))
    assert pool.call(readable_by_version, known, places[0], *places, files=EVERYTHING) == [places[0]]


def test_a_remote_slide_has_no_file_here() -> None:
    assert of_slide(SlideAddress("a.tif", (FileAddress("a.tif", "s3://slides/a.tif"),))) == ()


@pytest.mark.parametrize("of_format", MUTATED_FORMATS, ids=lambda one: one.name)
def test_every_format_opens_there_as_it_does_here(
    of_format: MutatedFormat, pool: DecodingPool, tmp_path: Path
) -> None:
    path = of_format.write(tmp_path)
    with pool.open(address_of(path)) as slide, open_slide(path) as same:
        assert slide.info == same.info
        for image in same.info.images:
            box = whole(image.size)
            np.testing.assert_array_equal(
                slide.read_box(image.index, 0, box), same.read_box(image.index, 0, box)
            )


def test_of_a_folder_where_programs_are_started_only_modules_are_read(tmp_path: Path) -> None:
    """A home folder may stand in Python's path; the service's data may lie in it."""
    (tmp_path / "module.py").touch()
    for folder, file in (("package", "__init__.py"), ("ultraread-data", "owner.token")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).touch()
    in_it = {place for place in of_code((str(tmp_path),)) if place.startswith(str(tmp_path))}
    assert in_it == {str(tmp_path / "module.py"), str(tmp_path / "package")}


def test_of_a_folder_of_installed_packages_all_is_read(tmp_path: Path) -> None:
    (tmp_path / "numpy-2.dist-info").mkdir()
    assert str(tmp_path) in of_code((str(tmp_path),))


WITHOUT_WALLS = """
import sys
from pathlib import Path
from refused_calls import refuse_walls
from ultraread.datasets.slide_address import address_of
from ultraread.serving.decoding.pool import DecodingPool
from ultraread.serving.doctor import CHECKS
from ultraread.serving.settings import Settings

refuse_walls()
print(CHECKS["decoding"](Settings(data_dir=Path("/nowhere"))))
with DecodingPool().open(address_of(sys.argv[1])) as slide:
    print(slide.info.images[0].size)
"""


def test_where_a_kernel_has_neither_wall_slides_open_and_doctor_warns(tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", GREY)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_WALLS, str(slide)],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    told, size = ran.stdout.splitlines()
    assert "warning: without seccomp" in told
    assert "warning: without Landlock" in told
    assert size == "SizePx(width=64, height=64)"
