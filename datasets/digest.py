"""Digests of files."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

PIECE_BYTES = 2**20


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as stream:
        return sha256_of_stream(stream)


def sha256_of_stream(stream: BinaryIO, hear: Callable[[bytes], object] = lambda piece: None) -> str:
    """Hex digest of what is left of a stream, read in pieces; `hear` hears each of them."""
    digest = hashlib.sha256()
    while piece := stream.read(PIECE_BYTES):
        digest.update(piece)
        hear(piece)
    return digest.hexdigest()
