"""A copy without identity: its pixels are the original's but under the masks; it is kept only if clean."""

from pathlib import Path

import numpy as np
import pytest
from planted import BURNT_BOX, NM_PER_PX, marked_pixels
from simulated import simulated_tissue, write_tiff

from ultraread.datasets.corpora import fetch
from ultraread.datasets.geometry import BoxPx, whole
from ultraread.datasets.identity.cli import masked_value
from ultraread.datasets.identity.deidentify import deidentify
from ultraread.datasets.identity.found import IdentityPolicy
from ultraread.datasets.identity.policy import STRIP_BY_DEFAULT, IdentityStatement
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide_address import address_of
from ultraread.errors import IdentityPresent, OutputExists, RequestInvalid


def test_pixels_and_scale_are_the_original_s_but_under_the_masks(tmp_path: Path) -> None:
    pixels = np.array(marked_pixels())
    slide, out = write_tiff(tmp_path / "field.tif", pixels, NM_PER_PX), tmp_path / "copy.ome.tif"
    done = deidentify(address_of(slide), out, STRIP_BY_DEFAULT)
    (mask,) = done.found.masks(0)
    with open_slide(out) as copy:
        (image,) = copy.info.images
        copied = np.array(copy.read_box(0, 0, whole(image.size)))
        assert image.scales[0].x_nm_per_px == pytest.approx(NM_PER_PX)
    assert _covers(mask, BoxPx(BURNT_BOX.x + 12, BURNT_BOX.y + 16, 200, 20))
    for picture in (copied, pixels):
        picture[mask.y : mask.bottom, mask.x : mask.right] = 0
    assert (copied == pixels).all()


def test_of_a_real_micrograph_the_name_goes_and_bar_and_magnification_stay(tmp_path: Path) -> None:
    slide = fetch("kidney_tem_glomerulus/A1--0024.jpg")
    done = deidentify(address_of(slide), tmp_path / "copy.ome.tif", STRIP_BY_DEFAULT)
    (name,) = [item for item in done.found.found if item.where == "pixels"]
    assert name.value == "Name: A1--0024"


def test_an_existing_file_is_not_written_over(tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "field.tif", simulated_tissue(300, 200), NM_PER_PX)
    with pytest.raises(OutputExists):
        deidentify(address_of(slide), slide, STRIP_BY_DEFAULT)


@pytest.mark.parametrize("name", ["copy.png", "copy", "copy.ome.zarr"])
def test_a_name_of_another_format_is_refused(name: str, tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "field.tif", simulated_tissue(300, 200), NM_PER_PX)
    with pytest.raises(RequestInvalid, match="OME-TIFF"):
        deidentify(address_of(slide), tmp_path / name, STRIP_BY_DEFAULT)
    assert not (tmp_path / name).exists()


def test_refuse_writes_a_copy_only_where_nothing_is_found(tmp_path: Path) -> None:
    refuse, out = IdentityStatement(IdentityPolicy.REFUSE, is_stated=True), tmp_path / "copy.ome.tif"
    marked = write_tiff(tmp_path / "a.tif", marked_pixels(), NM_PER_PX)
    with pytest.raises(IdentityPresent, match="pixels"):
        deidentify(address_of(marked), out, refuse)
    assert list(tmp_path.glob("*copy*")) == []
    clean = write_tiff(tmp_path / "b.tif", simulated_tissue(300, 200), NM_PER_PX)
    assert deidentify(address_of(clean), out, refuse).found.found == ()
    again = tmp_path / "again.ome.tif"
    assert deidentify(address_of(out), again, refuse).found.found == (), "a copy is clean by its own measure"


def test_a_masked_value_shows_first_letters_only() -> None:
    assert masked_value("Jane Doe, 1950") == "J*** D**, 1***"


def _covers(mask: BoxPx, box: BoxPx) -> bool:
    across = mask.x <= box.x and mask.right >= box.right
    return across and mask.y <= box.y and mask.bottom >= box.bottom
