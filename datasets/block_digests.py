"""Digests of the blocks of a file: what is fetched later is held against them before anybody sees it."""

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock

from ultraread.errors import IntegrityFailed, StorageUnreachable

log = logging.getLogger(__name__)

BLOCK_BYTES = 256 * 2**10
"""A stored tile or a few; larger blocks fetch more than a tile needs, smaller ones ask more often."""
DIGEST_BYTES = 32
KEPT_BLOCKS = 32
PAUSES_S = (0.1, 0.5, 2.0)
"""Before each further try of a block that came wrong, or of an object that is said to be gone."""
STRIPES = 16

FetchRange = Callable[[int, int], bytes]
"""Offset and count to bytes, as the store or the disk gives them. Raises OSError, StorageUnreachable."""


@dataclass(frozen=True, slots=True)
class BlockDigests:
    """sha256 of each block of file `file` of a slide, 32 bytes a block; the last block may be shorter."""

    file: int
    size: int
    sha256s: bytes = field(repr=False)
    block_bytes: int = BLOCK_BYTES

    def of(self, block: int) -> bytes:
        return self.sha256s[block * DIGEST_BYTES : (block + 1) * DIGEST_BYTES]


def blocks_in(size: int, block_bytes: int = BLOCK_BYTES) -> int:
    """How many blocks a file of this size has."""
    return -(-size // block_bytes)


class BlockDigester:
    """Digests a file's blocks while its bytes pass, in pieces of any size."""

    def __init__(self) -> None:
        self._ended = bytearray()
        self._block, self._left = hashlib.sha256(), BLOCK_BYTES

    def add(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            taken, view = view[: self._left], view[self._left :]
            self._block.update(taken)
            self._left -= len(taken)
            if not self._left:
                self._end_block()

    def ended(self) -> bytes:
        """The digests one after the other, after the last piece."""
        if self._left < BLOCK_BYTES:
            self._end_block()
        return bytes(self._ended)

    def _end_block(self) -> None:
        self._ended += self._block.digest()
        self._block, self._left = hashlib.sha256(), BLOCK_BYTES


class BlockCache:
    """The blocks that were confirmed last, of all files of a slide. Thread-safe."""

    def __init__(self, most: int = KEPT_BLOCKS) -> None:
        self._most = most
        self._blocks: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = Lock()

    def find(self, file: int, block: int) -> bytes | None:
        with self._lock:
            found = self._blocks.get((file, block))
            if found is not None:
                self._blocks.move_to_end((file, block))
            return found

    def keep(self, file: int, block: int, held: bytes) -> None:
        with self._lock:
            self._blocks[file, block] = held
            self._blocks.move_to_end((file, block))
            while len(self._blocks) > self._most:
                self._blocks.popitem(last=False)


class ConfirmedRanges:
    """Ranges of one file, of which nobody sees a byte whose block is not as it was digested. Thread-safe.

    Threads that want the same block fetch it once.
    """

    def __init__(self, fetch: FetchRange, blocks: BlockDigests, cache: BlockCache | None = None) -> None:
        self._fetch = fetch
        self._blocks = blocks
        self._cache = cache or BlockCache()
        self._stripes = [Lock() for _ in range(STRIPES)]

    def read_at(self, offset: int, count: int) -> bytes:
        """The bytes [offset, offset + count), fewer at the end.

        Raises IntegrityFailed where a block comes wrong in the same way at every try; StorageUnreachable
        where it comes wrong in different ways, or not at all.
        """
        size = self._blocks.block_bytes
        end = min(offset + count, self._blocks.size)
        if end <= offset:
            return b""
        first, after = offset // size, blocks_in(end, size)
        with self._alone(first, after):
            joined = b"".join(self._held(first, after))
        return joined[offset - first * size : end - first * size]

    @contextmanager
    def _alone(self, first: int, after: int) -> Iterator[None]:
        with ExitStack() as held:
            for stripe in sorted({number % STRIPES for number in range(first, min(after, first + STRIPES))}):
                held.enter_context(self._stripes[stripe])
            yield

    def _held(self, first: int, after: int) -> list[bytes]:
        """The blocks; those from the first to the last that is not kept come with one request."""
        found = [self._cache.find(self._blocks.file, number) for number in range(first, after)]
        missing = [number for number, held in enumerate(found, first) if held is None]
        if missing:
            low, high = missing[0], missing[-1] + 1
            found[low - first : high - first] = self._fetched(low, high)
        return [held for held in found if held is not None]

    def _fetched(self, first: int, after: int) -> list[bytes]:
        size = self._blocks.block_bytes
        body = self._body(first, after)
        is_long_enough = len(body) == self._bytes(first, after)
        confirmed = []
        for number in range(first, after):
            start = (number - first) * size
            block = body[start : start + size] if is_long_enough else b""
            confirmed.append(block if self._is_right(number, block) else self._again(number))
            self._cache.keep(self._blocks.file, number, confirmed[-1])
        return confirmed

    def _again(self, number: int) -> bytes:
        """The block at another try. Each wrong one is told in the log."""
        wrong = set[bytes]()
        for pause_s in PAUSES_S:
            log.warning("%s came wrong and is fetched again", self._called(number))
            time.sleep(pause_s)
            block = self._body(number, number + 1)
            if len(block) == self._bytes(number, number + 1) and self._is_right(number, block):
                return block
            wrong.add(hashlib.sha256(block).digest())
        if len(wrong) > 1:
            remedy = "Check the object store, and the network to it: what they deliver is not to be trusted."
            raise StorageUnreachable(f"{self._called(number)} comes otherwise at each try", remedy)
        raise IntegrityFailed(
            f"{self._called(number)} is not what it was when the slide was digested",
            "Restore the slide from its copy (ultraread storage scrub --repair), or start the read again.",
        )

    def _body(self, first: int, after: int) -> bytes:
        return self._fetch(first * self._blocks.block_bytes, self._bytes(first, after))

    def _bytes(self, first: int, after: int) -> int:
        size = self._blocks.block_bytes
        return min(after * size, self._blocks.size) - first * size

    def _is_right(self, number: int, block: bytes) -> bool:
        return hashlib.sha256(block).digest() == self._blocks.of(number)

    def _called(self, number: int) -> str:
        return f"block {number} of file {self._blocks.file}"
