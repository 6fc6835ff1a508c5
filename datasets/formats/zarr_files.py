"""The files of a slide as a read-only zarr store: keys are names inside the slide, nothing else is opened."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from ultraread.datasets.formats.zarr_codecs import CodedChunks
from ultraread.datasets.slide_address import ZARR_METADATA, FileAddress
from ultraread.datasets.stored_file import open_file
from ultraread.errors import SlideTooLarge

MAX_METADATA_BYTES = 16 * 2**20
"""Of one metadata file: it is parsed whole."""
GEOMETRY = frozenset({"axes", "datasets", "coordinateTransformations"})


class ZarrFiles(Store):
    """`files`: the file of each key. zarr gets no chunk that unpacks to another size than its array's."""

    def __init__(self, files: Mapping[str, FileAddress]) -> None:
        super().__init__(read_only=True)
        self._files = dict(files)
        self.coded: dict[str, CodedChunks] = {}
        """By the path of an array with a closing slash."""

    def read(
        self, key: str, byte_range: ByteRequest | None = None, at_most: int | None = None
    ) -> bytes | None:
        """The bytes of a key, None where there is none. Raises as `read_at` does; SlideTooLarge."""
        address = self._files.get(key)
        if address is None:
            return None
        file = open_file(address.location, key, address.blocks)
        try:
            start, end = _bounds(byte_range, file.size)
            if _is_metadata(key) and end - start > MAX_METADATA_BYTES:
                raise SlideTooLarge(f"a metadata file of {file.size:,} bytes")
            if at_most is not None and end - start > at_most:
                raise OSError("a chunk takes more bytes than its pixels")
            return file.read_at(start, end - start)
        finally:
            file.close()

    def keys_below(self, prefix: str) -> Iterable[str]:
        return (key for key in self._files if key.startswith(prefix))

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        stored = await asyncio.to_thread(self._checked, key, byte_range)
        return None if stored is None else prototype.buffer.from_bytes(stored)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return key in self._files

    @property
    def supports_writes(self) -> bool:
        return False

    @property
    def supports_deletes(self) -> bool:
        return False

    @property
    def supports_listing(self) -> bool:
        return True

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError("a slide is never written")

    async def delete(self, key: str) -> None:
        raise NotImplementedError("a slide is never written")

    async def list(self) -> AsyncIterator[str]:
        for key in self._files:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in self.keys_below(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        below = f"{prefix.rstrip('/')}/" if prefix else ""
        for name in {key.removeprefix(below).partition("/")[0] for key in self.keys_below(below)}:
            yield name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZarrFiles) and other._files == self._files

    __hash__ = None  # type: ignore[assignment]

    def _checked(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        """What zarr unpacks next: a file, or of a shard its index or one of its chunks."""
        coded = self._coded(key)
        if coded is None:
            return self.read(key, byte_range)
        stored = self.read(key, byte_range, coded.largest_stored_bytes)
        if stored is not None and byte_range is None:
            coded.check_file(stored)
        elif stored is not None and not isinstance(byte_range, SuffixByteRequest):
            coded.check_chunk(stored)
        return stored

    def _coded(self, key: str) -> CodedChunks | None:
        if key.rpartition("/")[2] in ZARR_METADATA:
            return None
        return next((coded for array, coded in self.coded.items() if key.startswith(array)), None)


def _is_metadata(key: str) -> bool:
    name = key.rpartition("/")[2]
    return name in ZARR_METADATA or name.endswith(".xml")


def _bounds(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    match byte_range:
        case None:
            return 0, size
        case RangeByteRequest(start=start, end=end):
            return start, min(end, size)
        case OffsetByteRequest(offset=offset):
            return offset, size
        case SuffixByteRequest(suffix=suffix):
            return max(0, size - suffix), size
    raise TypeError(f"a range of another kind: {byte_range!r}")


def flattened(attributes: Any, name: str = "") -> Iterable[tuple[str, str]]:  # noqa: ANN401  # any JSON
    """Every text and number of a JSON document under its dotted name, those of the geometry left out."""
    if isinstance(attributes, Mapping):
        for key, value in attributes.items():
            if key not in GEOMETRY:
                yield from flattened(value, f"{name}.{key}" if name else str(key))
    elif isinstance(attributes, list):
        for number, value in enumerate(attributes):
            yield from flattened(value, f"{name}.{number}")
    elif attributes is not None:
        yield name, str(attributes)
