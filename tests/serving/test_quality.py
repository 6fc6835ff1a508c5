"""What quality control finds in a read: noted, masked, left out of every number, and kept in checkpoints."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from command_line import ultraread
from numpy.typing import NDArray
from ranges import CARD, SIDE, even_patches, made_by_hand, plan_of
from simulated import write_tiff
from tiny_model import tiny_model, write_tiny_model

from ultraread.datasets.geometry import BoxPx, NmPerPx
from ultraread.datasets.quality.artefacts import Artefact
from ultraread.datasets.quality.assess import ImageQuality
from ultraread.datasets.quality.evaluation.formulas import GENERATOR_A
from ultraread.datasets.quality.evaluation.trials import as_8_bit, field
from ultraread.datasets.quality.sketch import cells_of
from ultraread.datasets.scale import Scale, ScaleOrigin
from ultraread.datasets.slide_address import address_of
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.errors import NegativeImage
from ultraread.models.classifier import OnnxClassifier
from ultraread.serving.aggregate import coverage_of, findings_of, scope_of
from ultraread.serving.findings import Assertion, Finding
from ultraread.serving.limitations import LOOKED_FOR
from ultraread.serving.quality import repeated_fields, slide_quality
from ultraread.serving.read_slide import ReadRequest, prepare_slide, score_slide
from ultraread.serving.score_tiles import RangeScorer, RangeStore, RangeTask
from ultraread.serving.tally import ImageTally, TalliedImage

Mask = NDArray[np.bool_]
PLAN = plan_of(256, 256)
SCALE = Scale(NmPerPx(4.6), ScaleOrigin.OPERATOR, 0.0, "a test")


def _quality(plan: TilePlan, artefact: Artefact, mask: Mask) -> ImageQuality:
    picture = np.zeros((256, 256), np.uint8)
    return ImageQuality(plan.image, cells_of(plan, SIDE), {artefact: mask}, {}, picture)


def _tallied(quality: ImageQuality | None, plan: TilePlan = PLAN) -> TalliedImage:
    tally = ImageTally(plan, CARD, quality)
    for scores, tiles in made_by_hand(plan, lambda tile: (tile.index / 100, 0.5), _patches):
        tally.add(scores, tiles)
    return tally.done("a" * 64, SCALE)


def _patches(tile: PlannedTile) -> NDArray[np.float16]:
    """Half of every patch of the left half of the image is bright, nothing of the right half."""
    return even_patches(tile) * np.float16(2 if tile.model_box.x < 128 else 0)


def _mask(rows: slice, columns: slice) -> Mask:
    mask = np.zeros((16, 16), bool)
    mask[rows, columns] = True
    return mask


def _findings(image: TalliedImage) -> tuple[Finding, ...]:
    coverage = coverage_of([image], CARD)
    return findings_of([image], CARD, scope_of("simulated", CARD, 1), coverage, 0, in_case=False)


def test_masked_area_counts_neither_above_nor_below_the_line() -> None:
    everything, right_half_out = (
        _tallied(None),
        _tallied(_quality(PLAN, Artefact.HOLE, _mask(slice(None), slice(8, 16)))),
    )
    assert _findings(everything)[0].measurements[0].value == 25.0
    assert _findings(right_half_out)[0].measurements[0].value == 50.0
    assert right_half_out.sums.total().area[0].tolist() == [256 * 128] * 2
    assert right_half_out.scored_px == 256 * 256


def test_masked_area_is_told_beside_the_scored_area() -> None:
    image = _tallied(_quality(PLAN, Artefact.HOLE, _mask(slice(0, 4), slice(0, 4))))
    coverage = coverage_of([image], CARD)
    assert coverage.area_masked_um2 == pytest.approx(64 * 64 * 4.6**2 * 1e-6, rel=1e-5)
    assert coverage.area_um2 == pytest.approx(256 * 256 * 4.6**2 * 1e-6, rel=1e-5)


def test_no_evidence_comes_from_a_tile_that_an_artefact_touches() -> None:
    """One masked patch in the corner of a tile takes the tile away."""
    touched = BoxPx(64, 64, 64, 64)
    free, masked = _tallied(None), _tallied(_quality(PLAN, Artefact.FOLD, _mask(slice(4, 5), slice(4, 5))))
    boxes = [[witness.box for witness in image.witnesses[0]] for image in (free, masked)]
    assert touched in boxes[0]
    assert boxes[1] == [box for box in boxes[0] if box != touched]


def test_a_tile_counts_for_the_score_while_half_of_it_is_left() -> None:
    half, less = (
        _tallied(_quality(PLAN, Artefact.FOLD, _mask(slice(0, rows), slice(0, 4)))) for rows in (2, 3)
    )
    assert half.sums.weight[:, 0].sum() == 256 * 256 - 32 * 64
    assert less.sums.weight[:, 0].sum() == 256 * 256 - 64 * 64
    assert less.sums.area[:, 0].sum() == 256 * 256 - 48 * 64


@pytest.mark.parametrize(
    ("columns", "assertion"),
    [(8, Assertion.INDETERMINATE), (9, Assertion.NOT_ASSESSED), (16, Assertion.NOT_ASSESSED)],
)
def test_where_artefacts_leave_too_little_nothing_is_assessed(columns: int, assertion: Assertion) -> None:
    """The tiny card asks for half of what was planned."""
    image = _tallied(_quality(PLAN, Artefact.HOLE, _mask(slice(None), slice(16 - columns, 16))))
    found = _findings(image)[0]
    assert (found.assertion is Assertion.NOT_ASSESSED) == (assertion is Assertion.NOT_ASSESSED)
    if found.assertion is Assertion.NOT_ASSESSED:
        assert (found.score, found.measurements, found.evidence) == (None, (), ())


def test_what_is_only_flagged_takes_nothing_away() -> None:
    flagged = _tallied(_quality(PLAN, Artefact.JPEG_BLOCKS, np.ones((16, 16), bool)))
    assert _findings(flagged) == _findings(_tallied(None))


def test_masks_of_cells_larger_than_a_patch_cover_all_their_patches() -> None:
    """Above 512 patches a side a cell is two by two."""
    plan = plan_of(16 * 513, 64)
    cells = cells_of(plan, SIDE)
    assert (cells.rows, cells.columns, cells.cell_px) == (2, 257, 32)
    mask = np.zeros((2, 257), bool)
    mask[0, 0] = True
    image = _tallied(_quality(plan, Artefact.HOLE, mask), plan)
    assert image.scored_px - image.sums.area[:, 0].sum() == 32 * 32


def _damaged_field(at: Path) -> tuple[Path, Mask]:
    """A real field with a hole of generator A."""
    grey = as_8_bit(*field("drosophila_vnc/stack1/raw/04.tif"))
    laid, where = GENERATOR_A[Artefact.HOLE].lay(grey, 80.0, np.random.default_rng(1))
    return write_tiff(at / "holed.tif", laid.astype(np.uint8), 4.6), where


def test_a_hole_is_noted_masked_and_left_out_of_the_evidence(tmp_path: Path) -> None:
    slide, where = _damaged_field(tmp_path)
    model = write_tiny_model(tmp_path / "model")
    done = ultraread("read", slide, "--out", tmp_path / "out", "--model", model)
    assert done.status == 0, done.err
    folder = next((tmp_path / "out").iterdir())
    found = json.loads((folder / "findings.json").read_text())
    (hole,) = [note for note in found["quality"] if note["artefact"] == "UR-QC-HOLE"]
    assert hole["area_fraction"] == pytest.approx(where.mean(), abs=0.02)
    assert hole["suppresses"] == ["T-BRIGHT", "T-DARK"]
    for box in (box for finding in found["findings"] for box in finding["evidence"]):
        inside = where[
            box["y_px"] : box["y_px"] + box["height_px"], box["x_px"] : box["x_px"] + box["width_px"]
        ]
        assert inside.mean() < 0.1
    assert any(one.startswith(LOOKED_FOR[:26]) for one in found["limitations"])
    _check_mask_file(folder / "artefacts.ome.tif", [note["artefact"] for note in found["quality"]], where)


def _check_mask_file(path: Path, artefacts: list[str], where: Mask) -> None:
    with tifffile.TiffFile(path) as written:
        told, masks = written.ome_metadata or "", written.asarray()
    masks = masks.reshape(-1, 64, 64)
    assert all(f'Name="{artefact}"' in told for artefact in artefacts)
    hole = masks[artefacts.index("UR-QC-HOLE")].repeat(16, axis=0).repeat(16, axis=1) > 0
    assert (hole & where).sum() >= 0.8 * where.sum()


def test_a_slide_without_artefacts_has_no_mask_file(tmp_path: Path) -> None:
    grey = as_8_bit(*field("drosophila_vnc/stack1/raw/04.tif"))[:512, :512]
    slide = write_tiff(tmp_path / "clean.tif", grey.astype(np.uint8), 4.6)
    done = ultraread(
        "read", slide, "--out", tmp_path / "out", "--model", write_tiny_model(tmp_path / "model", 128)
    )
    assert done.status == 0, done.err
    folder = next((tmp_path / "out").iterdir())
    assert json.loads((folder / "findings.json").read_text())["quality"] == []
    assert not (folder / "artefacts.ome.tif").exists()


def test_looks_come_back_from_a_checkpoint_as_they_were(tmp_path: Path) -> None:
    slide, _ = _damaged_field(tmp_path)
    model = tiny_model(tmp_path / "model")
    prepared = prepare_slide(address_of(slide), model, ReadRequest(range_tiles=150))
    (image,) = prepared.images
    scorer, store = RangeScorer(OnnxClassifier(model, threads=1), 2), RangeStore(tmp_path / "ranges")
    scores = scorer(RangeTask(prepared.address, image.plan, image.window, 1))
    scorer.close()
    store.save(scores)
    looks, thumbnails = store.load_looks(0, 1)
    assert looks is not None
    assert scores.looks is not None
    for name, array in scores.looks.arrays().items():
        np.testing.assert_array_equal(looks.arrays()[name], array)
    np.testing.assert_array_equal(thumbnails, scores.thumbnails)
    assert len(looks.spectra) == 106, "spectra end with the plan's tile 256"


def test_quality_is_the_same_however_the_read_is_cut_into_ranges(tmp_path: Path) -> None:
    slide, _ = _damaged_field(tmp_path)
    model = tiny_model(tmp_path / "model")
    found = []
    for size in (7, 128):
        prepared = prepare_slide(address_of(slide), model, ReadRequest(range_tiles=size))
        scorer, store = RangeScorer(OnnxClassifier(model, threads=1), 2), RangeStore(tmp_path / str(size))
        score_slide(prepared, store, lambda tasks, scorer=scorer: map(scorer, tasks), lambda _: None)
        scorer.close()
        found.append(slide_quality(prepared, store)[0])
    one, other = (list(each.measures.values()) for each in found)
    np.testing.assert_array_equal(one, other)
    assert list(found[0].masks) == list(found[1].masks)


def _negative(at: Path) -> Path:
    grey = as_8_bit(*field("drosophila_vnc/stack1/raw/04.tif"))
    return write_tiff(at / "negative.tif", (255 - grey).astype(np.uint8), 4.6)


def test_a_negative_is_refused_until_somebody_confirms_it(tmp_path: Path) -> None:
    slide, model = _negative(tmp_path), tiny_model(tmp_path / "model")
    with pytest.raises(NegativeImage) as refused:
        prepare_slide(address_of(slide), model, ReadRequest())
    assert (refused.value.code, refused.value.exit_status) == ("slide_contrast_inverted", 3)
    confirmed = ReadRequest(contrast_confirmed="negative stain")
    assert prepare_slide(address_of(slide), model, confirmed).tiles == 256


def test_the_command_tells_the_refusal_and_takes_the_reason(tmp_path: Path) -> None:
    slide, model = _negative(tmp_path), write_tiny_model(tmp_path / "model")
    words = ("read", slide, "--out", tmp_path / "out", "--model", model)
    refused = ultraread(*words)
    assert refused.status == 3
    assert "slide_contrast_inverted" in refused.err
    done = ultraread(*words, "--contrast-confirmed", "negative stain")
    assert done.status == 0, done.err
    found = json.loads((next((tmp_path / "out").iterdir()) / "findings.json").read_text())
    assert "An operator confirmed that no image is a negative: negative stain." in found["limitations"]


def test_a_field_that_repeats_another_one_counts_once() -> None:
    """Different noise pictures, and one of them again."""
    chance = np.random.default_rng(0)
    pictures = [chance.integers(0, 255, (256, 256)).astype(np.uint8) for _ in range(2)]
    images = []
    for picture in (pictures[0], pictures[1], pictures[0]):
        quality = ImageQuality(0, cells_of(PLAN, SIDE), {}, {}, picture)
        images.append(_tallied(quality))
    assert repeated_fields(images) == {2}
