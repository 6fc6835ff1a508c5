"""How much packed bytes unpack to, found out within a bound, before a library unpacks all of them."""

import bz2
import gzip
import io
import zlib
from collections.abc import Callable, Mapping

BLOSC_HEADER_BYTES = 16
LZ4_HEADER_BYTES = 4


def refuse_unless_unpacks_to(size: int, packed: bytes, codec: str) -> None:
    """Raise OSError where a zarr codec would make more or fewer than `size` bytes of `packed`.

    Never unpacks more than `size` + 1 bytes. Raises the codec's own error for damaged bytes.
    """
    found = _UNPACKED_BYTES[codec](packed, size)
    if found != size:
        raise OSError("a chunk unpacks to another size than the array's")


def _of_blosc(packed: bytes, size: int) -> int:
    """blosc allocates what a header declares, up to 2 GiB, and reads as far as it says
    (README_CHUNK_FORMAT of c-blosc: unpacked size at 4, packed size at 12).
    """
    if len(packed) < BLOSC_HEADER_BYTES or int.from_bytes(packed[12:16], "little") > len(packed):
        return -1
    return int.from_bytes(packed[4:8], "little")


def _of_lz4(packed: bytes, size: int) -> int:
    """numcodecs puts the unpacked size before the block, and allocates it."""
    return int.from_bytes(packed[:LZ4_HEADER_BYTES], "little", signed=True)


def _of_zstd(packed: bytes, size: int) -> int:
    """Headers of frames may leave their size out, and several frames may follow each other."""
    import imagecodecs

    return len(imagecodecs.zstd_decode(packed, out=size))


def _of_gzip(packed: bytes, size: int) -> int:
    """All members of the file together."""
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
        return len(file.read(size + 1))


def _of_bz2(packed: bytes, size: int) -> int:
    with bz2.BZ2File(io.BytesIO(packed)) as file:
        return len(file.read(size + 1))


def _of_zlib(packed: bytes, size: int) -> int:
    return len(zlib.decompressobj().decompress(packed, size + 1))


_UNPACKED_BYTES: Mapping[str, Callable[[bytes, int], int]] = {
    "blosc": _of_blosc,
    "bz2": _of_bz2,
    "gzip": _of_gzip,
    "lz4": _of_lz4,
    "zlib": _of_zlib,
    "zstd": _of_zstd,
}
COMPRESSORS = frozenset(_UNPACKED_BYTES)
"""By their names in zarr: those that are decoded here, because what they unpack to can be bounded."""
