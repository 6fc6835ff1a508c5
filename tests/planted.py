"""Slides that carry marks wherever a format has room for a text: tags, names, UIDs, dates, and pixels.

All marks begin with MARK, or are the dates and numbers of OTHER_MARKS, so that one search finds each of them.
The micrographs are simulated, or public files of instruments whose texts are overwritten at equal length.
"""

import io
import sqlite3
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pydicom
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from simulated import simulated_colours, simulated_tissue, write_ome_tiff, write_svs, write_tiff

from ultraread.datasets.corpora import fetch
from ultraread.datasets.geometry import BoxPx

MARK = "ZQXMARK"
"""Long enough not to occur in compressed bytes by chance."""
DATE = "1931:07:13 08:09:10"
DICOM_DATE = "19310713"
UID_ROOT = "1.2.826.0.1.3680043.9999.777"
MEDICAL_RECORD = "77718293"
SIS_TIME = "2018-04-25 16:55"
"""When the public SIS file was made."""
OTHER_MARKS = (DATE, DICOM_DATE, "1931-07-13", UID_ROOT, MEDICAL_RECORD, "MARKED-OPERATOR", SIS_TIME)
FOLDER = f"{MARK}FOLDER11"
BURNT_IN = f"{MARK}PIXEL41"
BURNT_BOX = BoxPx(20, 452, 330, 48)
"""Where the text is burnt in, black on white: in the outer part of the picture, as instruments do."""
NM_PER_PX = 4.6


@dataclass(frozen=True, slots=True)
class Planted:
    """A slide full of marks; `in_pixels` says that BURNT_BOX holds one. `tags` counts the marks in tags."""

    path: Path
    tags: int
    in_pixels: bool = False


def marked_pixels(width: int = 640, height: int = 512, seed: int = 0) -> NDArray[np.uint8]:
    """(height, width) simulated grey with a mark burnt in."""
    picture = Image.fromarray(simulated_tissue(width, height, seed))
    draw = ImageDraw.Draw(picture)
    box = BURNT_BOX
    draw.rectangle((box.x, box.y, box.right - 1, box.bottom - 1), fill=255)
    draw.text((box.x + 12, box.y + 10), BURNT_IN, fill=0, font=ImageFont.load_default(26))
    return np.asarray(picture)


def marked_tiff(folder: Path) -> Planted:
    """Artist, description, computer, date, XMP and Software."""
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><o>{MARK}XMP5</o></x:xmpmeta>'.encode()
    tags = [
        (33432, "s", 0, f"{MARK}COPY4", True),
        (315, "s", 0, f"{MARK}ARTIST1", True), (316, "s", 0, f"{MARK}HOST2", True), (306, "s", 0, DATE, True),
        (700, "B", len(xmp), xmp, True), (269, "s", 0, f"{MARK}DOC3", True),
    ]  # fmt: skip
    path = write_tiff(
        _file(folder, "TIFF", ".tif"),
        marked_pixels(),
        NM_PER_PX,
        extratags=tags,
        description=f"{MARK}DESC6",
        software=f"{MARK}SOFT7",
    )
    return Planted(path, 8, in_pixels=True)


def marked_ome_tiff(folder: Path) -> Planted:
    """An experimenter, a description, a time and a name of the image in OME-XML."""
    path = write_ome_tiff(_file(folder, "OME", ".ome.tif"), marked_pixels(), NM_PER_PX)
    person = f'FirstName="{MARK}FIRST" LastName="{MARK}LAST" Email="{MARK}@a.org"'
    xml = tifffile.tiffcomment(path)
    told = f"<AcquisitionDate>1931-07-13T08:09:10</AcquisitionDate><Description>{MARK}OME</Description>"
    xml = xml.replace("<Image ", f'<Experimenter ID="Experimenter:0" {person}/><Image ', 1)
    xml = xml.replace("<Pixels ", f"{told}<Pixels ", 1)
    tifffile.tiffcomment(path, xml.encode())
    return Planted(path, 5, in_pixels=True)


def marked_png(folder: Path) -> Planted:
    """tEXt, iTXt, zTXt and eXIf chunks."""
    told = PngImagePlugin.PngInfo()
    told.add_text("Author", f"{MARK}PNGAUTHOR")
    told.add_itxt("Comment", f"{MARK}PNGCOMMENT")
    told.add_text("Description", f"{MARK}PNGZIP", zip=True)
    path = _file(folder, "PNG", ".png")
    Image.fromarray(marked_pixels()).save(path, pnginfo=told, exif=_exif())
    return Planted(path, 5, in_pixels=True)


