"""Decoding processes: what they may take, what they may reach, and that nobody else is harmed."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from harmful import (
    abort,
    answer_with_a_formula,
    answer_with_code,
    fill,
    hang,
    reach_out,
    refuse,
    run_a_program,
    secrets,
    taught,
    write_a_file,
    write_harmful,
)
from simulated import simulated_tissue, write_tiff

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide_address import FileAddress, SlideAddress, address_of
from ultraread.errors import DecodeCrash, DecodeTimeout, DecodingBusy, SlideEmpty, SlideNotFound
from ultraread.serving.decoding import bounded_slide
from ultraread.serving.decoding.bounded_slide import SlideProcess
from ultraread.serving.decoding.limits import DecodeLimits
from ultraread.serving.decoding.messages import Box
from ultraread.serving.decoding.pool import DecodingPool
from ultraread.serving.decoding.shared_memory import SharedMemory

LIMITS = DecodeLimits(memory_bytes=2**28, open_s=20, tile_s=2.0, processes=2, deaths=1)
BOX = BoxPx(0, 0, 64, 64)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodingPool]:
    with closing(DecodingPool(LIMITS)) as pool:
        yield pool


@pytest.mark.parametrize(
    ("harm", "error", "told"),
    [
        (abort, DecodeCrash, "ended"),
        (hang, DecodeTimeout, r"more than 0\.2 s"),
        (fill, DecodeCrash, "more than 256 MiB"),
        (answer_with_code, DecodeCrash, "ended"),
        (answer_with_a_formula, DecodeCrash, "ended"),
        (refuse, SlideEmpty, "no bytes"),
    ],
)
def test_what_happens_there_comes_back_as_an_error_with_a_code(
    pool: DecodingPool, harm: Callable[[], None], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        pool.call(harm, limit_s=0.2 if harm is hang else None)
    assert pool.call(os.getpid) != os.getpid()


def test_a_decoding_process_reaches_no_network_no_program_no_file_and_no_secret(
    pool: DecodingPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pool.call(reach_out) == "Operation not permitted"
    assert pool.call(run_a_program) == "Operation not permitted"
    assert pool.call(write_a_file, str(tmp_path / "left.txt")) == "Operation not permitted"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    with closing(DecodingPool(LIMITS)) as another:
        assert another.call(secrets) == []


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (os.unlink, ("kept",)), (os.rename, ("kept", "lost")), (os.truncate, ("kept", 0)),
        (os.open, ("kept", os.O_RDWR)), (os.open, ("kept", os.O_TRUNC)), (os.chmod, ("kept", 0o777)),
        (os.link, ("kept", "twice")), (os.mkdir, ("new",)),
        (os.kill, (os.getpid(), signal.SIGWINCH)), (resource.prlimit, (os.getpid(), resource.RLIMIT_CORE)),
    ],
)  # fmt: skip
def test_a_decoder_that_was_taken_over_changes_no_file_and_no_other_process(
    call: Callable[..., object], arguments: tuple[object, ...], pool: DecodingPool, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("kept")
    placed = [str(tmp_path / one) if isinstance(one, str) else one for one in arguments]
    with pytest.raises(DecodeCrash, match="PermissionError"):
        pool.call(call, *placed)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("kept", "kept")]


def test_shared_memory_keeps_its_size_whatever_a_decoder_does() -> None:
    memory = SharedMemory(2**16)
    for size in (0, 2**20):
        with pytest.raises(PermissionError):
            os.ftruncate(memory.descriptor, size)
    assert memory.array((2**16,), np.uint8).sum() == 0
    memory.close()


def test_a_bounded_slide_is_the_slide(
    pool: DecodingPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_slide, "BOX_BYTES", 10_000)  # so that boxes cross in strips
    path = write_tiff(tmp_path / "slide.tif", simulated_tissue(300, 200), 4.6)
    with (
        closing(DecodingPool(LIMITS)) as small,
        small.open(address_of(path)) as slide,
        open_slide(path) as same,
    ):
        assert slide.info == same.info
        for box in (BOX, BoxPx(0, 0, 300, 200), BoxPx(7, 5, 293, 101)):
            found = slide.read_box(0, 0, box)
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(found, same.read_box(0, 0, box))
    with pytest.raises(ValueError, match="closed slide"):
        slide.read_box(0, 0, BOX)


def test_what_opening_raises_is_raised_and_leaves_no_process(pool: DecodingPool, tmp_path: Path) -> None:
    gone = SlideAddress("gone.tif", (FileAddress("gone.tif", str(tmp_path / "gone.tif")),))
    before = _descendants()
    for _ in range(LIMITS.processes + 1):
        with pytest.raises(SlideNotFound):
            pool.open(gone)
    assert _descendants() == before


def test_a_hanging_slide_is_given_up_after_as_many_deaths_as_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught(monkeypatch)
    path = write_harmful(tmp_path / "slide.tif", "hang", places=((10, 10),))
    with closing(DecodingPool(LIMITS)) as pool, pool.open(address_of(path)) as slide:
        for _ in range(LIMITS.deaths + 1):
            with pytest.raises(DecodeTimeout, match="2 s"):
                slide.read_box(0, 0, BOX)
        started = time.monotonic()
        with pytest.raises(DecodeTimeout):
            slide.read_box(0, 0, BoxPx(64, 64, 64, 64))
        assert time.monotonic() - started < LIMITS.tile_s


@pytest.mark.parametrize(
    ("does", "error"), [("hang", DecodeTimeout), ("abort", DecodeCrash), ("fill", DecodeCrash)]
)
def test_a_slide_that_harms_at_opening_is_refused(
    does: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught(monkeypatch)
    limits = DecodeLimits(memory_bytes=2**28, open_s=0.5)
    with closing(DecodingPool(limits)) as pool, pytest.raises(error):
        pool.open(address_of(write_harmful(tmp_path / "slide.tif", does, at="open")))


def test_no_more_slides_are_open_than_the_limit_says(tmp_path: Path) -> None:
    path = address_of(write_tiff(tmp_path / "slide.tif", simulated_tissue(64, 64)))
    limits = DecodeLimits(open_s=0.3, processes=1)
    with closing(DecodingPool(limits)) as pool, pool.open(path) as slide:
        with pytest.raises(DecodingBusy):
            pool.open(path)
        slide.close()
        pool.open(path).close()


def test_a_service_with_thousands_of_connections_decodes_and_closes_too(tmp_path: Path) -> None:
    path = address_of(write_tiff(tmp_path / "slide.tif", simulated_tissue(64, 64)))
    limits = DecodeLimits(open_s=5, processes=1)
    with closing(DecodingPool(limits)) as pool, _many_files_open(1100):
        assert pool.call(abs, -1) == 1
        for _ in range(2):
            pool.open(path).close()


def test_a_slide_that_finds_no_memory_to_share_leaves_its_place_to_others(tmp_path: Path) -> None:
    path = address_of(write_tiff(tmp_path / "slide.tif", simulated_tissue(64, 64)))
    with closing(DecodingPool(DecodeLimits(open_s=5, processes=1))) as pool:
        pool.call(abs, -1)
        with _no_more_files(), pytest.raises(OSError, match="Too many open files"):
            pool.open(path)
        pool.open(path).close()


def test_a_thread_that_asks_while_the_slide_is_closed_starts_no_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught(monkeypatch)
    path = address_of(write_harmful(tmp_path / "slide.tif", "hang", places=((10, 10),)))
    memory, before = SharedMemory(2**20), _descendants()
    with closing(DecodingPool()) as pool, ThreadPoolExecutor(1) as threads:
        slide = SlideProcess(pool._nursery, path, pool.limits, memory)
        slide.info  # noqa: B018  # opens it
        asking = threads.submit(slide.ask, Box(0, 0, BOX))
        time.sleep(0.2)
        slide.close()
        assert asking.exception(timeout=15) is not None
        with pytest.raises(ValueError, match="closed slide"):
            slide.ask(Box(0, 0, BOX))
        assert _descendants() - before <= {each.pid for each in psutil.Process().children()}
    memory.close()


def test_the_nursery_may_die_too(tmp_path: Path) -> None:
    with closing(DecodingPool(LIMITS)) as pool:
        pool.call(os.getpid)
        (nursery,) = [each for each in psutil.Process().children() if "nursery" in " ".join(each.cmdline())][
            -1:
        ]
        nursery.kill()
        psutil.wait_procs([nursery], timeout=30)
        assert pool.call(os.getpid) > 0


PARENT = """
import sys
from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.slide_address import address_of
from ultraread.serving.decoding.pool import DecodingPool
pool = DecodingPool()
slide = pool.open(address_of(sys.argv[1]))
print("open", flush=True)
slide.read_box(0, 0, BoxPx(0, 0, 64, 64))
"""


def test_no_decoding_process_survives_its_service(tmp_path: Path) -> None:
    path = write_harmful(tmp_path / "slide.tif", "hang", places=((1, 1),))
    service = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "doubles")},
    )
    assert service.stdout is not None
    service.stdout.readline()
    below = psutil.Process(service.pid).children(recursive=True)
    assert len(below) == 2
    service.send_signal(signal.SIGKILL)
    service.wait()
    service.stdout.close()
    _, alive = psutil.wait_procs(below, timeout=30)
    assert alive == []


@contextmanager
def _many_files_open(number: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * number), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(number)]
    try:
        yield
    finally:
        for each in opened:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def _no_more_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _descendants() -> set[int]:
    return {each.pid for each in psutil.Process().children(recursive=True)}
