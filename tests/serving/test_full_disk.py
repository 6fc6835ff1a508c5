"""A runner whose disk is full for a while, or stays so. `tests/chaos` does the same with a real disk."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from reading_house import House, counting
from simulated import simulated_tissue, write_tiff


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.scorer.close()
    house.store.close()


def test_a_read_waits_for_room_on_a_full_disk_and_goes_on_from_its_last_range(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is none for the second range, and none for the name of the result."""
    read_id = house.request(house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256))))
    _fill_the_disk(monkeypatch, lambda call, is_result: call == 2 or is_result)
    scored: list[int] = []
    house.runner(counting(house, scored)).run_next()
    read = house.read(read_id)
    assert (read.state, read.epoch, read.attempts, scored) == ("succeeded", 1, 0, [0, 1, 1, 2, 3])
    assert (house.settings.result_dir(read_id, epoch=1) / read.slide_ids[0] / "findings.json").is_file()


def test_a_disk_that_stays_full_ends_the_read_with_its_own_code_and_leaves_nothing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_id = house.request(house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256))))
    _fill_the_disk(monkeypatch, lambda call, is_result: True, once=False)
    impatient = house.settings.model_copy(update={"storage_patience_s": 0.5})
    replace(house.runner(), settings=impatient).run_next()
    assert house.read(read_id).error_code == "storage_full"
    assert not (house.settings.reads_dir / read_id).exists()


def test_a_read_that_waits_for_room_is_cancelled_and_given_back_as_any_other(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = house.file(write_tiff(tmp_path / "field.tif", simulated_tissue(256, 256)))
    cancelled, stopped = house.request(slide), house.request(slide)
    asks: list[Callable[[], object]] = [
        lambda: house.jobs.request_cancel(cancelled, "a test"),
        lambda: house.stop.set(),  # noqa: PLW0108  # that of the runner of then
    ]
    _fill_the_disk(monkeypatch, lambda call, is_result: bool(asks.pop(0)()) or True, once=False)
    for _ in range(2):
        house.runner().run_next()
    assert house.read(cancelled).state == "cancelled"
    assert (house.read(stopped).state, house.read(stopped).attempts) == ("running", 0)


def _fill_the_disk(
    monkeypatch: pytest.MonkeyPatch, is_full: Callable[[int, bool], bool], *, once: bool = True
) -> None:
    """No room where `is_full` says so of a call of fsync, by its number and by whether it is of a result;
    `once` of either.
    """
    fsync, calls, refused = os.fsync, [0], set[bool]()

    def no_room(descriptor: int) -> None:
        calls[0] += 1
        is_result = "result-1" in os.readlink(f"/proc/self/fd/{descriptor}")
        if is_full(calls[0], is_result) and not (once and is_result in refused):
            refused.add(is_result)
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", no_room)
