"""Stored chunks of HDF5, unpacked within a bound: HDF5 unpacks a whole stream, however small its chunk."""

import zlib
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.slide import Pixels, TileUnreadable
from ultraread.errors import SlideCodecUnsupported

DEFLATE, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
FILTERS = {DEFLATE: "deflate", SHUFFLE: "shuffle", FLETCHER32: "fletcher32", LZF: "lzf"}
"""Those that h5py always has; every other one would be loaded from wherever HDF5 looks for plug-ins."""
CHECKSUM_BYTES = 4
REFERENCE_BYTES = 16
"""Of a text of variable length: 4 of its length, 8 and 4 of its place (HDF5 file format 3.0, IV.B)."""
OVERHEAD_BYTES = 4096


def filters_of(dataset: Any) -> list[int]:  # noqa: ANN401  # h5py has no types
    """In the order in which they were applied. Raises SlideCodecUnsupported for those not in FILTERS, and for
    any that comes twice or compresses what another compressed.
    """
    plist = dataset.id.get_create_plist()
    used = [int(plist.get_filter(number)[0]) for number in range(plist.get_nfilters())]
    for each in used:
        if each not in FILTERS:
            raise SlideCodecUnsupported(f"HDF5 filter {each} is not decoded here")
    if len(set(used)) != len(used) or {DEFLATE, LZF} <= set(used):
        raise SlideCodecUnsupported("HDF5 filters that compress twice")
    return used


def chunk_bytes(dataset: Any) -> int:  # noqa: ANN401
    """What one chunk holds, unpacked."""
    return int(prod(dataset.chunks) * _item_bytes(dataset))


def _item_bytes(dataset: Any) -> int:  # noqa: ANN401
    return REFERENCE_BYTES if dataset.dtype.kind == "O" else int(dataset.dtype.itemsize)


def largest_stored_bytes(dataset: Any) -> int:  # noqa: ANN401
    """No filter makes twice as much of what it cannot pack."""
    return 2 * chunk_bytes(dataset) + OVERHEAD_BYTES


def chunk_pixels(dataset: Any, offset: Sequence[int]) -> Pixels:  # noqa: ANN401
    """A chunk in the shape of chunks and the stored kind. Raises as `unpacked_chunk`."""
    held = np.frombuffer(unpacked_chunk(dataset, offset), dataset.dtype)
    return cast(Pixels, held.reshape(dataset.chunks))


def unpacked_chunk(dataset: Any, offset: Sequence[int]) -> bytes:  # noqa: ANN401
    """The bytes of a chunk. Raises TileUnreadable where they are more or fewer than the chunk's.

    Raises ValueError for a wrong checksum, and what zlib and imagecodecs raise for damaged bytes.
    """
    if dataset.id.get_chunk_info_by_coord(tuple(offset)).size > largest_stored_bytes(dataset):
        raise TileUnreadable("a chunk takes more bytes than it declares")
    mask, held = dataset.id.read_direct_chunk(tuple(offset))
    for number, each in reversed(list(enumerate(filters_of(dataset)))):
        if not mask & 1 << number:
            held = _undone(each, held, dataset)
    if len(held) != chunk_bytes(dataset):
        raise TileUnreadable("a chunk unpacks to another size than it declares")
    return bytes(held)


def _undone(applied: int, held: bytes, dataset: Any) -> bytes:  # noqa: ANN401
    at_most = chunk_bytes(dataset) + CHECKSUM_BYTES
    if applied == DEFLATE:
        return zlib.decompressobj().decompress(held, at_most + 1)
    if applied == LZF:
        import imagecodecs

        return bytes(imagecodecs.lzf_decode(held, header=False, out=at_most))
    return _summed(held) if applied == FLETCHER32 else _unshuffled(held, _item_bytes(dataset))


def _summed(held: bytes) -> bytes:
    """Without its checksum. Raises ValueError where that is another."""
    import imagecodecs

    body, stated = held[:-CHECKSUM_BYTES], held[-CHECKSUM_BYTES:]
    if imagecodecs.h5checksum_fletcher32(body) != int.from_bytes(stated, "little"):
        raise ValueError("the checksum of a chunk is another")
    return body


def _unshuffled(held: bytes, item_bytes: int) -> bytes:
    """First bytes of all items, then all second bytes, and so on; what is left over stands at the end."""
    items = len(held) // item_bytes
    whole = np.frombuffer(held, np.uint8, items * item_bytes).reshape(item_bytes, items)
    return whole.T.tobytes() + held[items * item_bytes :]


def offsets_within(dataset: Any, extent: Sequence[slice]) -> Iterator[tuple[int, ...]]:  # noqa: ANN401
    """Of the chunks that a box touches; its slices have start and stop."""
    steps = [
        range(each.start // step * step, each.stop, step)
        for each, step in zip(extent, dataset.chunks, strict=True)
    ]
    return product(*steps)


def number_of(dataset: Any, offset: Sequence[int]) -> int:  # noqa: ANN401
    """Of a chunk, in the order of the array."""
    number = 0
    for side, step, at in zip(dataset.shape, dataset.chunks, offset, strict=True):
        number = number * -(-side // step) + at // step
    return int(number)


def paste(pixels: NDArray[Any], extent: Sequence[slice], chunk: Pixels, offset: Sequence[int]) -> None:
    """Put what a chunk holds of a box into the pixels of the box."""
    to, of = [], []
    for each, at, step in zip(extent, offset, chunk.shape, strict=True):
        start, stop = max(each.start, at), min(each.stop, at + step)
        to.append(slice(start - each.start, stop - each.start))
        of.append(slice(start - at, stop - at))
    pixels[tuple(to)] = chunk[tuple(of)]
