"""What is held is bounded: opened slides, made pictures, pictures in the making."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated import simulated_tissue, write_png, write_tiff

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide import Slide
from ultraread.datasets.slide_address import SlideAddress, address_of
from ultraread.errors import SlideNotFound, ViewBusy
from ultraread.serving.viewing.kept import Kept
from ultraread.serving.viewing.open_slides import OpenSlides, held_bytes
from ultraread.serving.viewing.slots import RenderingSlots

MEGAPIXEL = simulated_tissue(1024, 1024)


@pytest.fixture
def slides(tmp_path: Path) -> list[SlideAddress]:
    paths = [write_tiff(tmp_path / f"{n}.tif", simulated_tissue(64, 64, n)) for n in range(4)]
    return [replace(address_of(path), name=str(n)) for n, path in enumerate(paths)]


def is_closed(slide: Slide) -> bool:
    try:
        slide.read_box(0, 0, BoxPx(0, 0, 8, 8))
    except ValueError:
        return True
    return False


def used(opened: OpenSlides, address: SlideAddress) -> Slide:
    with opened.using(address.name, lambda: address) as slide:
        return slide


def test_the_slides_used_last_stay_open_and_the_others_are_closed(slides: list[SlideAddress]) -> None:
    opened = OpenSlides(most=2)
    first, second = used(opened, slides[0]), used(opened, slides[1])
    assert used(opened, slides[0]) is first
    used(opened, slides[2])
    assert (is_closed(first), is_closed(second), len(opened)) == (False, True, 2)
    opened.close()
    assert is_closed(first)


def test_a_slide_in_use_is_closed_only_when_its_last_user_is_done(slides: list[SlideAddress]) -> None:
    opened = OpenSlides(most=1)
    with opened.using("0", lambda: slides[0]) as slide:
        used(opened, slides[1])
        assert not is_closed(slide)
        with opened.using("0", lambda: slides[0]) as again:
            opened.forget("0")
            assert again is slide
        assert not is_closed(slide)
    assert is_closed(slide)
    opened.close()


def test_slides_that_lie_in_memory_whole_count_with_their_bytes(tmp_path: Path) -> None:
    paths = [write_png(tmp_path / f"{n}.png", MEGAPIXEL.astype(np.uint16)) for n in range(4)]
    with open_slide(paths[0]) as slide:
        assert held_bytes(slide) == 32 * 2**20, "never less than what a tiled slide keeps"
    opened = OpenSlides(most=100, most_bytes=64 * 2**20)
    for path in paths:
        used(opened, replace(address_of(path), name=path.name))
    assert len(opened) == 2


def test_a_slide_that_cannot_be_opened_holds_nothing(tmp_path: Path) -> None:
    opened = OpenSlides()
    with pytest.raises(SlideNotFound), opened.using("gone", lambda: address_of(tmp_path / "gone.tif")):
        pass
    assert len(opened) == 0


def test_many_threads_share_one_opened_slide(slides: list[SlideAddress]) -> None:
    times_opened = []

    def open_one(address: SlideAddress) -> Slide:
        times_opened.append(address.name)
        return open_slide(address)

    opened = OpenSlides(open_one, most=2)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: used(opened, slides[n % 2]).info, range(64)))
    assert sorted(times_opened) == ["0", "1"]
    opened.close()


def test_what_was_made_is_kept_within_its_bytes_the_last_used_first() -> None:
    kept: Kept[bytes] = Kept(100, len)
    for name in "abc":
        kept.get(name, lambda: b"x" * 40)
    assert (kept.find("a"), kept.bytes) == (None, 80)
    kept.find("b")
    kept.get("d", lambda: b"x" * 40)
    assert kept.find("c") is None
    assert kept.find("b") is not None
    assert kept.get("huge", lambda: b"x" * 500) == kept.find("huge")
    assert kept.bytes == 500


def test_what_many_ask_for_at_once_is_made_once() -> None:
    kept: Kept[bytes] = Kept(100, len)
    made = []
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _n: kept.get("one", lambda: bytes(made.append(1) or 1)), range(64)))
    assert len(made) == 1


def test_what_failed_is_not_kept() -> None:
    kept: Kept[bytes] = Kept(100, len)
    with pytest.raises(ZeroDivisionError):
        kept.get("one", lambda: bytes(1 // 0))
    assert kept.get("one", lambda: b"there") == b"there"


def test_a_few_are_rendered_at_once_some_wait_and_more_are_turned_away() -> None:
    slots, release, running = RenderingSlots(at_once=2, waiting=3), threading.Event(), threading.Semaphore(0)
    at_once: list[int] = []

    def render() -> None:
        with slots.one():
            at_once.append(1)
            running.release()
            release.wait(10)

    threads = [threading.Thread(target=render) for _ in range(5)]
    for thread in threads:
        thread.start()
    running.acquire()
    running.acquire()
    while slots.inside < 5:
        pass
    assert len(at_once) == 2
    with pytest.raises(ViewBusy), slots.one():
        pass
    release.set()
    for thread in threads:
        thread.join()
    with ExitStack() as free:
        free.enter_context(slots.one())
