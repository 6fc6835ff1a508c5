"""Tags, names and pixels: what is technical passes, all else is held and told without its value."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from simulated import simulated_tissue, write_tiff

from ultraread.datasets.burnt_in.look import BurntInBar, BurntInText, Look
from ultraread.datasets.convert.slide import Wanted, convert
from ultraread.datasets.convert.targets import Target
from ultraread.datasets.corpora import fetch
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.identity.find import find_identity, names_of
from ultraread.datasets.identity.found import Identity, IdentityKind, IdentityPolicy
from ultraread.datasets.identity.judged_text import kind_of_burnt_in, kind_of_tag
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.own_texts import uids_of
from ultraread.datasets.scale import operator_scale
from ultraread.datasets.slide import Acquisition, ImageInfo, Modality, SlideInfo, Tag
from ultraread.datasets.slide_address import FileAddress, SlideAddress, address_of

Kind = IdentityKind
BOX = BoxPx(10, 20, 100, 16)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ImageWidth", "100000"),
        ("XResolution", "(2173913, 1)"),
        ("Software", "tifffile.py 2026.3.3"),
        ("Compression", "COMPRESSION.JPEG"),
        ("PhysicalSizeXUnit", "nm"),
        ("ID", "Pixels:0"),
        ("Acceleration Voltage", "80 kV"),
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.77.1.6"),
        ("schemaLocation", "http://www.openmicroscopy.org/Schemas/OME/2016-06"),
        ("Private gain", "0.8213455"),
        ("Artist", "\0\0"),
        ("name", "11.5 nm"),
        ("Label", "2um"),
        ("SoftwareVersions", "UltraRead"),
        ("source_sha256", "9" * 64),
        ("DerivationDescription", f"source sha256 {'a' * 64}, image 0; nm/px from ome, tolerance 0.05"),
    ],
)
def test_a_technical_tag_is_told_of_nobody(name: str, value: str) -> None:
    assert kind_of_tag(name, value) is None


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("Artist", "supervisor", Kind.OPERATOR),
        ("PatientName", "Doe^Jane", Kind.NAME),
        ("PatientID", "4711", Kind.NAME),
        ("Operator", "Falcon", Kind.OPERATOR),
        ("DateTime", "2024:01:31 10:00:00", Kind.DATE),
        ("ImageWidth", "2024-01-31", Kind.DATE),
        ("Software", "Jane's own", Kind.TEXT),
        ("Model", "Veleta SN 4711", Kind.DEVICE),
        ("InstitutionName", "St Example", Kind.INSTITUTION),
        ("anything", "jane@example.org", Kind.ADDRESS),
        ("anything", "71239485", Kind.NUMBER),
        ("anything", "1.2.826.0.1.77.3", Kind.UID),
        ("anything", "some words", Kind.TEXT),
        ("Software", "schema http://example.org/jane", Kind.ADDRESS),
        ("name", "Falcon Leo", Kind.TEXT),
        ("Label", "Falcon", Kind.TEXT),
        ("comment", "1234", Kind.TEXT),
        ("Title", "11.5", Kind.TEXT),
        ("Description", "image 1234 nm", Kind.TEXT),
        ("source_sha256", "9" * 63, Kind.NUMBER),
        ("sha256", "a" * 64, Kind.TEXT),
        ("DerivationDescription", f"source sha256 {'a' * 64}, image 0; nm/px from Jane", Kind.TEXT),
    ],
)
def test_everything_else_is_held(name: str, value: str, kind: IdentityKind) -> None:
    assert kind_of_tag(name, value) is kind


@pytest.mark.parametrize(
    "text",
    [
        "2 um",
        "500 nm",
        "x12,000",
        "11.50kx",
        "HV=80.0kV",
        "Direct Mag: 12000x",
        "AMT Camera System",
        "1500 nm",
        "x 6500",
        "6500 x",
        "2048 x 2048",
        "HV 5000 V",
        "80.00 kV",
        "6500 X Direct",
    ],
)
def test_a_length_or_a_magnification_in_pixels_is_told_of_nobody(text: str) -> None:
    assert kind_of_burnt_in(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Name: A1--0024",
        "S24-1234",
        "Doe, Jane",
        "2024-01-31 10:22",
        "471123",
        "007-12-34",
        "1234",
        "Mag 1234",
        "0024 kV 1234",
        "K. Falcon",
        "K.Falcon",
        "K Falcon",
        "Falcon, K.",
        "Falcon, K",
        "Falcon K.",
        "kV 1234-5",
    ],
)
def test_any_other_text_in_pixels_is_held(text: str) -> None:
    assert kind_of_burnt_in(text) is not None


def test_documents_in_tags_are_judged_value_by_value() -> None:
    xml = '<OME><Experimenter LastName="Doe"/><Pixels SizeX="5" Type="uint8"/><Note>Jane</Note></OME>'
    texts = (
        '{"Optics": {"Defocus": 1.5}, "User": "Doe"}',
        "width = 4\noperator = Doe",
        "AppMag = 40|User = Doe",
    )
    for text in (xml, *texts):
        places = find_identity(_info(Tag("ImageDescription", text)), (), ()).places
        assert any(place in {"tag LastName", "tag User", "tag operator"} for place in places), text
        assert not any(word in place for place in places for word in ("SizeX", "Defocus", "width", "AppMag"))


@pytest.mark.parametrize("target", Target)
def test_a_copy_of_ours_shows_nobody_and_uids_of_others_do(target: Target, tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "grid.tif", simulated_tissue(700, 600), 4.6)
    copy = tmp_path / "copy.ome.tif"
    convert(address_of(slide), copy, Wanted(target=target), lambda _: lambda _: None)
    with open_slide(copy) as opened:
        info = opened.info
    assert find_identity(info, (), ()).found == ()
    other = Tag("(0020,000D) StudyInstanceUID", "2.25.214443945989071270655230420797585227204")
    assert find_identity(replace(info, tags=(*info.tags, other)), (), ()).places == ("tag (0020,000D)",)


def test_uids_count_where_the_file_only_says_that_it_is_a_copy() -> None:
    derivation = Tag("(0008,2111) DerivationDescription", f"source sha256 {'a' * 64}, image 0")
    uid = Tag("(0020,000D) StudyInstanceUID", next(uids_of("another slide")))
    assert find_identity(_info(derivation, uid), (), ()).places == ("tag (0020,000D)",)


def test_a_reason_that_somebody_stated_for_a_scale_is_still_judged(tmp_path: Path) -> None:
    for target in Target:
        slide = write_tiff(tmp_path / f"{target}.tif", simulated_tissue(700, 600))
        wanted = Wanted(target=target, stated_scale=operator_scale(4.6, "as Falcon said"))
        convert(address_of(slide), tmp_path / target, wanted, lambda _: lambda _: None)
        with open_slide(tmp_path / target) as opened:
            assert find_identity(opened.info, (), ()).found != ()


def test_a_name_that_no_format_knows_is_told_by_its_place_only() -> None:
    (item,) = find_identity(_info(Tag("Jane Doe's tag", "secret words")), (), ()).found
    assert item.where == "tag number 1"


@pytest.mark.parametrize(
    "name",
    [
        "2024-01-31.tif",
        "20240131_2.tif",
        "S24-1234.tif",
        "4711234.tif",
        "Doe_Jane.tif",
        "DOE.tif",
        "a patient.tif",
    ],
)
def test_a_name_of_a_file_gives_away_dates_numbers_and_capitalised_words(name: str) -> None:
    assert find_identity(_info(), [name], ()).is_in_names
    assert find_identity(_info(), [f"{Path(name).stem}/field.tif"], ()).places == ("folder name",)


@pytest.mark.parametrize(
    "name", ["field-3.tif", "montage.ome.tif", "A1--0024.jpg", "Grid 2 Square 11.tif", "00.tif"]
)
def test_a_name_as_microscopists_call_files_gives_nothing_away(name: str) -> None:
    assert not find_identity(_info(), [name], ()).is_in_names


def test_a_word_of_the_file_s_identity_tags_is_found_in_its_name() -> None:
    assert not find_identity(_info(), ["jansen 3.tif"], ()).is_in_names
    assert find_identity(_info(Tag("Artist", "Jansen")), ["jansen 3.tif"], ()).is_in_names


def test_text_in_pixels_is_masked_beyond_its_letters_and_within_the_image() -> None:
    look = Look((BurntInText(BoxPx(0, 50, 100, 40), "Doe", 0.9), BurntInText(BOX, "2 um", 0.9)))
    found = find_identity(_info(), (), [look])
    assert found.masks(0) == (BoxPx(0, 40, 110, 60),)
    assert found.masks(1) == ()


@pytest.mark.parametrize(
    "piece", ["a", "1", "1.", "a@", "Aa", "1:", "a=", "{", "<a>", "a-1 ", "/a", "\u00b5"]
)
def test_a_tag_of_any_length_is_judged_in_no_time(piece: str) -> None:
    started = time.process_time()
    for end in ("", "!"):
        long = piece * (65_536 // len(piece)) + end
        find_identity(_info(Tag("Note", long), Tag("Software", long), Tag("Width", long)), [long[:200]], ())
    assert time.process_time() - started < 2


def test_the_label_of_a_bar_stays() -> None:
    bar = BurntInBar(BOX, 80.0, 2000.0, "2 pm!")
    look = Look((BurntInText(BOX, "2 pm!", 0.4),), (bar,))
    assert find_identity(_info(), (), [look]).found == ()


def test_an_image_that_is_too_large_to_be_looked_at_is_told_of() -> None:
    found = find_identity(_info(), (), [Look(not_looked_at="too large")])
    assert found.places == ("pixels of image 0, not searched",)
    assert Identity.from_json(found.as_json()) == found


def test_the_time_and_instrument_that_a_reader_took_from_tags_count() -> None:
    made = Acquisition(microscope="JEM-1400 of Dr Doe", camera="Veleta", acquired="31.01.2024")
    places = find_identity(_info(made=made), (), ()).places
    assert places == ("acquisition, acquired", "acquisition, microscope")


def test_no_value_leaves_with_what_was_found() -> None:
    found = find_identity(_info(Tag("Artist", "Doe")), ["Doe.tif"], [Look((BurntInText(BOX, "Doe", 0.9),))])
    assert {item.value for item in found.found} == {"Doe", "Doe.tif"}
    assert "Doe" not in f"{found} {found.as_json()}"
    assert Identity.from_json(found.as_json()) == found
    assert Identity.from_json(None).policy is IdentityPolicy.STRIP


def test_the_names_of_a_folder_s_files_are_told_with_the_folder() -> None:
    files = tuple(FileAddress(name, name) for name in ("a.dcm", "b.dcm"))
    assert names_of(SlideAddress("Doe", files)) == ["Doe/a.dcm", "Doe/b.dcm"]
    assert names_of(SlideAddress("an-id", files[:1])) == ["a.dcm"]


def test_a_file_as_an_instrument_wrote_it_names_operator_and_time() -> None:
    with open_slide(fetch("nerve_myelin/raw/HPF4-483S1-4B-6500x-1.tif")) as slide:
        found = {item.where: item.kind for item in find_identity(slide.info, (), ()).found}
    assert found["tag Artist"] is Kind.OPERATOR
    assert found["tag datetime"] is Kind.DATE
    assert "tag magnification" not in found


def _info(*tags: Tag, made: Acquisition | None = None) -> SlideInfo:
    image = ImageInfo(
        0, (SizePx(400, 300),), 8, 1, Modality.TEM, False, (), acquisition=made or Acquisition()
    )
    return SlideInfo("tiff", (image,), tags)
