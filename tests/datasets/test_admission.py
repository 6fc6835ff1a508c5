"""The second door: what a model demands of an image before it may read it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simulated
from simulated import simulated_tissue, write_tiff

from ultraread.datasets.admission import AdmittedImage, ReadDemands, admit, modality_of
from ultraread.datasets.corpora import fetch
from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.scale import ScaleOrigin, operator_scale
from ultraread.datasets.slide import Modality
from ultraread.errors import BitDepthMismatch, ModalityMismatch, RegionInvalid, SlideTooSmall

DEMANDS = ReadDemands(Modality.TEM, nominal_nm_per_px=4.6, min_nm_per_px=3.3, max_nm_per_px=6.5, tile_px=64)


def _admitted(path: Path, demands: ReadDemands = DEMANDS, region: BoxPx | None = None) -> AdmittedImage:
    with open_slide(path) as slide:
        (image,) = admit(slide, demands, operator_scale(4.6, "a test"), region).images
        return image


def _modality(path: Path) -> Modality:
    with open_slide(path) as slide:
        return modality_of(slide, slide.info.images[0])


def test_a_real_neutrophil_is_grey_coded_as_rgb() -> None:
    with open_slide(fetch("neutrophil_tem/ASD027--003.jpg")) as slide:
        assert slide.info.images[0].samples_per_px == 3
    assert _modality(fetch("neutrophil_tem/ASD027--003.jpg")) == Modality.TEM


@pytest.mark.parametrize(("difference", "modality"), [(8, Modality.TEM), (9, Modality.SEMITHIN_LIGHT)])
def test_channels_within_eight_steps_are_grey(difference: int, modality: Modality, tmp_path: Path) -> None:
    grey = simulated_tissue(300, 300)
    channels = np.stack([grey, grey + np.uint8(difference), grey], axis=2)
    assert _modality(write_tiff(tmp_path / "slide.tif", channels)) == modality
    deep = channels.astype(np.uint16) * 257
    assert _modality(write_tiff(tmp_path / "deep.tif", deep)) == modality


@pytest.mark.parametrize(("coloured_share", "modality"), [(0.0005, "tem"), (0.002, "semithin_light")])
def test_one_pixel_in_a_thousand_may_be_coloured(
    coloured_share: float, modality: str, tmp_path: Path
) -> None:
    channels = np.stack([simulated_tissue(256, 256)] * 3, axis=2)
    channels.reshape(-1, 3)[: int(coloured_share * 256**2)] = (255, 0, 0)
    assert _modality(write_tiff(tmp_path / "slide.tif", channels)) == modality


def test_another_kind_of_electron_micrograph_is_refused(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", simulated_tissue(256, 256))
    with pytest.raises(ModalityMismatch, match="image 0 is tem; the model reads sem"):
        _admitted(path, replace(DEMANDS, modality=Modality.SEM))


def test_a_light_micrograph_is_told_of_with_its_own_scale(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", simulated.simulated_colours(256, 256), 250.0)
    with open_slide(path) as slide:
        admission = admit(slide, DEMANDS, operator_scale(4.6, "of the fields"))
    (glass,) = admission.out_of_scope
    assert admission.images == ()
    assert glass.scale is not None
    assert glass.scale.nm_per_px == pytest.approx(250.0)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_bit_depth_that_the_model_was_not_made_for_is_refused(kind: type, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", simulated_tissue(300, 200).astype(kind))
    bits = 8 * np.dtype(kind).itemsize
    assert _admitted(path, replace(DEMANDS, bit_depths=(bits,))).info.bit_depth == bits
    others = tuple({8, 16, 32} - {bits})
    with pytest.raises(BitDepthMismatch, match=f"has {bits} bit") as refused:
        _admitted(path, replace(DEMANDS, bit_depths=others))
    assert refused.value.code == "slide_bit_depth_mismatch"
    assert "8-bit or 16-bit grey" in refused.value.remedy


def test_an_admitted_image_knows_scale_zoom_and_what_to_read(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", simulated_tissue(300, 200))
    image = _admitted(path)
    assert image.region == BoxPx(0, 0, 300, 200)
    assert (image.scale.origin, image.scale.reason) == (ScaleOrigin.OPERATOR, "a test")
    assert image.zoom == 1
    assert _admitted(path, region=BoxPx(10, 20, 64, 100)).region == BoxPx(10, 20, 64, 100)


OUTSIDE = [BoxPx(-1, 0, 64, 64), BoxPx(0, 0, 301, 64), BoxPx(250, 150, 64, 64), BoxPx(0, 0, 0, 64)]


@pytest.mark.parametrize("region", OUTSIDE)
def test_a_region_lies_inside_the_image(region: BoxPx, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", simulated_tissue(300, 200))
    with pytest.raises(RegionInvalid):
        _admitted(path, region=region)


@pytest.mark.parametrize(("width", "fits"), [(64, True), (63, False)])
def test_a_tile_of_the_model_has_to_fit(width: int, fits: bool, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", simulated_tissue(width, 200))
    if fits:
        assert _admitted(path).region.width == 64
    else:
        with pytest.raises(SlideTooSmall):
            _admitted(path)
