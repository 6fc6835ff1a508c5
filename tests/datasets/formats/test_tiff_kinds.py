"""Kinds of TIFF pixels by the declared table, and what vendors write beside them."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from oracles import ORACLES, Array, handed_on
from PIL import Image, PngImagePlugin
from simulated import simulated_colours, simulated_tissue, write_pyramid, write_tiff

from ultraread.datasets.geometry import BoxPx, SizePx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import ScaleOrigin
from ultraread.datasets.slide import Acquisition, ImageInfo, Modality, SlideInfo, TileUnreadable
from ultraread.errors import (
    SlideDamaged,
    SlideIfdLoop,
    SlideOffsetInvalid,
    SlidePixelFormat,
    SlideTooManyIfds,
    SlideTruncated,
)

GREY = simulated_tissue(150, 90)
COLOURS = simulated_colours(150, 90)
RAMP = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
OLYMPUS_SIS, FEI_HELIOS, CZ_SEM, TVIPS = 33560, 34682, 34118, 37706


def _open(path: Path) -> tuple[SlideInfo, Array]:
    with open_slide(path) as slide:
        return slide.info, slide.read_box(0, 0, whole(slide.info.images[0].size))


def _image(path: Path) -> ImageInfo:
    return _open(path)[0].images[0]


def _with_text(path: Path, code: int, text: str, **options: Any) -> Path:  # noqa: ANN401
    stored = text.encode("latin-1")
    return write_tiff(path, GREY, extratags=[(code, 7, len(stored), stored, True)], **options)


@pytest.mark.parametrize("turned", [False, True])
def test_a_palette_of_greys_gives_its_greys(turned: bool, tmp_path: Path) -> None:
    ramp = RAMP[:, ::-1] if turned else RAMP
    path = write_tiff(tmp_path / "grey.tif", GREY, photometric="palette", colormap=ramp)
    info, found = _open(path)
    assert (info.images[0].samples_per_px, info.images[0].stored_as) == (1, "uint8")
    np.testing.assert_array_equal(found, 255 - GREY if turned else GREY)
    np.testing.assert_array_equal(found, ORACLES["Pillow"](path)[0])


def test_a_palette_of_colours_gives_rgb(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype(np.uint16)
    path = write_tiff(tmp_path / "colours.tif", GREY, photometric="palette", colormap=colours)
    info, found = _open(path)
    assert (info.images[0].samples_per_px, info.images[0].modality) == (3, Modality.SEMITHIN_LIGHT)
    np.testing.assert_array_equal(found, ORACLES["Pillow"](path)[0])


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint32"])
def test_integers_that_fit_neither_8_nor_16_bits_are_handed_on_as_floats(kind: str, tmp_path: Path) -> None:
    stored = (GREY.astype(np.int64) - (0 if kind == "uint32" else 100)).astype(kind)
    path = write_tiff(tmp_path / "signed.tif", stored, compression="deflate", predictor=True)
    info, found = _open(path)
    assert (info.images[0].stored_as, info.images[0].bit_depth, found.dtype) == (kind, 32, np.float32)
    np.testing.assert_array_equal(found, handed_on(stored))


@pytest.mark.parametrize("bits", [2, 4, 6, 9])
def test_grey_of_bits_that_do_not_fill_their_kind_is_refused(bits: int, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "few.tif", GREY.astype(np.uint16 if bits > 8 else np.uint8))
    _declare_bits(path, bits)
    with pytest.raises(SlidePixelFormat, match=f"of {bits} bits"):
        open_slide(path)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits_of_cameras_are_told_and_keep_their_values(bits: int, tmp_path: Path) -> None:
    import imagecodecs

    stored = GREY.astype(np.uint16) * 4 + 3
    packed = b"".join(imagecodecs.packints_encode(row, bits) for row in stored)
    path = write_tiff(tmp_path / "packed.tif", stored, tile=None, rowsperstrip=GREY.shape[0])
    with tifffile.TiffFile(path) as file:
        offset, tag = file.pages.first.dataoffsets[0], file.pages.first.tags["StripByteCounts"]
    _write_at(path, tag.valueoffset, struct.pack("<I", len(packed)))
    _write_at(path, offset, packed)
    _declare_bits(path, bits)
    info, found = _open(path)
    assert (info.images[0].stored_as, info.images[0].bit_depth) == (f"uint{bits}", 16)
    np.testing.assert_array_equal(found, stored)


def _declare_bits(path: Path, bits: int) -> None:
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["BitsPerSample"].overwrite(bits)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_picture_that_is_stored_turned_or_mirrored_is_refused(orientation: int, tmp_path: Path) -> None:
    path = _turned(tmp_path / "turned.tif", orientation)
    with pytest.raises(SlidePixelFormat, match=f"orientation {orientation}"):
        open_slide(path)


def test_a_later_page_that_is_turned_is_refused_and_an_upright_one_opens(tmp_path: Path) -> None:
    with pytest.raises(SlidePixelFormat, match="orientation 3"):
        open_slide(_turned(tmp_path / "turned.tif", 1, 1, 3))
    np.testing.assert_array_equal(_open(_turned(tmp_path / "upright.tif", 1, 1))[1], GREY)


def _turned(path: Path, *orientations: int) -> Path:
    with tifffile.TiffWriter(path, ome=len(orientations) > 1) as writer:
        for each in orientations:
            writer.write(
                GREY, photometric="minisblack", contiguous=False, extratags=[(274, 3, 1, each, True)]
            )
    return path


@pytest.mark.parametrize("pixels", [GREY[..., None], COLOURS], ids=["grey", "colours"])
def test_alpha_that_hides_nothing_is_dropped(pixels: Array, tmp_path: Path) -> None:
    path = _with_alpha(tmp_path / "alpha.tif", pixels, np.full(GREY.shape, 255, np.uint8))
    np.testing.assert_array_equal(_open(path)[1], pixels.squeeze())


def test_alpha_that_hides_something_is_refused(tmp_path: Path) -> None:
    path = _with_alpha(tmp_path / "alpha.tif", COLOURS, GREY)
    with pytest.raises(SlidePixelFormat):
        open_slide(path)


def test_alpha_that_hides_something_of_a_larger_level_is_an_unreadable_tile(tmp_path: Path) -> None:
    pixels = np.dstack([simulated_colours(256, 256), np.full((256, 256), 255, np.uint8)])
    pixels[:2, :2, 3] = 0
    path = tmp_path / "pyramid.tif"
    options: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb", "extrasamples": ["unassalpha"]}
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, subifds=1, **options)
        writer.write(pixels[128:, 128:], subfiletype=1, **options)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_box(0, 0, BoxPx(64, 0, 9, 9)), pixels[:9, 64:73, :3])
        with pytest.raises(TileUnreadable):
            slide.read_box(0, 0, BoxPx(0, 0, 9, 9))


def _with_alpha(path: Path, pixels: Array, alpha: Array) -> Path:
    photometric = "rgb" if pixels.shape[2] == 3 else "minisblack"
    options = {"photometric": photometric, "extrasamples": ["unassalpha"], "planarconfig": "contig"}
    return write_tiff(path, np.dstack([pixels, alpha]), **options)


def test_a_tiff_tells_how_it_is_stored(tmp_path: Path) -> None:
    image = _image(write_tiff(tmp_path / "slide.tif", GREY.astype(np.float64), compression="zstd"))
    assert (image.stored_as, image.compression, image.stored_tile) == ("float64", "zstd", SizePx(64, 64))
    assert _image(write_tiff(tmp_path / "one.tif", GREY, tile=None)).stored_tile is None


@pytest.mark.parametrize(
    "options", [{"imagej": True}, {"photometric": "minisblack"}], ids=["ImageJ", "plain"]
)
@pytest.mark.parametrize("truncate", [False, True])
def test_every_section_of_a_stack_is_an_image(
    options: dict[str, Any], truncate: bool, tmp_path: Path
) -> None:
    stack = np.stack([GREY, GREY // 2, 255 - GREY]).astype(np.uint16)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, metadata={"axes": "ZYX"}, truncate=truncate, **options)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == (1 if truncate else 3)
    with open_slide(path) as slide:
        found = [slide.read_box(n, 0, whole(each.size)) for n, each in enumerate(slide.info.images)]
    np.testing.assert_array_equal(np.stack(found), stack)


def test_sis_tells_scale_camera_magnification_and_operator(tmp_path: Path) -> None:
    path = tmp_path / "sis.tif"
    general = struct.pack("<10xhdd8xd2x34s32s", -9, 4.6, 4.6, 6500.0, b"Simulated camera", b"Gray Value")
    head = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 55, 16, 25, 3, 118, b"simulated", 1)
    write_tiff(path, GREY, photometric="palette", colormap=RAMP, extratags=[
        (OLYMPUS_SIS, 7, 68, head + bytes(8), True), (315, 2, 0, "SIMULATED OPERATOR", True),
    ])  # fmt: skip
    stored = path.read_bytes()
    place = struct.pack("<hhI", 1, 1, len(stored))
    path.write_bytes(stored.replace(head + bytes(8), head + place) + general)
    info, found = _open(path)
    image = info.images[0]
    assert info.format == "sis_tiff"
    assert image.scales[0].origin == ScaleOrigin.INSTRUMENT_TAG
    assert image.scales[0].x_nm_per_px == pytest.approx(4.6)
    assert image.acquisition == Acquisition("", "Simulated camera", 6500.0, None, "2018-04-25 16:55:00")
    assert {"SIMULATED OPERATOR", "simulated"} <= {tag.value for tag in info.tags}
    np.testing.assert_array_equal(found, GREY)


@pytest.mark.parametrize(("detector", "modality"), [("ETD", Modality.SEM), ("STEM 3+", Modality.STEM)])
def test_fei_tells_scale_and_beam(detector: str, modality: Modality, tmp_path: Path) -> None:
    text = (
        "[User]\nDate=01/02/2020\nTime=03:04:05 PM\nUser=SIMULATED OPERATOR\n"
        "[System]\nSystemType=Simulated SEM\n"
        f"[Beam]\nHV=5000\n[Scan]\nPixelWidth=4.6e-009\nPixelHeight=4.6e-009\n[Detectors]\nName={detector}\n"
    )
    info, _ = _open(_with_text(tmp_path / "fei.tif", FEI_HELIOS, text))
    image = info.images[0]
    assert image.scales[0].x_nm_per_px == pytest.approx(4.6)
    assert (image.modality, image.modality_is_stated) == (modality, True)
    assert image.acquisition == Acquisition("Simulated SEM", detector, None, 5.0, "01/02/2020 03:04:05 PM")
    assert "SIMULATED OPERATOR" in {tag.value for tag in info.tags}


def test_zeiss_tells_scale_and_magnification(tmp_path: Path) -> None:
    text = "\r\n".join([
        "0", "0", "AP_IMAGE_PIXEL_SIZE", "Image Pixel Size = 4.6 nm", "AP_MAG", "Mag = 24.5 K X",
        "SV_USER_NAME", "User Name = SIMULATED OPERATOR", "AP_ACTUALKV", "EHT = 5.00 kV",
    ])  # fmt: skip
    info, _ = _open(_with_text(tmp_path / "zeiss.tif", CZ_SEM, text))
    image = info.images[0]
    assert image.scales[0].x_nm_per_px == pytest.approx(4.6)
    assert (image.modality, image.modality_is_stated) == (Modality.SEM, True)
    assert (image.acquisition.magnification, image.acquisition.accelerating_kv) == (24_500.0, 5.0)
    assert "SIMULATED OPERATOR" in {tag.value for tag in info.tags}


def test_tvips_tells_scale_in_nanometres(tmp_path: Path) -> None:
    first, second = (
        np.dtype(each) for each in (tifffile.TIFF.TVIPS_HEADER_V1, tifffile.TIFF.TVIPS_HEADER_V2)
    )
    head, more = np.zeros((), first), np.zeros((), second)
    head["Version"], more["Magic"] = 2, 0xAAAAAAAA
    more["PixelSizeX"] = more["PixelSizeY"] = 4.6
    more["TemMagnification"], more["TemHighTension"] = 6500, 120_000
    more["TemType"] = np.void("Simulated TEM".encode("utf-16-le").ljust(160, b"\0"))
    stored = head.tobytes() + more.tobytes()
    path = write_tiff(tmp_path / "tvips.tif", GREY, extratags=[(TVIPS, 7, len(stored), stored, True)])
    image = _image(path)
    assert image.scales[0].x_nm_per_px == pytest.approx(4.6)
    assert image.acquisition == Acquisition("Simulated TEM", "", 6500.0, 120.0)
    assert (image.modality, image.modality_is_stated) == (Modality.TEM, True)


def test_every_text_of_an_ome_tiff_is_a_tag(tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tif"
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Experimenter LastName="SIMULATED"/>'
        '<Image ID="Image:0"><AcquisitionDate>2020-01-02</AcquisitionDate><Pixels ID="Pixels:0" SizeX="150" '
        'SizeY="90" SizeZ="1" SizeC="1" SizeT="1" DimensionOrder="XYCZT" Type="uint8"><TiffData/></Pixels>'
        "</Image></OME>"
    )
    tifffile.imwrite(path, GREY, description=xml, metadata=None)
    info, _ = _open(path)
    found = {(tag.name, tag.value) for tag in info.tags}
    assert info.format == "ome_tiff"
    assert ("OME.Experimenter.LastName", "SIMULATED") in found
    assert ("OME.AcquisitionDate", "2020-01-02") in found


def test_a_text_of_a_later_directory_is_a_tag_too(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for name in ("", "SIMULATED PATIENT"):
            writer.write(
                GREY, photometric="minisblack", contiguous=False, extratags=[(315, 2, 0, name, True)]
            )
    assert "SIMULATED PATIENT" in {tag.value for tag in _open(path)[0].tags}


def test_texts_beside_a_png_or_jpeg_picture_are_tags(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "SIMULATED OPERATOR")
    texts.add_text("Comment", "PACKED TEXT", zip=True)
    Image.fromarray(GREY).save(tmp_path / "slide.png", pnginfo=texts)
    exif = Image.Exif()
    exif[315] = "SIMULATED OPERATOR"
    Image.fromarray(GREY).save(tmp_path / "slide.jpg", exif=exif, comment="A COMMENT")
    assert {"SIMULATED OPERATOR", "PACKED TEXT"} <= {
        tag.value for tag in _open(tmp_path / "slide.png")[0].tags
    }
    assert {"SIMULATED OPERATOR", "A COMMENT"} <= {tag.value for tag in _open(tmp_path / "slide.jpg")[0].tags}


def test_directories_that_lead_back_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(3):
            writer.write(GREY, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[0].offset, file.pages[2]
        end = last.offset + 2 + 12 * len(last.tags)
    _write_at(path, end, struct.pack("<I", first))
    with pytest.raises(SlideIfdLoop):
        open_slide(path)


def test_a_sub_directory_that_leads_back_is_refused(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "pyramid.tif", GREY, levels=2)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        _write_at(path, page.tags[330].valueoffset, struct.pack("<I", page.offset))
    with pytest.raises(SlideIfdLoop):
        open_slide(path)


def test_more_than_ten_thousand_directories_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "many.tif"
    many = 10_001
    chain = b"".join(
        struct.pack("<HHHII", 1, 256, 4, 1, 1) + struct.pack("<I", 8 + 18 * (n + 1) if n + 1 < many else 0)
        for n in range(many)
    )
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + chain)
    with pytest.raises(SlideTooManyIfds):
        open_slide(path)


def test_stored_tiles_that_share_bytes_are_refused_and_shared_ones_are_not(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", np.full((64, 128), 7, np.uint8))
    with tifffile.TiffFile(path) as file:
        tag, first = file.pages.first.tags[324], file.pages.first.dataoffsets[0]
        at = tag.valueoffset + 4
    _write_at(path, at, struct.pack("<I", first))
    assert (_open(path)[1] == 7).all()
    _write_at(path, at, struct.pack("<I", first + 1))
    with pytest.raises(SlideOffsetInvalid):
        open_slide(path)


def test_sizes_that_contradict_each_other_are_damage(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", GREY, tile=None)
    with tifffile.TiffFile(path) as file:
        width = file.pages.first.tags[256].valueoffset
    _write_at(path, width, struct.pack("<H", 140))
    with pytest.raises(SlideDamaged):
        open_slide(path)


def test_a_header_that_ends_before_its_values_is_cut_off(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", GREY, description="x" * 40)
    with tifffile.TiffFile(path) as file:
        entry = next(tag.offset for tag in file.pages.first.tags.values() if tag.code == 270)
    _write_at(path, entry + 8, struct.pack("<I", path.stat().st_size - 10))
    with pytest.raises(SlideTruncated):
        open_slide(path)


def _write_at(path: Path, offset: int, stored: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(stored)


def _ome(*images: tuple[float, str]) -> str:
    """OME-XML of images of GREY's size: nm/px and where their pixels lie."""
    told = "".join(
        f'<Image ID="Image:{n}"><Pixels ID="Pixels:{n}" DimensionOrder="XYZCT" Type="uint8" '
        f'SizeX="{GREY.shape[1]}" SizeY="{GREY.shape[0]}" SizeZ="1" SizeC="1" SizeT="1" PhysicalSizeX="{nm}" '
        f'PhysicalSizeXUnit="nm" PhysicalSizeY="{nm}" PhysicalSizeYUnit="nm">{lies}</Pixels></Image>'
        for n, (nm, lies) in enumerate(images)
    )
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    return f'<OME xmlns="{schema}" UUID="urn:uuid:{UUIDS[0]}">{told}</OME>'