def marked_jpeg(folder: Path) -> Planted:
    """EXIF and a comment segment."""
    path = _file(folder, "JPEG", ".jpg")
    Image.fromarray(marked_pixels()).save(path, quality=95, exif=_exif(), comment=f"{MARK}JPEGCOMMENT")
    return Planted(path, 3, in_pixels=True)


def marked_mrc(folder: Path) -> Planted:
    """A label of the header."""
    path = _file(folder, "MRC", ".mrc")
    with mrcfile.new(path) as file:
        file.set_data(marked_pixels())
        file.voxel_size = NM_PER_PX * 10
        file.add_label(f"{MARK}MRCLABEL")
    return Planted(path, 1, in_pixels=True)


def marked_emd(folder: Path) -> Planted:
    """The user that openNCEM's EMD names."""
    path = _file(folder, "EMD", ".emd")
    pixels = marked_pixels()
    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
        user = file.create_group("user")
        user.attrs["name"], user.attrs["email"] = f"{MARK}EMDUSER", f"{MARK}@b.org"
        group = file.create_group("data/image")
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", data=pixels)
        for number, length in enumerate(pixels.shape, start=1):
            axis = group.create_dataset(f"dim{number}", data=np.arange(length) * NM_PER_PX)
            axis.attrs["units"], axis.attrs["name"] = "[n_m]", "yx"[number - 1]
    return Planted(path, 2, in_pixels=True)


def marked_ome_zarr(folder: Path) -> Planted:
    """Attributes of the group, and the name of the image."""
    path = _file(folder, "ZARR", ".ome.zarr")
    group = zarr.open_group(path, mode="w", zarr_format=2)
    pixels = marked_pixels()
    group.create_array("0", data=pixels, chunks=(128, 128))
    scale = [{"type": "scale", "scale": [NM_PER_PX, NM_PER_PX]}]
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "yx"]
    image = {"version": "0.4", "name": f"{MARK}ZARRNAME", "axes": axes}
    image["datasets"] = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs.update({"multiscales": [image], "operator": f"{MARK}ZARROP", "mrn": int(MEDICAL_RECORD)})
    return Planted(path, 3, in_pixels=True)


def marked_svs(folder: Path) -> Planted:
    """User, date and time of Aperio's description; label and macro are pictures that are not read."""
    return Planted(write_svs(_file(folder, "SVS", ".svs"), simulated_colours(480, 480)), 1)


def marked_dm(folder: Path, suffix: str) -> Planted:
    """The name that DigitalMicrograph keeps, overwritten."""
    name = "dmTest_float32_nonSquare_diffPixelSize"
    source = fetch(f"instrument_samples/{name}{suffix}")
    mark = f"{MARK}DMNAME".ljust(len(name), "Q")
    return Planted(
        _overwritten(folder, source, "DM", suffix, name.encode("utf-16-le"), mark.encode("utf-16-le")), 2
    )


def marked_ser(folder: Path) -> Planted:
    """User, microscope and time in the EMI file of TIA, overwritten; the SER file is of its series."""
    emi = fetch("instrument_samples/16_STOimage.emi")
    path = _overwritten(folder, emi, "EMI", ".emi", b"SUPERVISOR", f"{MARK}EMI".encode())
    stored = path.read_bytes().replace(b"TitanCubed D3147 S-Twin", f"{MARK}TITAN".ljust(23, "Q").encode())
    path.write_bytes(stored.replace(b"Tue Oct 18 18:18:46 2011", b"1931-07-13 08:09:10     "))
    ser = fetch("instrument_samples/16_STOimage_1.ser")
    path.with_name(f"{path.stem}_1.ser").write_bytes(ser.read_bytes())
    return Planted(path, 3)


def marked_velox(folder: Path) -> Planted:
    """The computer's name in Velox' metadata, overwritten."""
    source = fetch("instrument_samples/Camera Ceta Imaging Micro.emd")
    return Planted(_overwritten(folder, source, "VELOX", ".emd", b"THEMISX", f"{MARK}".encode()), 1)


