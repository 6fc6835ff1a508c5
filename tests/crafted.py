"""Slides as attackers and broken programs write them, a few lines each; all of them are simulated."""

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from simulated import cut_off, simulated_tissue, write_ome_tiff, write_png, write_pyramid, write_tiff
from simulated_instruments import write_ncem, write_velox
from simulated_wide import write_dicom_slide, write_secondary_capture

Make = Callable[[Path], Path]
"""Writes a slide into a folder."""
GREY = simulated_tissue(256, 256)
NM_PER_PX = 4.6
SIDE_PX = 64
BOMB_BYTES = 200 * 2**20


def content(stored: bytes, name: str = "slide.tif") -> Make:
    """A file of these bytes."""

    def make(at: Path) -> Path:
        (at / name).write_bytes(stored)
        return at / name

    return make


def tiff(pixels: NDArray[Any] = GREY, nm_per_px: float | None = NM_PER_PX, **options: Any) -> Make:  # noqa: ANN401
    return lambda at: write_tiff(at / "slide.tif", pixels, nm_per_px, **options)


def first_bytes(count: int) -> Make:
    return lambda at: content(tiff()(at).read_bytes()[:count])(at)


def cut(keep: float, **options: Any) -> Make:  # noqa: ANN401
    return lambda at: cut_off(tiff(**options)(at), keep)


def with_tags(make: Make, **values: Any) -> Make:  # noqa: ANN401
    """A TIFF whose first directory states something else, at equal length."""

    def changed(at: Path) -> Path:
        path = make(at)
        with tifffile.TiffFile(path, mode="r+") as file:
            for name, value in values.items():
                tag = file.pages.first.tags[name]
                tag.overwrite(value(tag.value) if callable(value) else value, dtype=tag.dtype)
        return path

    return changed


def deeper(make: Make, offsets: Callable[[int], int]) -> Make:
    """A TIFF whose last directory is followed by the one at `offsets` of the first's place."""

    def chained(at: Path) -> Path:
        path = make(at)
        stored = bytearray(path.read_bytes())
        (first,) = struct.unpack_from("<I", stored, 4)
        (entries,) = struct.unpack_from("<H", stored, first)
        struct.pack_into("<I", stored, first + 2 + 12 * entries, offsets(first))
        path.write_bytes(stored)
        return path

    return chained


def chain_of_directories(count: int) -> Make:
    """Directories of one entry each, one after the other."""
    stored = bytearray(b"II*\0" + struct.pack("<I", 8))
    for number in range(count):
        following = 8 + 18 * (number + 1) if number < count - 1 else 0
        stored += struct.pack("<HHHIII", 1, 256, 3, 1, 1, following)
    return content(bytes(stored))


def declared_size(width: int, height: int, step: int | None = None) -> Make:
    """A header of 138 bytes or so that declares a picture."""
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (277, 3, 1)]
    if step is None:
        entries += [(273, 4, 8), (278, 4, height % 2**32), (279, 4, 100)]
    else:
        entries += [(322, 4, step), (323, 4, step), (324, 4, 8), (325, 4, 100)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in sorted(entries))
    return content(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + body + bytes(4))


def bomb(compression: str, packed: Callable[[], bytes]) -> Make:
    """A TIFF of one stored tile that unpacks to far more than 64 x 64 px."""

    def make(at: Path) -> Path:
        pixels = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
        path = write_tiff(at / "slide.tif", pixels, NM_PER_PX, compression=compression)
        stored = packed()
        with tifffile.TiffFile(path, mode="r+") as file:
            tags = file.pages.first.tags
            tags["TileOffsets"].overwrite(path.stat().st_size, dtype="I")
            tags["TileByteCounts"].overwrite(len(stored), dtype="I")
        with path.open("ab") as stream:
            stream.write(stored)
        return path

    return make


def deflated() -> bytes:
    packing = zlib.compressobj(9)
    return b"".join([*(packing.compress(bytes(2**20)) for _ in range(BOMB_BYTES >> 20)), packing.flush()])


def zstandard() -> bytes:
    return bytes(imagecodecs.zstd_encode(bytes(BOMB_BYTES)))


