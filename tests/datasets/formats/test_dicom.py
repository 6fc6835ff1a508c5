"""DICOM: levels, spacing and tags of slides; what may show a name is left out; captures are micrographs."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian
from simulated import cut_off, halved, simulated_colours, simulated_tissue
from simulated_wide import MARKED_NAME, write_dicom_slide, write_secondary_capture

from ultraread.datasets.geometry import BoxPx, SizePx, whole
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import ScaleOrigin
from ultraread.datasets.slide import Slide, SlideFormat, TileUnreadable
from ultraread.errors import DicomInvalid, InputRefused

GREY = simulated_tissue(300, 200)


def whole_image(slide: Slide, image: int = 0, level: int = 0) -> NDArray[Any]:
    return slide.read_box(image, level, whole(slide.info.images[image].levels[level]))


def frames_by_pydicom(path: Path) -> NDArray[Any]:
    """The whole image put together from pydicom's frames, wsidicom not asked."""
    instance = pydicom.dcmread(path)
    frames, side = instance.pixel_array, instance.Rows
    across = -(-instance.TotalPixelMatrixColumns // side)
    rows = [np.concatenate(list(frames[n : n + across]), axis=1) for n in range(0, len(frames), across)]
    return np.concatenate(rows)[: instance.TotalPixelMatrixRows, : instance.TotalPixelMatrixColumns]


@pytest.mark.parametrize(
    "pixels", [GREY, GREY.astype(np.uint16) * 250, simulated_colours(150, 90)], ids=["8", "16", "RGB"]
)
def test_pixels_of_every_level_are_those_of_pydicom(tmp_path: Path, pixels: NDArray[Any]) -> None:
    folder = write_dicom_slide(tmp_path / "slide", pixels)
    with open_slide(folder) as slide:
        info = slide.info.images[0]
        assert slide.info.format == SlideFormat.DICOM_WSI
        assert info.stored_as == pixels.dtype.name
        assert info.samples_per_px == (3 if pixels.ndim == 3 else 1)
        for level in range(2):
            assert np.array_equal(
                whole_image(slide, 0, level), frames_by_pydicom(folder / f"volume-{level}.dcm")
            )
        assert np.array_equal(whole_image(slide), pixels)
        assert np.array_equal(whole_image(slide, 0, 1), halved(pixels))


def test_one_instance_alone_is_a_slide(tmp_path: Path) -> None:
    folder = write_dicom_slide(tmp_path / "slide", GREY, levels=1)
    with open_slide(folder / "volume-0.dcm") as slide:
        assert slide.info.images[0].levels == (SizePx(300, 200),)
        assert np.array_equal(slide.read_box(0, 0, BoxPx(40, 50, 99, 101)), GREY[50:151, 40:139])


def test_scale_instrument_and_tags_are_told(tmp_path: Path) -> None:
    with open_slide(write_dicom_slide(tmp_path / "slide", GREY, nm_per_px=4.6)) as slide:
        info = slide.info.images[0]
        assert [(each.origin, round(each.x_nm_per_px, 6)) for each in info.scales] == [
            (ScaleOrigin.INSTRUMENT_TAG, 4.6)
        ]
        assert (info.acquisition.microscope, info.acquisition.acquired) == (
            "Simulated Scanner 1",
            "20261124093000",
        )
        said = {tag.name: tag.value for tag in slide.info.tags}
        assert said["(0010,0010) PatientName"] == MARKED_NAME
        assert said["(0008,0050) AccessionNumber"] == "MARKED-ACC"


def test_label_and_overview_are_no_images(tmp_path: Path) -> None:
    folder = write_dicom_slide(tmp_path / "slide", GREY)
    for flavour in ("LABEL", "OVERVIEW"):
        write_dicom_slide(folder, simulated_colours(64, 64), levels=1, flavour=flavour)
    with open_slide(folder) as slide:
        assert [image.size for image in slide.info.images] == [SizePx(300, 200)]
        assert slide.info.left_out == ("label", "overview")


def test_a_jpeg_frame_without_its_end_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    folder = write_dicom_slide(tmp_path / "slide", GREY, levels=1, jpeg=True)
    path = folder / "volume-0.dcm"
    frame = next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=20))
    stored = path.read_bytes()
    path.write_bytes(stored.replace(frame, frame.replace(b"\xff\xd9", b"\x00\x00")))
    with open_slide(path) as slide:
        with pytest.raises(TileUnreadable):
            slide.read_box(0, 0, BoxPx(0, 0, 64, 64))
        assert slide.read_box(0, 0, BoxPx(64, 0, 64, 64)).std() > 10