def marked_sis(folder: Path) -> Planted:
    """Artist, image name and camera of a file as Olympus writes it, overwritten; its time stays."""
    name = "HPF4-483S1-4B-6500x-1"
    source = fetch(f"nerve_myelin/raw/{name}.tif")
    path = _overwritten(folder, source, "SIS", ".tif", b"supervisor", f"{MARK}SIS".encode())
    stored = path.read_bytes().replace(name.encode(), f"{MARK}SISNAME".ljust(len(name), "Q").encode())
    assert b"Quemesa IntX" in stored
    path.write_bytes(stored.replace(b"Quemesa IntX", f"{MARK}CAM12".encode()))
    return Planted(path, 4)


def marked_dicom(folder: Path, clean: Path) -> Planted:
    """A DICOM slide (a folder of instances) with marks in ordinary, private and UID elements."""
    target = _file(folder, "DICOM", "")
    target.mkdir(parents=True)
    for number, source in enumerate(sorted(clean.rglob("*.dcm"))):
        dataset = pydicom.dcmread(source)
        _mark_dicom(dataset, number)
        dataset.save_as(target / f"{MARK}INSTANCE{number}.dcm")
    return Planted(target, 12)


def _mark_dicom(dataset: pydicom.Dataset, number: int) -> None:
    for keyword in (
        "PatientName", "PatientID", "AccessionNumber", "InstitutionName", "OperatorsName", "StationName",
        "DeviceSerialNumber", "StudyDescription", "ReferringPhysicianName", "StudyID",
    ):  # fmt: skip
        setattr(dataset, keyword, f"{MARK}{keyword.upper()[:9]}")
    dataset.StudyDate = dataset.PatientBirthDate = DICOM_DATE
    dataset.private_block(0x0011, f"{MARK}CREATOR", create=True).add_new(1, "LO", f"{MARK}PRIVATE")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{UID_ROOT}.1", f"{UID_ROOT}.2"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{UID_ROOT}.3.{number}"
    dataset.FrameOfReferenceUID = f"{UID_ROOT}.4"


def marks_in(stored: bytes) -> list[str]:
    """The marks in bytes, as UTF-8 or UTF-16, in any case."""
    folded = stored.lower()
    return [
        mark
        for mark in (MARK, *OTHER_MARKS)
        if mark.lower().encode() in folded or mark.lower().encode("utf-16-le") in folded
    ]


def marks_below(folder: Path) -> dict[str, list[str]]:
    """Every file below a folder, by name, and every name, that holds a mark."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = marks_in(str(path.relative_to(folder)).encode())
        if path.is_file():
            inside += [mark for part in _contents(path.read_bytes()) for mark in marks_in(part)]
        if inside:
            found[str(path.relative_to(folder))] = inside
    return found


def marks_in_database(file: Path, sealed: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Tables and columns of a SQLite file that hold a mark, but for the sealed ones."""
    found = []
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = database.execute(f'SELECT * FROM "{table}"')  # noqa: S608  # names from the schema
            columns = [column[0] for column in rows.description]
            for row in rows:
                for column, value in zip(columns, row, strict=True):
                    if column not in sealed.get(table, set()) and marks_in(str(value).encode()):
                        found.append((table, column))
    return found


def _contents(stored: bytes) -> Iterator[bytes]:
    """The bytes, and what lies compressed in archives and in the texts of pictures."""
    yield stored
    if zipfile.is_zipfile(io.BytesIO(stored)):
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield from _contents(archive.read(name))
    if stored.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        with Image.open(io.BytesIO(stored)) as picture:
            picture.load()
            yield repr(picture.info).encode()


def _file(folder: Path, name: str, suffix: str) -> Path:
    """A path whose folder and name are marks."""
    marked = folder / FOLDER / name
    marked.mkdir(parents=True, exist_ok=True)
    return marked / f"{MARK}FILE{name}{suffix}"


def _overwritten(folder: Path, source: Path, name: str, suffix: str, old: bytes, new: bytes) -> Path:
    stored = source.read_bytes()
    assert len(old) == len(new)
    assert old in stored
    path = _file(folder, name, suffix)
    path.write_bytes(stored.replace(old, new))
    return path


def _exif() -> Any:  # noqa: ANN401  # Pillow's own class
    exif = Image.Exif()
    exif[315], exif[306] = f"{MARK}EXIFARTIST", DATE
    return exif
