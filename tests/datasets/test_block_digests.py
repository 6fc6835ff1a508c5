"""Blocks are held against their digests: what comes wrong is fetched again, what stays wrong is refused."""

import hashlib
import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ultraread.datasets import block_digests
from ultraread.datasets.block_digests import (
    BLOCK_BYTES,
    DIGEST_BYTES,
    BlockCache,
    BlockDigester,
    BlockDigests,
    ConfirmedRanges,
    blocks_in,
)
from ultraread.datasets.slide_address import FileAddress, SlideAddress
from ultraread.datasets.slide_digest import digest_in_blocks, digest_slide
from ultraread.errors import IntegrityFailed, StorageUnreachable

STORED = random.Random(5).randbytes(3 * BLOCK_BYTES + 1234)  # noqa: S311  # nothing secret
Spoil = Callable[[int, bytes], bytes]
"""What a store makes of its answer number n."""


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_digests, "PAUSES_S", (0.0, 0.0, 0.0))


class Lying:
    """A store that spoils some of its answers."""

    def __init__(self, spoil: Spoil) -> None:
        self.asked: list[tuple[int, int]] = []
        self._spoil = spoil

    def __call__(self, offset: int, count: int) -> bytes:
        self.asked.append((offset, count))
        return self._spoil(len(self.asked), STORED[offset : offset + count])


def digests_of(stored: bytes, pieces: int = 1000) -> BlockDigests:
    digester = BlockDigester()
    for start in range(0, len(stored), pieces):
        digester.add(stored[start : start + pieces])
    return BlockDigests(2, len(stored), digester.ended())


def flipped(answer: bytes, place: int = -1) -> bytes:
    held = bytearray(answer)
    held[place] ^= 1
    return bytes(held)


@pytest.mark.parametrize("pieces", [1000, BLOCK_BYTES, BLOCK_BYTES + 1, len(STORED)])
@pytest.mark.parametrize("size", [1, BLOCK_BYTES, BLOCK_BYTES + 1, len(STORED)])
def test_blocks_are_digested_in_pieces_of_any_size(size: int, pieces: int) -> None:
    stored = STORED[:size]
    blocks = [stored[start : start + BLOCK_BYTES] for start in range(0, size, BLOCK_BYTES)]
    digested = digests_of(stored, pieces)
    assert digested.sha256s == b"".join(hashlib.sha256(block).digest() for block in blocks)
    assert len(digested.sha256s) == DIGEST_BYTES * blocks_in(size)


def test_a_file_without_bytes_has_no_blocks() -> None:
    assert BlockDigester().ended() == b""
    assert ConfirmedRanges(Lying(lambda _, answer: answer), BlockDigests(0, 0, b"")).read_at(0, 10) == b""


def test_one_pass_gives_the_digest_of_the_slide_and_of_its_blocks(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    path.write_bytes(STORED)
    slide = SlideAddress("slide", (FileAddress("slide.tif", str(path)),))
    digest, digested = digest_in_blocks(slide)
    assert digest == digest_slide(slide)
    (blocks,) = (file.blocks for file in digested.files)
    assert blocks is not None
    assert (blocks.file, blocks.size, blocks.sha256s) == (0, len(STORED), digests_of(STORED).sha256s)


def test_any_range_is_what_is_stored_and_blocks_are_fetched_once() -> None:
    store, chance = Lying(lambda _, answer: answer), random.Random(1)  # noqa: S311  # nothing secret
    ranges = ConfirmedRanges(store, digests_of(STORED))
    for _ in range(300):
        offset, count = chance.randrange(len(STORED) + 10), chance.randrange(2 * BLOCK_BYTES)
        assert ranges.read_at(offset, count) == STORED[offset : offset + count]
    assert sum(count for _, count in store.asked) <= 2 * len(STORED)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda number, answer: flipped(answer) if number == 1 else answer,
        lambda number, answer: flipped(answer, 0) if number < 4 else answer,
        lambda number, answer: answer[:-1] if number == 1 else answer,
        lambda number, answer: b"" if number < 4 else answer,
        lambda number, answer: answer + b"x" if number == 1 else answer,
        lambda number, answer: STORED if number == 1 else answer,
    ],
    ids=["flipped", "flipped three times", "short", "nothing", "long", "the whole object"],
)
def test_what_comes_wrong_is_fetched_again_and_told(spoil: Spoil, caplog: pytest.LogCaptureFixture) -> None:
    store = Lying(spoil)
    with caplog.at_level(logging.WARNING):
        assert (
            ConfirmedRanges(store, digests_of(STORED)).read_at(BLOCK_BYTES, 10) == STORED[BLOCK_BYTES:][:10]
        )
    assert "block 1 of file 2 came wrong and is fetched again" in caplog.text
    assert set(store.asked) == {(BLOCK_BYTES, BLOCK_BYTES)}


def test_only_the_wrong_block_of_a_long_range_is_fetched_again() -> None:
    place = 2 * BLOCK_BYTES + 7
    store = Lying(lambda number, answer: flipped(answer, place) if number == 1 else answer)
    assert ConfirmedRanges(store, digests_of(STORED)).read_at(0, len(STORED)) == STORED
    assert store.asked == [(0, len(STORED)), (2 * BLOCK_BYTES, BLOCK_BYTES)]


@pytest.mark.parametrize(
    "spoil",
    [lambda _, answer: flipped(answer), lambda _, answer: answer[:-1], lambda _, answer: answer + b"x"],
    ids=["flipped", "short", "long"],
)
def test_what_is_always_wrong_in_the_same_way_is_damage(spoil: Spoil) -> None:
    store = Lying(spoil)
    with pytest.raises(IntegrityFailed, match=r"^block 3 of file 2 is not what it was"):
        ConfirmedRanges(store, digests_of(STORED)).read_at(len(STORED) - 4, 4)
    assert len(store.asked) == 4


def test_what_is_wrong_in_another_way_each_time_is_an_outage() -> None:
    with pytest.raises(StorageUnreachable, match=r"^block 0 of file 2 comes otherwise at each try"):
        ConfirmedRanges(Lying(lambda n, answer: flipped(answer, n)), digests_of(STORED)).read_at(0, 4)


def test_nothing_wrong_is_ever_kept() -> None:
    store = Lying(lambda number, answer: flipped(answer) if number <= 4 else answer)
    ranges = ConfirmedRanges(store, digests_of(STORED))
    with pytest.raises(IntegrityFailed):
        ranges.read_at(0, 4)
    assert ranges.read_at(0, 4) == STORED[:4]


def test_what_is_kept_is_bounded() -> None:
    cache = BlockCache(most=2)
    for number in range(5):
        cache.keep(0, number, b"held")
    assert [cache.find(0, number) for number in range(5)] == [None, None, None, b"held", b"held"]


def test_threads_fetch_a_block_once() -> None:
    together = threading.Barrier(4)
    store = Lying(lambda _, answer: answer)
    ranges = ConfirmedRanges(store, digests_of(STORED))

    def read(number: int) -> bytes:
        together.wait()
        return ranges.read_at(number * 100, 100)

    with ThreadPoolExecutor(4) as pool:
        assert b"".join(pool.map(read, range(4))) == STORED[:400]
    assert store.asked == [(0, BLOCK_BYTES)]