@pytest.mark.parametrize(
    "changes",
    [
        {"NumberOfFrames": 3},
        {"TotalPixelMatrixColumns": 3000},
        {"BitsStored": 12, "PhotometricInterpretation": "MONOCHROME1"},
        {"PixelRepresentation": 1},
        {"SamplesPerPixel": 2},
        {"Rows": 0},
        {"SharedFunctionalGroupsSequence": []},
    ],
)
def test_a_slide_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = write_dicom_slide(tmp_path / "slide", GREY, levels=1, **changes)
    with pytest.raises(InputRefused) as refused:
        open_slide(folder)
    assert refused.value.code == "dicom_invalid"


def test_instances_of_two_slides_are_not_one(tmp_path: Path) -> None:
    folder = write_dicom_slide(tmp_path / "slide", GREY, levels=1)
    other = write_dicom_slide(tmp_path / "other", GREY, levels=1, SeriesInstanceUID="2.25.7")
    (other / "volume-0.dcm").rename(folder / "volume-1.dcm")
    with pytest.raises(InputRefused, match="several slides"):
        open_slide(folder)


def test_two_instances_of_one_level_are_refused(tmp_path: Path) -> None:
    folder = write_dicom_slide(tmp_path / "slide", GREY, levels=1)
    other = write_dicom_slide(tmp_path / "other", GREY[:190, :290], levels=1)
    (other / "volume-0.dcm").rename(folder / "volume-1.dcm")
    with pytest.raises(InputRefused, match="same place"):
        open_slide(folder)


def test_no_instance_is_left_out_without_a_word(tmp_path: Path) -> None:
    folder = write_dicom_slide(tmp_path / "slide", GREY, levels=2)
    cut_off(folder / "volume-1.dcm", 0.02)
    with pytest.raises(InputRefused):
        open_slide(folder)


@pytest.mark.parametrize("pixels", [GREY, GREY.astype(np.uint16) * 3, simulated_colours(150, 90)])
def test_a_captured_micrograph_is_one_image(tmp_path: Path, pixels: NDArray[Any]) -> None:
    path = write_secondary_capture(tmp_path / "capture.dcm", pixels, PixelSpacing=[4.6e-6, 4.6e-6])
    with open_slide(path) as slide:
        assert np.array_equal(whole_image(slide), pixels)
        assert slide.info.images[0].scales[0].x_nm_per_px == pytest.approx(4.6)


def test_several_captures_are_fields(tmp_path: Path) -> None:
    for number in range(2):
        write_secondary_capture(tmp_path / f"{number}.dcm", GREY + number)
    with open_slide(tmp_path) as slide:
        assert slide.info.format == SlideFormat.FIELDS
        assert [whole_image(slide, n)[0, 0] - GREY[0, 0] for n in range(2)] == [0, 1]


@pytest.mark.parametrize(
    "changes", [{"NumberOfFrames": 5}, {"PhotometricInterpretation": "PALETTE COLOR"}, {"Rows": 60_000}]
)
def test_other_objects_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputRefused):
        open_slide(write_secondary_capture(tmp_path / "a.dcm", GREY, **changes))


def test_nothing_of_a_refused_file_is_logged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_dicom_slide(tmp_path / "MARKED-FOLDER", GREY, levels=1, Manufacturer="MARKED-MAKER")
    path = folder / "volume-0.dcm"
    path.write_bytes(
        path.read_bytes().replace(b"20261124093000", b"MARKED-MONTH!!").replace(b"TILED_FULL", b"TILED_FOOL")
    )
    with pytest.raises(InputRefused):
        open_slide(folder)
    told = capfd.readouterr()
    assert "MARKED" not in told.out + told.err


def test_a_deflated_data_set_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    plain = pydicom.dcmread(write_secondary_capture(tmp_path / "plain.dcm", GREY))
    plain.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = tmp_path / "deflated.dcm"
    plain.save_as(path)
    with pytest.raises(DicomInvalid, match="deflated"):
        open_slide(path)
