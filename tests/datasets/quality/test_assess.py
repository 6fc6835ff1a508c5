"""Plain artefacts laid over real fields are found where they lie; real fields as they are stay clean."""

from collections.abc import Iterator

import numpy as np
import pytest

from ultraread.datasets.quality.artefacts import RULES, Artefact
from ultraread.datasets.quality.evaluation.formulas import GENERATOR_A
from ultraread.datasets.quality.evaluation.laid import Floats
from ultraread.datasets.quality.evaluation.measure import by_cell, overlap, quality_of
from ultraread.datasets.quality.evaluation.optics import GENERATOR_B
from ultraread.datasets.quality.evaluation.trials import field, field_paths

FITS = {
    Artefact.HOLE: 0.6,
    Artefact.GRID_BAR: 0.8,
    Artefact.FOLD: 0.4,
    Artefact.KNIFE_MARK: 0.4,
    Artefact.CLIPPING: 0.6,
    Artefact.BLUR: 0.9,
}
"""Least overlap of mask and truth, for what lies somewhere."""
LAID = [each for each in GENERATOR_A if each not in (Artefact.INVERTED, Artefact.PRECIPITATE)]


@pytest.mark.parametrize("artefact", LAID, ids=lambda artefact: RULES[artefact].name)
def test_a_plain_artefact_is_found_where_it_lies(artefact: Artefact, vnc: Floats) -> None:
    laid, where = GENERATOR_A[artefact].lay(vnc, GENERATOR_A[artefact].strengths[2], np.random.default_rng(7))
    quality, _ = quality_of(laid)
    assert artefact in quality.masks
    fit = overlap(quality.masks[artefact], by_cell(where, quality.cells.cell_px))
    assert fit >= FITS.get(artefact, 0.0)


@pytest.mark.parametrize("specks", [40, 100, 400])
@pytest.mark.parametrize("tissue", ["vnc", "nerve"])
def test_precipitate_is_found_however_many_specks_there_are(
    tissue: str, specks: int, request: pytest.FixtureRequest
) -> None:
    field_of: Floats = request.getfixturevalue(tissue)
    laid, where = GENERATOR_A[Artefact.PRECIPITATE].lay(field_of, specks, np.random.default_rng(7))
    quality, _ = quality_of(laid)
    mask = quality.masks[Artefact.PRECIPITATE]
    true = mask & by_cell(where, quality.cells.cell_px)
    assert true.sum() >= 0.8 * mask.sum()
    assert true.sum() >= specks / 2


def test_a_seam_between_pictures_of_different_brightness_is_no_band(vnc: Floats) -> None:
    laid, _ = GENERATOR_A[Artefact.SEAM].lay(vnc, 1.0, np.random.default_rng(7))
    masks = quality_of(laid)[0].masks
    assert Artefact.SEAM in masks
    assert Artefact.CHARGING not in masks


@pytest.mark.parametrize("artefact", [Artefact.BLUR, Artefact.CHATTER, Artefact.HOLE], ids=lambda one: one)
def test_the_same_artefact_made_by_other_physics_is_found_in_another_tissue(
    artefact: Artefact, nerve: Floats
) -> None:
    laid, _ = GENERATOR_B[artefact].lay(nerve, GENERATOR_B[artefact].strengths[2], np.random.default_rng(3))
    assert artefact in quality_of(laid)[0].masks


def _clean() -> Iterator[str]:
    for folder in ("drosophila_vnc/stack1/raw", "drosophila_vnc/stack2/raw", "isbi2012/raw"):
        yield from field_paths((folder, ""))[::7]


@pytest.mark.parametrize("path", list(_clean()))
def test_of_real_fields_that_are_sharp_and_whole_nothing_is_said(path: str) -> None:
    quality, contrast = quality_of(*field(path))
    assert quality.masks == {}
    assert not contrast.is_inverted


def test_the_hole_and_the_dirt_of_a_real_kidney_field_are_seen() -> None:
    quality, _ = quality_of(*field("kidney_tem_najafian/okay.png"))
    assert {Artefact.HOLE, Artefact.PRECIPITATE} <= set(quality.masks)
    assert quality.masks[Artefact.HOLE].mean() < 0.02


def test_blur_is_measured_in_pixels_beside_what_the_field_has_already(vnc: Floats) -> None:
    """A Gaussian of 2 px adds its variance to that of the field."""
    laid, _ = GENERATOR_A[Artefact.BLUR].lay(vnc, 2.0, np.random.default_rng(0))
    sharp, blurred = (quality_of(one)[0].measures["blur_sigma_px"] for one in (vnc, laid))
    assert blurred == pytest.approx((sharp**2 + 4) ** 0.5, rel=0.1)


def test_blur_in_a_part_of_a_field_masks_that_part(vnc: Floats) -> None:
    laid, _ = GENERATOR_A[Artefact.BLUR].lay(vnc, 3.0, np.random.default_rng(0))
    half = np.where(np.arange(vnc.shape[1]) < 448, laid, vnc)
    mask = quality_of(half.astype(np.float32))[0].masks[Artefact.BLUR]
    assert mask[:, :28].all()
    assert not mask[:, 28:].any()


def test_notes_stand_in_the_order_of_the_table_with_their_codes(vnc: Floats) -> None:
    laid, _ = GENERATOR_A[Artefact.HOLE].lay(vnc, 80.0, np.random.default_rng(1))
    noted, _ = GENERATOR_A[Artefact.JPEG_BLOCKS].lay(laid, 12.0, np.random.default_rng(1))
    quality, _ = quality_of(noted)
    notes = quality.notes(("UR-MITO", "UR-FIB-D"))
    assert [note.artefact for note in notes] == [each for each in RULES if each in quality.masks]
    by_artefact = {note.artefact: note for note in notes}
    assert by_artefact[Artefact.HOLE].suppresses == ("UR-MITO", "UR-FIB-D")
    assert by_artefact[Artefact.JPEG_BLOCKS].suppresses == ("UR-FIB-D",)
    assert 0 < by_artefact[Artefact.HOLE].area_fraction < 0.2
    of_fibrils = quality.suppressing("UR-FIB-D")
    assert of_fibrils is not None
    assert not of_fibrils.all(), "what is only flagged takes no area"
