"""The texts that PNG and JPEG files carry beside their picture."""

import struct
import zlib
from collections.abc import Iterator

from PIL import ExifTags, Image

from ultraread.datasets.formats.tags import flattened, printable_texts
from ultraread.datasets.slide import SlideFormat, Tag

PNG_SIGNATURE_BYTES = 8
TEXT_CHUNKS = (b"tEXt", b"iTXt", b"zTXt", b"tIME", b"eXIf")
MAX_TEXT_BYTES = 65_536
JPEG_SCAN = 0xDA
JPEG_SEGMENTS_OF_TEXT = (0xFE, *range(0xE0, 0xF0))
"""Comments and the segments of applications: EXIF, XMP, IPTC."""


def tags_of_raster(header: Image.Image, stored: bytes, kind: SlideFormat) -> tuple[Tag, ...]:
    """EXIF under its own names, and the printable texts of every other part that is no picture."""
    texts = _png_texts(stored) if kind == SlideFormat.PNG else _jpeg_texts(stored)
    return (*_exif(header), *texts)


def orientation_of(header: Image.Image) -> object:
    """What EXIF, or XMP in its place, says; None where neither does, or EXIF is damaged."""
    try:
        return header.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises five kinds for damaged EXIF
        return None


def _exif(header: Image.Image) -> tuple[Tag, ...]:
    """No pixel depends on it, so damaged EXIF is left out; its printable texts are found as any others."""
    try:
        found = {ExifTags.TAGS.get(code, str(code)): value for code, value in header.getexif().items()}
        return tuple(flattened(found, "Exif"))
    except Exception:  # Pillow raises five kinds for it
        return ()


def _png_texts(stored: bytes) -> Iterator[Tag]:
    at = PNG_SIGNATURE_BYTES
    while at + 8 <= len(stored):
        length, name = struct.unpack_from(">I4s", stored, at)
        if name in TEXT_CHUNKS:
            yield from _png_text(name, stored[at + 8 : at + 8 + length])
        at += 12 + length


def _png_text(name: bytes, chunk: bytes) -> Iterator[Tag]:
    """`keyword \\0 text`, of which zTXt and some iTXt compress the text."""
    keyword, _, rest = chunk.partition(b"\0")
    packed = {b"zTXt": rest[1:], b"iTXt": rest.split(b"\0", 2)[-1] if rest[:1] == b"\1" else b""}.get(name)
    if packed:
        try:
            rest = zlib.decompressobj().decompress(packed, MAX_TEXT_BYTES)
        except zlib.error:
            return
    yield from flattened(rest.decode("utf-8", "replace"), f"{name.decode()}.{keyword.decode('latin-1')}")


def _jpeg_texts(stored: bytes) -> Iterator[Tag]:
    at = 2
    while at + 4 <= len(stored) and stored[at] == 0xFF and stored[at + 1] != JPEG_SCAN:
        marker, length = stored[at + 1], struct.unpack_from(">H", stored, at + 2)[0]
        if marker in JPEG_SEGMENTS_OF_TEXT:
            yield from printable_texts(stored[at + 4 : at + 2 + length], f"APP{marker:02X}")
        at += 2 + max(length, 2)
