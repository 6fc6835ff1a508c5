"""Independent readers: what other libraries find in a file, image by image, by the declared table."""

import gc
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.formats.pixel_kinds import HANDED_ON_AS

Array = NDArray[Any]
Oracle = Callable[[Path], list[Array]]


def handed_on(pixels: Array) -> Array:
    """Stored values as the declared table hands them on, in native byte order."""
    return np.asarray(pixels, HANDED_ON_AS[pixels.dtype.name])


def _sections(pixels: Array) -> Iterable[Array]:
    return pixels if pixels.ndim == 3 else [pixels]


def pillow(path: Path) -> list[Array]:
    """Every frame; bilevel as 0 and 255, a palette as grey where its colours are greys."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path) as file:
        frames = []
        for number in range(getattr(file, "n_frames", 1)):
            file.seek(number)
            frames.append(handed_on(_plain(file)))
        return frames


def _plain(file: Any) -> Array:  # noqa: ANN401
    if file.mode == "P":
        colours = np.asarray(file.convert("RGB"))
        palette = np.asarray(file.getpalette()).reshape(-1, 3)
        is_grey = file.format == "TIFF" and (palette == palette[:, :1]).all()
        return colours[..., 0] if is_grey else colours
    return np.asarray(file.convert("L") if file.mode == "1" else file)


def rosettasciio(path: Path) -> list[Array]:
    """Every picture of an instrument file; rosettasciio chooses its reader by the suffix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it leaves files open, and says what it does not understand
        pictures = [np.array(picture) for picture in rosettasciio_as_it_is(path)]
        gc.collect(1)
    return pictures


def rosettasciio_as_it_is(path: Path) -> list[Array]:
    """As `rosettasciio`, without clearing up behind it."""
    import rsciio.digitalmicrograph
    import rsciio.emd
    import rsciio.mrc
    import rsciio.tia

    readers = {
        ".dm3": rsciio.digitalmicrograph, ".dm4": rsciio.digitalmicrograph, ".emd": rsciio.emd,
        ".mrc": rsciio.mrc, ".ser": rsciio.tia, ".emi": rsciio.tia,
    }  # fmt: skip
    found = readers[path.suffix].file_reader(str(path))
    return [handed_on(section) for each in found for section in _sections(np.asarray(each["data"]))]


def rosettasciio_turned(path: Path) -> list[Array]:
    """As `rosettasciio`, which turns x and y of single pictures in EMD files of NCEM."""
    return [picture.T for picture in rosettasciio(path)]


def ncempy(path: Path) -> list[Array]:
    """The pictures of a DM or SER file."""
    import ncempy.io.dm
    import ncempy.io.ser

    if path.suffix == ".ser":
        ncempy.io.ser.fileSER._dictDataType[1] = "<u1"  # its own entry has a blank that numpy refuses
        with ncempy.io.ser.fileSER(path) as file:
            count = int(file.head["ValidNumberElements"])
            return [handed_on(file.getDataset(number)[0]) for number in range(count)]
    return [handed_on(section) for section in _sections(ncempy.io.dm.dmReader(path)["data"])]


def mrcfile(path: Path) -> list[Array]:
    """The sections of an MRC file, in stored order."""
    import mrcfile as library

    with library.open(path) as file:
        return [handed_on(section) for section in _sections(np.array(file.data))]


def h5py(path: Path) -> list[Array]:
    """Every dataset called `data` of an EMD file, its last two axes a picture."""
    import h5py as library

    found: list[Array] = []

    def take(name: str, item: Any) -> None:  # noqa: ANN401
        if isinstance(item, library.Dataset) and name.rpartition("/")[2] == "data":
            found.extend(handed_on(section) for section in _sections(item[()]))

    with library.File(path) as file:
        file.visititems(take)
    return found


def tifffile(path: Path) -> list[Array]:
    """Every page as tifffile decodes it by itself."""
    import tifffile as library

    with library.TiffFile(path) as file:
        return [handed_on(page.asarray()) for page in file.pages]


def pillow_first(path: Path) -> list[Array]:
    """The first picture: of a scanner's file, the specimen at full size."""
    return pillow(path)[:1]


def numcodecs(path: Path) -> list[Array]:
    """The full size of an OME-Zarr 0.4, by its JSON and the codec of its chunks alone."""
    import json
    from itertools import product

    import numcodecs as library

    (multiscale,) = json.loads((path / ".zattrs").read_text())["multiscales"]
    folder = path / multiscale["datasets"][0]["path"]
    says = json.loads((folder / ".zarray").read_text())
    shape, chunks, dtype = says["shape"], says["chunks"], np.dtype(says["dtype"])
    whole = np.full(shape, says["fill_value"] or 0, dtype)
    grid = [range(-(-side // step)) for side, step in zip(shape, chunks, strict=True)]
    for place in product(*grid):
        file = folder / says.get("dimension_separator", ".").join(map(str, place))
        if file.is_file():
            stored = file.read_bytes()
            raw = library.get_codec(says["compressor"]).decode(stored) if says["compressor"] else stored
            chunk = np.frombuffer(raw, dtype).reshape(chunks, order=says["order"])
            corner = [number * step for number, step in zip(place, chunks, strict=True)]
            part = tuple(slice(at, at + step) for at, step in zip(corner, chunks, strict=True))
            whole[part] = chunk[tuple(slice(0, side) for side in whole[part].shape)]
    return [handed_on(plane) for plane in whole.reshape(-1, *shape[-2:])]


def pydicom(path: Path) -> list[Array]:
    """The full size of a slide in one instance, put together from its frames in their order."""
    import pydicom as library

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        instance = library.dcmread(path)
        frames = instance.pixel_array
    width, height = instance.TotalPixelMatrixColumns, instance.TotalPixelMatrixRows
    across = -(-width // instance.Columns)
    rows = [np.concatenate(list(frames[n : n + across]), axis=1) for n in range(0, len(frames), across)]
    return [handed_on(np.concatenate(rows)[:height, :width])]


ORACLES: dict[str, Oracle] = {
    "Pillow": pillow,
    "Pillow_first": pillow_first,
    "numcodecs": numcodecs,
    "pydicom": pydicom,
    "rosettasciio": rosettasciio,
    "rosettasciio_turned": rosettasciio_turned,
    "ncempy": ncempy,
    "mrcfile": mrcfile,
    "h5py": h5py,
    "tifffile": tifffile,
}