def lzw() -> bytes:
    return bytes(imagecodecs.lzw_encode(bytes(BOMB_BYTES // 8)))


def jpeg2000() -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(np.zeros((4096, 4096), np.uint8), level=1, codecformat="j2k"))


def png_bomb(at: Path) -> Path:
    """64 x 64 px that deflate to 200 MB."""
    path = write_png(at / "slide.png", np.zeros((SIDE_PX, SIDE_PX), np.uint8))
    stored = path.read_bytes()
    at_data = stored.index(b"IDAT") - 4
    chunk = b"IDAT" + deflated()
    piece = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(stored[:at_data] + piece + stored[stored.index(b"IEND") - 4 :])
    return path


def floats(value: float, everywhere: bool = False) -> Make:
    pixels = GREY.astype(np.float32)
    pixels[...] = np.where(everywhere, value, pixels)
    pixels[10, 10] = value
    return tiff(pixels)


def ome_xml(declared: str, used: str) -> Make:
    """An OME-TIFF whose XML declares an entity and uses it."""

    def make(at: Path) -> Path:
        path = write_ome_tiff(at / "slide.ome.tif", GREY, NM_PER_PX)
        with tifffile.TiffFile(path) as file:
            xml = file.ome_metadata or ""
        start = xml.index("<OME")
        described = f"{xml[:start]}<!DOCTYPE OME [{declared}]>{xml[start:]}".replace(
            "</OME>", f"<Description>{used}</Description></OME>"
        )
        tifffile.tiffcomment(path, described.encode())
        return path

    return make


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "lol">' for n in range(10))


def inconsistent_pyramid(at: Path) -> Path:
    path = at / "slide.ome.tif"
    stored: dict[str, Any] = {"tile": (64, 64), "photometric": "minisblack"}
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(GREY, subifds=1, **stored)
        writer.write(GREY.repeat(2, axis=0)[:, :100], subfiletype=1, **stored)
    return path


def pyramid(at: Path) -> Path:
    return write_pyramid(at / "slide.tif", GREY, 2)


def zipped(at: Path) -> Path:
    path = at / "slide.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../slide.tif", GREY.tobytes())
    return path


def zip_bomb(at: Path) -> Path:
    path = at / "slide.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("slide.tif", bytes(50 * 2**20))
    return path


def tarred(mode: str) -> Make:
    def make(at: Path) -> Path:
        path = at / "slide.tar"
        with tarfile.open(path, mode) as archive:
            member = tarfile.TarInfo("/etc/slide.tif")
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        return path

    return make


def emd(change: Callable[[Any], object]) -> Make:
    """An EMD file of NCEM, with something changed in it."""

    def make(at: Path) -> Path:
        path = write_ncem(at / "slide.emd", GREY, NM_PER_PX)
        with h5py.File(path, "a") as file:
            change(file)
        return path

    return make


def external_link(file: Any) -> None:  # noqa: ANN401  # h5py has no types
    file["data/elsewhere"] = h5py.ExternalLink("other.h5", "/data")


def external_storage(file: Any) -> None:  # noqa: ANN401
    del file["data/picture/data"]
    file["data/picture"].create_dataset("data", GREY.shape, "u1", external=[("/etc/passwd", 0, GREY.nbytes)])


def virtual_dataset(file: Any) -> None:  # noqa: ANN401
    layout = h5py.VirtualLayout(GREY.shape, "u1")
    layout[:] = h5py.VirtualSource("other.h5", "data", GREY.shape)
    del file["data/picture/data"]
    file["data/picture"].create_virtual_dataset("data", layout)


def soft_link_loop(file: Any) -> None:  # noqa: ANN401
    file["data/one"], file["data/two"] = h5py.SoftLink("/data/two"), h5py.SoftLink("/data/one")


def deep_groups(file: Any) -> None:  # noqa: ANN401
    file.create_group("/".join(["g"] * 200))


def bomb_beside_the_pixels(at: Path) -> Path:
    """An EMD file of Velox with a text of 1,000 bytes that deflates to 200 MB."""
    path = write_velox(at / "slide.emd", GREY[None], NM_PER_PX * 1e-9)
    with h5py.File(path, "a") as file:
        text = file.create_dataset("note", (1,), dtype="S1000", chunks=(1,), compression="gzip")
        text.id.write_direct_chunk((0,), deflated())
    return path


def group_heap(at: Path) -> Path:
    """An EMD file one of whose heaps of names declares 2^40 bytes."""
    path = write_ncem(at / "slide.emd", GREY, NM_PER_PX)
    stored = bytearray(path.read_bytes())
    struct.pack_into("<Q", stored, stored.index(b"HEAP") + 8, 2**40)
    path.write_bytes(stored)
    return path


def dicom(**changes: Any) -> Make:  # noqa: ANN401
    return lambda at: write_secondary_capture(at / "slide.dcm", GREY, **changes)


def dicom_of_depth(depth: int) -> Make:
    """Sequences of one item within each other."""
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 2**32 - 1)
    opening += struct.pack("<HHI", 0xFFFE, 0xE000, 2**32 - 1)
    closing = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)

    def make(at: Path) -> Path:
        path = dicom()(at)
        stored = path.read_bytes()
        where = stored.index(struct.pack("<HH2s", 0x0028, 0x0002, b"US"))
        path.write_bytes(stored[:where] + opening * depth + closing * depth + stored[where:])
        return path

    return make


def dicom_of_frames(count: int) -> Make:
    """One instance of a slide, which says that it has so many frames."""
    return lambda at: write_dicom_slide(at / "slide", GREY, levels=1, NumberOfFrames=count) / "volume-0.dcm"


def dicom_of_length(length: int) -> Make:
    """The pixel element says that it has another length than it has."""

    def make(at: Path) -> Path:
        path = dicom()(at)
        stored = bytearray(path.read_bytes())
        where = stored.rindex(b"\xe0\x7f\x10\x00O")
        struct.pack_into("<I", stored, where + 8, length)
        path.write_bytes(stored)
        return path

    return make


def zarr_of_much_metadata(at: Path) -> Path:
    """A folder whose description has 20 MB."""
    folder = at / "slide.zarr"
    folder.mkdir()
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text(json.dumps({"multiscales": ["x" * 20_000_000]}))
    return folder


def zarr_of_depth(at: Path) -> Path:
    folder = at / "slide.zarr"
    folder.mkdir()
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text('{"multiscales": ' + "[" * 100_000 + "]" * 100_000 + "}")
    return folder
