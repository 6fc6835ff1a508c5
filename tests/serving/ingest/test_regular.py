"""What is checked is what is read: links, pipes, devices and swaps."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ultraread.datasets.file_stamp import stamp_of
from ultraread.errors import SlideNotRegular
from ultraread.serving.ingest.regular import FileMoved, opened
from ultraread.serving.ingest.watched import Settling, units_of


def _link(folder: Path) -> None:
    (folder / "a.tif").symlink_to("/etc/passwd")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "a.tif")


def _second_name(folder: Path) -> None:
    (folder / "secret").write_text("another's")
    os.link(folder / "secret", folder / "a.tif")


def _device(folder: Path) -> None:
    os.mknod(folder / "a.tif", 0o600 | 0o020000, os.makedev(1, 5))


MADE: dict[str, Callable[[Path], None]] = {
    "a link": _link,
    "a pipe": _pipe,
    "a second name": _second_name,
    "a device": _device,
}


@pytest.mark.parametrize("kind", MADE)
def test_what_is_no_file_of_its_own_is_not_opened(tmp_path: Path, kind: str) -> None:
    try:
        MADE[kind](tmp_path)
    except PermissionError:
        pytest.skip("this account makes no devices")
    with pytest.raises(SlideNotRegular), opened(tmp_path, "a.tif"):
        pass
    (unit,) = (unit for unit in units_of(tmp_path) if unit.name == "a.tif")
    assert unit.refusal is not None


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.tif").write_text("x")
    (tmp_path / "s").symlink_to("real")
    with pytest.raises(SlideNotRegular), opened(tmp_path, "s/a.tif"):
        pass


def test_a_file_that_is_swapped_between_check_and_open_is_never_read(tmp_path: Path) -> None:
    secret, name, stop = tmp_path / "secret", tmp_path / "in" / "a.tif", threading.Event()
    secret.write_text("secret")
    name.parent.mkdir()
    name.write_text("slide!")
    stamp = stamp_of(os.lstat(name))

    def swap() -> None:
        while not stop.is_set():
            new = tmp_path / "new"
            new.symlink_to(secret)
            new.replace(name)
            new.write_text("other!")
            new.replace(name)

    swapping = threading.Thread(target=swap)
    with opened(name.parent, "a.tif", stamp) as stream:
        swapping.start()
        assert stream.read() == b"slide!"
    while os.lstat(name).st_ino == stamp.inode:
        time.sleep(0.001)
    read = set()
    for _ in range(2000):
        with suppress(SlideNotRegular, FileMoved), opened(name.parent, "a.tif") as stream:
            read.add(stream.read())
        with suppress(SlideNotRegular, FileMoved), opened(name.parent, "a.tif", stamp):
            read.add(b"taken for the first one")
    stop.set()
    swapping.join()
    assert read == {b"other!"}


def test_files_are_grouped_and_settle_when_nothing_changes(tmp_path: Path) -> None:
    for name in ("x.emi", "x_1.ser", "b.tif", "b.tif.done", ".hidden.tif"):
        (tmp_path / name).write_text("x")
    (tmp_path / "z.zarr").mkdir()
    (tmp_path / "filed").mkdir()
    units = units_of(tmp_path)
    assert [unit.names for unit in units] == [("b.tif",), ("x.emi", "x_1.ser"), ("z.zarr",)]
    assert [unit.name for unit in units_of(tmp_path, with_marker=True)] == ["b.tif"]
    settling = Settling(10)
    assert settling.settled(units, 0) == []
    (tmp_path / "b.tif").write_text("xy")
    assert [unit.name for unit in settling.settled(units_of(tmp_path), 10)] == ["x.emi"]
    assert [unit.name for unit in settling.settled(units_of(tmp_path), 20)] == ["b.tif", "x.emi"]
