"""What folders and messages call slides."""

import re
from pathlib import Path

from simulated import simulated_tissue, write_tiff

from ultraread.datasets.identity.called import NamedSlide, called, name_slides
from ultraread.datasets.identity.found import IdentityPolicy
from ultraread.datasets.identity.policy import STRIP_BY_DEFAULT, IdentityStatement
from ultraread.datasets.slide_address import address_of
from ultraread.datasets.slide_digest import digest_slide


def test_a_slide_is_called_by_its_digest_where_its_name_gives_somebody_away(tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "Doe_1950-03-01.tif", simulated_tissue(64, 64))
    anonymous = f"slide-{digest_slide(address_of(slide)).sha256[:16]}"
    assert name_slides([slide], STRIP_BY_DEFAULT) == [NamedSlide(anonymous, anonymous)]
    assert called(slide) == anonymous
    keep = IdentityStatement(IdentityPolicy.KEEP, "a phantom", is_stated=True)
    assert name_slides([slide], keep) == [NamedSlide(slide.stem, slide.name)]


def test_a_name_that_repeats_the_operator_of_the_file_is_found_in_its_tags(tmp_path: Path) -> None:
    plain = write_tiff(tmp_path / "jansen-1.tif", simulated_tissue(64, 64))
    operator = [(315, "s", 0, "Jansen", True)]
    tagged = write_tiff(tmp_path / "jansen-2.tif", simulated_tissue(64, 64), extratags=operator)
    assert called(plain) == "jansen-1.tif"
    assert re.fullmatch("slide-[0-9a-f]{16}", called(tagged))


def test_equal_stems_get_digits_of_their_digests(tmp_path: Path) -> None:
    slides = [tmp_path / folder / "field.tif" for folder in "ab"]
    for seed, slide in enumerate(slides):
        slide.parent.mkdir()
        write_tiff(slide, simulated_tissue(64, 64, seed))
    folders = [one.folder for one in name_slides(slides, STRIP_BY_DEFAULT)]
    assert all(re.fullmatch("field-[0-9a-f]{8}", folder) for folder in folders)
    assert len(set(folders)) == 2


def test_a_slide_that_is_not_there_is_called_by_its_place_where_its_name_gives_somebody_away() -> None:
    slides = [Path("field.tif"), Path("Doe_Jane.tif")]
    assert [one.called for one in name_slides(slides, STRIP_BY_DEFAULT)] == ["field.tif", "slide-number-2"]