UUIDS = ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002")
HERE = '<TiffData IFD="0" PlaneCount="1"/>'
ELSEWHERE = '<TiffData IFD="0" PlaneCount="1"><UUID FileName="{}">urn:uuid:{}</UUID></TiffData>'


def test_an_ome_tiff_never_opens_the_files_that_it_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = write_tiff(tmp_path / "Jane_Doe.tif", 255 - GREY)
    text = _ome((5, ELSEWHERE.format(other, UUIDS[1])))
    path = write_tiff(tmp_path / "named.ome.tif", GREY, description=text)
    info, found = _open(path)
    np.testing.assert_array_equal(found, GREY)
    assert (info.format, "Jane" in caplog.text) == ("ome_tiff", False)


def test_the_pixel_size_of_an_image_that_is_not_in_the_file_is_nobody_elses(tmp_path: Path) -> None:
    whole_file = write_tiff(tmp_path / "whole.ome.tif", GREY, description=_ome((2, HERE)))
    assert [scale.x_nm_per_px for scale in _image(whole_file).scales] == [2]
    text = _ome((5, ELSEWHERE.format("lost.tif", UUIDS[1])), (2, HERE))
    path = write_tiff(tmp_path / "part.ome.tif", GREY, description=text)
    assert _image(path).scales == ()
