"""The formats that are put under mutation: an original each, where its pixels lie, and who else reads it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import ncempy.io.dm
import numpy as np
import simulated
import tifffile
from mutation import JPEG_STEP, MutatedFormat
from simulated_instruments import write_mrc, write_ncem
from simulated_wide import write_dicom_slide, write_ome_zarr

from ultraread.datasets.corpora import fetch

PICTURE = simulated.simulated_tissue(150, 90)
COLOURS = simulated.simulated_semithin(500, 300)
PALETTE = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype(np.uint16)
Payload = list[tuple[Path, range]]
Writer = Callable[[Path], Path]


def _real(name: str) -> Writer:
    """A copy of a real file, under a name that keeps its suffix."""

    def write(folder: Path) -> Path:
        copied = folder / f"original{Path(name).suffix}"
        shutil.copyfile(fetch(name), copied)
        copied.chmod(0o644)
        return copied

    return write


def _of_tiff(path: Path) -> Payload:
    with tifffile.TiffFile(path) as file:
        return [
            (path, range(offset, offset + count))
            for page in file.pages
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]


def _of_palette(path: Path) -> Payload:
    """Colours are what pixels are coded with: another palette is another picture."""
    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags[320]
        return [(path, range(tag.valueoffset, tag.valueoffset + 2 * tag.count))]


def _of_dm(path: Path) -> Payload:
    with ncempy.io.dm.fileDM(path) as file:
        start, count = int(file.dataOffset[-1]), int(file.dataSize[-1])
    return [(path, range(start, start + count))]


def _of_mrc(path: Path) -> Payload:
    return [(path, range(1024, path.stat().st_size))]


def _of_ser(path: Path) -> Payload:
    return [(path, range(76 + 50, 76 + 50 + 2 * 1024 * 1024))]


def _of_hdf5(path: Path) -> Payload:
    with h5py.File(path) as file:
        found: list[h5py.Dataset] = []
        file.visititems(lambda name, each: found.append(each) if name.lower().endswith("/data") else None)
        data = next(each for each in found if isinstance(each, h5py.Dataset))
        if data.chunks is None:
            return [(path, range(data.id.get_offset(), data.id.get_offset() + data.nbytes))]
        chunks = [data.id.get_chunk_info(number) for number in range(data.id.get_num_chunks())]
        return [(path, range(each.byte_offset, each.byte_offset + each.size)) for each in chunks]


def _of_png(path: Path) -> Payload:
    stored = path.read_bytes()
    at = stored.index(b"IDAT")
    return [(path, range(at + 4, stored.rindex(b"IEND") - 8))]


def _of_jpeg(path: Path) -> Payload:
    """The scan and the tables that it is coded with: other tables are another picture."""
    stored = path.read_bytes()
    scan = stored.index(b"\xff\xda")
    found, at = [(path, range(scan + 12, len(stored) - 2))], 2
    while at < scan:
        length = int.from_bytes(stored[at + 2 : at + 4], "big")
        if stored[at : at + 2] in (b"\xff\xdb", b"\xff\xc4"):
            found.append((path, range(at + 4, at + 2 + length)))
        at += 2 + length
    return found


def _dicom(folder: Path) -> Path:
    """One instance of a slide."""
    return write_dicom_slide(folder / "slide", PICTURE, levels=1) / "volume-0.dcm"


def _of_dicom(path: Path) -> Payload:
    """The frames, uncompressed, are the last data element."""
    frame_bytes = 64 * 64 * -(-PICTURE.shape[0] // 64) * -(-PICTURE.shape[1] // 64)
    size = path.stat().st_size
    return [(path, range(size - frame_bytes, size))]


def _of_ome_zarr(path: Path) -> Payload:
    chunks = (each for each in sorted((path / "0").iterdir()) if each.name[0].isdigit())
    return [(chunk, range(chunk.stat().st_size)) for chunk in chunks]


MUTATED_FORMATS: list[MutatedFormat] = [
    MutatedFormat(
        "tiff",
        lambda folder: simulated.write_tiff(folder / "original.tif", PICTURE, 4.6, compression="deflate"),
        _of_tiff,
        "Pillow",
    ),
    MutatedFormat(
        "ome_tiff",
        lambda folder: simulated.write_ome_tiff(folder / "original.ome.tif", PICTURE.astype(np.uint16), 4.6),
        _of_tiff,
        "Pillow",
    ),
    MutatedFormat(
        "palette_tiff",
        lambda folder: simulated.write_tiff(
            folder / "original.tif", PICTURE, photometric="palette", colormap=PALETTE, compression="lzw"
        ),
        lambda path: [*_of_tiff(path), *_of_palette(path)],
        "Pillow",
    ),
    MutatedFormat("sis_tiff", _real("nerve_myelin/raw/HPF4-483S1-4B-6500x-1.tif"), _of_tiff, "Pillow"),
    MutatedFormat(
        "png", lambda folder: simulated.write_png(folder / "original.png", PICTURE), _of_png, "Pillow"
    ),
    MutatedFormat(
        "jpeg",
        lambda folder: simulated.write_jpeg(folder / "original.jpg", PICTURE),
        _of_jpeg,
        "Pillow",
        JPEG_STEP,
    ),
    MutatedFormat(
        "dm3",
        _real("instrument_samples/dmTest_float32_nonSquare_diffPixelSize.dm3"),
        _of_dm,
        "ncempy",
    ),
    MutatedFormat(
        "dm4",
        _real("instrument_samples/dmTest_float32_nonSquare_diffPixelSize.dm4"),
        _of_dm,
        "rosettasciio",
    ),
    MutatedFormat(
        "mrc",
        lambda folder: write_mrc(folder / "original.mrc", PICTURE.astype(np.int16), 4.6),
        _of_mrc,
        "rosettasciio",
    ),
    MutatedFormat("ser", _real("instrument_samples/16_STOimage_1.ser"), _of_ser, "rosettasciio"),
    MutatedFormat(
        "emd_velox", _real("instrument_samples/Camera Ceta Imaging Micro.emd"), _of_hdf5, "rosettasciio"
    ),
    MutatedFormat(
        "emd_ncem",
        lambda folder: write_ncem(
            folder / "original.emd", PICTURE, 4.6, chunks=(30, 50), compression="gzip", fletcher32=True
        ),
        _of_hdf5,
        "rosettasciio_turned",
    ),
    MutatedFormat(
        "ome_zarr",
        lambda folder: write_ome_zarr(folder / "original.zarr", PICTURE, scale=(4.6, 4.6)),
        _of_ome_zarr,
        "numcodecs",
    ),
    MutatedFormat("dicom_wsi", _dicom, _of_dicom, "pydicom"),
    MutatedFormat(
        "svs",
        lambda folder: simulated.write_svs(folder / "original.svs", COLOURS, levels=1),
        _of_tiff,
        "Pillow_first",
        JPEG_STEP,
    ),
]
"""A format joins by an entry here."""
