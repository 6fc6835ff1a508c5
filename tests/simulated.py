"""Simulated slides: pictures made by a formula, written as the files that instruments and programs write.

Nothing here is tissue. What is asked of real tissue is tested on the pinned public fields.
"""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

NM_PER_CM = 1e7
NM_PER_INCH = 25.4e6
Grey8 = NDArray[np.uint8]
Array = NDArray[Any]


def simulated_tissue(width_px: int, height_px: int, seed: int = 0) -> Grey8:
    """(height, width) simulated grey: patches of 16 px between dark and bright, with noise. No tissue."""
    chance = np.random.default_rng(seed)
    patches = chance.integers(40, 200, (-(-height_px // 16), -(-width_px // 16)))
    grey = patches.repeat(16, axis=0).repeat(16, axis=1)[:height_px, :width_px]
    return np.asarray(grey + chance.integers(-15, 16, (height_px, width_px)), np.uint8)


def simulated_colours(width_px: int, height_px: int) -> Grey8:
    """(height, width, 3) simulated stained section: channels far apart."""
    grey = simulated_tissue(width_px, height_px)
    return np.stack([grey, grey // 2, 255 - grey], axis=2)


def write_tiff(path: Path, pixels: Array, nm_per_px: float | None = None, **options: Any) -> Path:  # noqa: ANN401
    """A simulated TIFF; its scale, if any, stands in the resolution tags with the unit centimetre.

    `options` are tifffile's; stored tiles are 64 px unless they say otherwise.
    """
    scale: dict[str, Any] = {"resolution": (1, 1), "resolutionunit": "NONE"}
    if nm_per_px is not None:
        scale = {"resolution": (NM_PER_CM / nm_per_px,) * 2, "resolutionunit": "CENTIMETER"}
    options = {"tile": (64, 64), "photometric": photometric_of(pixels), "metadata": None, **scale, **options}
    tifffile.imwrite(path, pixels, **options)
    return path


def write_pyramid(path: Path, pixels: Array, levels: int, **options: Any) -> Path:  # noqa: ANN401
    """A simulated tiled pyramid: each level the means of 2 x 2 px of the one before, in SubIFDs."""
    options = {"tile": (64, 64), "photometric": photometric_of(pixels), "metadata": None, **options}
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, subifds=levels - 1, **options)
        for _ in range(levels - 1):
            pixels = halved(pixels)
            writer.write(pixels, subfiletype=1, **options)
    return path


def write_ome_tiff(path: Path, pixels: Array, nm_per_px: float, axes: str = "YX") -> Path:
    """A simulated OME-TIFF that states its pixel size in micrometres, as OME does by default."""
    um = nm_per_px / 1000
    metadata = {"axes": axes, "PhysicalSizeX": um, "PhysicalSizeY": um}
    tifffile.imwrite(path, pixels, ome=True, metadata=metadata, photometric="minisblack", tile=(64, 64))
    return path


def write_imagej_tiff(path: Path, pixels: Array, nm_per_px: float) -> Path:
    """A simulated ImageJ file: pixels per unit in the resolution tags, the unit in the description."""
    tifffile.imwrite(path, pixels, imagej=True, resolution=(1 / nm_per_px,) * 2, metadata={"unit": "nm"})
    return path


def simulated_semithin(width_px: int, height_px: int, seed: int = 0) -> Grey8:
    """(height, width, 3) simulated semi-thin section in toluidine blue: dark round bodies on pale blue."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:height_px, :width_px]
    near = np.full((height_px, width_px), np.inf)
    for _ in range(max(4, width_px * height_px // 20_000)):
        centre_x, centre_y = chance.uniform(0, width_px), chance.uniform(0, height_px)
        near = np.minimum(near, np.hypot(x - centre_x, y - centre_y) / chance.uniform(12, 28))
    stain = np.clip(0.25 + 0.6 * np.exp(-(near**4)) + chance.normal(0, 0.03, near.shape), 0, 1)
    pale, deep = np.array([225, 228, 242]), np.array([45, 40, 130])
    return np.asarray(np.rint(pale + stain[..., None] * (deep - pale)), np.uint8)


def write_semithin(
    path: Path, width_px: int = 1024, height_px: int = 768, seed: int = 0, nm_per_px: float = 250
) -> Path:
    """A simulated glass slide: a semi-thin section scanned in colour, as a tiled pyramid with its scale."""
    resolution = {"resolution": (NM_PER_CM / nm_per_px,) * 2, "resolutionunit": "CENTIMETER"}
    pixels = simulated_semithin(width_px, height_px, seed)
    levels = max(2, int(np.log2(max(width_px, height_px) / 256)) + 1)
    return write_pyramid(path, pixels, levels, compression="deflate", **resolution)


def write_svs(path: Path, pixels: Array, um_per_px: float | None = 0.25, levels: int = 3) -> Path:
    """A simulated Aperio file: JPEG tiles of 240 px, a thumbnail after the full size, label and macro last.

    Its descriptions carry a marked operator and time, as real ones do.
    """
    height, width = pixels.shape[:2]
    mpp = "" if um_per_px is None else f"|MPP = {um_per_px}"
    about = f"|AppMag = 40|Date = 11/24/26|Time = 09:30:00|User = MARKED-OPERATOR{mpp}"
    jpeg: dict[str, Any] = {
        "photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 90}, "metadata": None,
        "software": False,
    }  # fmt: skip
    aperio = f"Aperio Image Library v12.0.0 \r\n{width}x{height}"
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, tile=(240, 240), description=f"{aperio} (240x240) JPEG{about}", **jpeg)
        thumbnail = pixels[::8, ::8]
        writer.write(thumbnail, rowsperstrip=16, description=f"{aperio} -> thumbnail{about}", **jpeg)
        for _ in range(levels - 1):
            pixels = halved(halved(pixels))
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            writer.write(
                pixels, tile=(240, 240), description=f"{aperio} (240x240) -> {size} JPEG{about}", **jpeg
            )
        for name, subfile_type in (("label", 1), ("macro", 9)):
            picture = simulated_colours(160, 120)
            told = f"Aperio Image Library v12.0.0 \r\n{name} 160x120"
            writer.write(picture, rowsperstrip=16, subfiletype=subfile_type, description=told, **jpeg)
    return path


def write_png(path: Path, pixels: Array) -> Path:
    """A simulated PNG; PNG states no scale."""
    path.write_bytes(imagecodecs.png_encode(pixels))
    return path


def write_jpeg(path: Path, pixels: Array) -> Path:
    """A simulated JPEG of high quality; JPEG states no scale."""
    path.write_bytes(imagecodecs.jpeg_encode(pixels, level=95))
    return path


def damage_stored_tiles(path: Path, indices: list[int]) -> Path:
    """Overwrite stored tiles of a compressed TIFF with bytes that no codec accepts."""
    with tifffile.TiffFile(path) as file:
        offsets, counts = file.pages.first.dataoffsets, file.pages.first.databytecounts
    with path.open("r+b") as stream:
        for index in indices:
            stream.seek(offsets[index])
            stream.write(b"\xa5" * counts[index])
    return path


def cut_off(path: Path, keep: float) -> Path:
    """Keep only the first share of a file's bytes."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    return path


def flip_bit(path: Path, offset: int) -> Path:
    """Flip the lowest bit of one byte; a negative offset counts from the end."""
    changed = bytearray(path.read_bytes())
    changed[offset] ^= 1
    path.write_bytes(bytes(changed))
    return path


def halved(pixels: Array) -> Array:
    """Means of 2 x 2 px, rounded."""
    even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, *even.shape[2:])
    return np.asarray(np.rint(blocks.mean(axis=(1, 3))), pixels.dtype)


def photometric_of(pixels: Array) -> str:
    return "rgb" if pixels.ndim == 3 and pixels.shape[2] == 3 else "minisblack"
