"""`ultraread quality` tells artefacts without a model, as a table, as JSON and as pictures of masks."""

from pathlib import Path

import numpy as np
from command_line import ultraread
from drawn_bar import DrawnBar, field_of_noise, save, with_bars
from object_store import ObjectStore
from PIL import Image
from simulated import write_tiff

from ultraread.datasets.corpora import fetch
from ultraread.datasets.quality.artefacts import Artefact
from ultraread.datasets.quality.evaluation.formulas import GENERATOR_A
from ultraread.datasets.quality.evaluation.trials import as_8_bit, field

CLEAN = "drosophila_vnc/stack1/raw/07.tif"


def test_of_a_clean_field_nothing_is_said() -> None:
    told = ultraread("quality", fetch(CLEAN), "--json").printed
    (image,) = told["images"]
    assert image["artefacts"] == []
    assert not image["looks_inverted"]
    assert "none found" in ultraread("quality", fetch(CLEAN)).out


def test_a_grid_bar_is_told_with_its_share_its_findings_and_its_mask(tmp_path: Path) -> None:
    laid, where = GENERATOR_A[Artefact.GRID_BAR].lay(as_8_bit(*field(CLEAN)), 0.4, np.random.default_rng(0))
    slide = write_tiff(tmp_path / "bar.tif", laid.astype(np.uint8))
    masks = tmp_path / "masks"
    (image,) = ultraread("quality", slide, "--json", "--masks", masks).printed["images"]
    (bar,) = [one for one in image["artefacts"] if one["artefact"] == "UR-QC-GRID-BAR"]
    assert abs(bar["area_fraction"] - where.mean()) < 0.05
    assert "UR-MITO" in bar["suppresses"]
    with Image.open(masks / "0-ur-qc-grid-bar.png") as mask:
        assert mask.size == (64, 64)
        assert abs(float((np.asarray(mask) > 0).mean()) - bar["area_fraction"]) < 1e-6
    again = ultraread("quality", slide, "--masks", masks)
    assert again.status == 3, "a result is never written over"
    assert "Choose another --masks" in again.err


def test_a_negative_is_told(tmp_path: Path) -> None:
    negative = (255 - as_8_bit(*field(CLEAN))).astype(np.uint8)
    told = ultraread("quality", write_tiff(tmp_path / "negative.tif", negative))
    assert "looks inverted" in told.out


def test_a_scale_that_the_file_does_not_state_cannot_be_looked_at() -> None:
    refused = ultraread("quality", fetch(CLEAN), "--at-nm-per-px", 10)
    assert refused.status == 3
    assert "slide_no_pixel_size" in refused.err


def test_a_scale_is_taken_from_a_bar_or_from_who_looks(tmp_path: Path) -> None:
    barred = save(tmp_path / "barred.png", with_bars(field_of_noise(), DrawnBar(180, "2 um", 60, 640)))
    plain = save(tmp_path / "plain.png", field_of_noise())
    stated = ("--nm-per-px", 2000 / 180, "--reason", "simulated")
    for words in ((barred,), (barred, *stated), (plain, *stated)):
        assert ultraread("quality", *words, "--at-nm-per-px", 20, "--json").status == 0
    apart = ultraread("quality", barred, "--at-nm-per-px", 20, "--nm-per-px", 5, "--reason", "wrong")
    assert "slide_scales_disagree" in apart.err
    for words in (stated, ("--reason", "alone"), ("--at-nm-per-px", 20, "--nm-per-px", 5)):
        assert ultraread("quality", plain, *words).status == 2


def test_a_slide_in_an_object_store_is_looked_at_and_copied_without_identity(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    slide = save(tmp_path / "field.png", field_of_noise(400, 300))
    address = f"{object_store.bucket()}/field.png"
    object_store.files().put(str(slide), address)
    assert ultraread("quality", address, "--json").printed == ultraread("quality", slide, "--json").printed
    done = ultraread("deidentify", address, tmp_path / "copy.ome.tif")
    assert done.out.startswith("In the original nothing was found.\n")
    assert (tmp_path / "copy.ome.tif").exists()
