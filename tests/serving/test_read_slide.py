"""What a read is made of before and while its tiles are scored: window, binding, ranges and checkpoints."""

import errno
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from addresses import file_of
from simulated import flip_bit, simulated_tissue, write_tiff
from tiny_model import STEEPNESS, STRIDE_PX, tiny_model

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide_address import FileAddress, SlideAddress, address_of
from ultraread.datasets.slide_digest import digest_slide
from ultraread.errors import BitDepthMismatch, InputChanged, SlideNotFound
from ultraread.models.card import ImageMeanStd
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import ModelFolder
from ultraread.serving.read_slide import (
    PreparedSlide,
    ReadRequest,
    binding,
    confirm_digest,
    prepare_slide,
    score_slide,
    tally_image,
)
from ultraread.serving.score_tiles import (
    BLANK,
    RangeScorer,
    RangeScores,
    RangeStore,
    RangeTask,
    planned_tiles,
)

SMALL_RANGES = ReadRequest(range_tiles=5)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def prepared(tmp_path: Path, model: ModelFolder) -> PreparedSlide:
    """A simulated slide of 5 x 4 tiles in 4 ranges."""
    slide = write_tiff(tmp_path / "slide.tif", simulated_tissue(300, 200), 4.6, compression="zstd")
    return prepare_slide(address_of(slide), model, SMALL_RANGES)


def test_the_window_is_that_of_the_tissue_where_most_of_a_slide_is_empty(
    tmp_path: Path, model: ModelFolder
) -> None:
    """One tile of tissue, which is not among the first that are looked at."""
    pixels = np.full((640, 640), 240, np.uint8)
    tissue = simulated_tissue(64, 64)
    pixels[448:512, 192:256] = tissue
    slide = write_tiff(tmp_path / "slide.tif", pixels, 4.6, compression="zstd")
    (image,) = prepare_slide(address_of(slide), model, ReadRequest()).images
    assert image.window.mean == pytest.approx(tissue.mean())
    assert image.window.std == pytest.approx(tissue.std())


def test_the_window_is_that_of_as_many_tiles_as_the_card_says(tmp_path: Path, model: ModelFolder) -> None:
    pixels = simulated_tissue(256, 256)
    address = address_of(write_tiff(tmp_path / "slide.tif", pixels, 4.6))
    (image,) = prepare_slide(address, model, ReadRequest()).images
    assert isinstance(model.card.normalisation, ImageMeanStd)
    assert len(image.plan) == model.card.normalisation.sample_tiles == 16
    assert image.window.mean == pytest.approx(pixels.mean())
    assert image.window.std == pytest.approx(pixels.std())


def test_a_model_of_the_full_range_gets_every_image_by_its_bit_depth_alone(tmp_path: Path) -> None:
    rule = {"rule": "full_range"}
    whole = tiny_model(tmp_path / "tiny", normalisation=rule, bit_depths=[8, 16])
    pixels = simulated_tissue(256, 256)
    for kind, white in ((np.uint8, 255), (np.uint16, 65535)):
        slide = write_tiff(tmp_path / "slide.tif", pixels.astype(kind), 4.6)
        (image,) = prepare_slide(address_of(slide), whole, ReadRequest()).images
        assert (image.window.mean, image.window.std) == (0, white)
    slide = write_tiff(tmp_path / "slide.tif", pixels.astype(np.float32), 4.6)
    with pytest.raises(BitDepthMismatch):
        prepare_slide(address_of(slide), whole, ReadRequest())


def test_checkpoints_are_bound_to_slide_model_plan_and_window(
    prepared: PreparedSlide, tmp_path: Path, model: ModelFolder
) -> None:
    other_region = prepare_slide(prepared.address, model, replace(SMALL_RANGES, region=BoxPx(0, 0, 256, 200)))
    other_ranges = prepare_slide(prepared.address, model, ReadRequest(range_tiles=6))
    other_model = prepare_slide(prepared.address, tiny_model(tmp_path / "m", limitations=["x"]), SMALL_RANGES)
    write_tiff(tmp_path / "other.tif", simulated_tissue(300, 200, seed=1), 4.6, compression="zstd")
    other_slide = prepare_slide(address_of(tmp_path / "other.tif"), model, SMALL_RANGES)
    others = (other_region, other_ranges, other_model, other_slide)
    assert binding(prepared) == binding(prepare_slide(prepared.address, model, SMALL_RANGES))
    assert all(binding(other) != binding(prepared) for other in others)


def test_only_missing_ranges_are_scored_and_every_tile_is_told(
    prepared: PreparedSlide, tmp_path: Path, model: ModelFolder
) -> None:
    store, told = RangeStore(tmp_path / "ranges"), [0]
    scorer = RangeScorer(OnnxClassifier(model, threads=1))
    asked: list[RangeTask] = []

    def score_two(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        asked.extend(islice(tasks, 2))
        return map(scorer, asked[-2:])

    score_slide(prepared, store, score_two, told.append)
    assert [store.has(0, number) for number in range(4)] == [True, True, False, False]
    told.clear()
    score_slide(prepared, store, score_two, told.append)
    scorer.close()
    assert [task.number for task in asked] == [0, 1, 2, 3]
    assert sum(told) == prepared.tiles == 20
    (image,) = prepared.images
    assert tally_image(prepared, image, store).counts.scored == 20


def test_a_checkpoint_holds_what_was_scored(
    prepared: PreparedSlide, tmp_path: Path, model: ModelFolder
) -> None:
    scorer, store = RangeScorer(OnnxClassifier(model, threads=1)), RangeStore(tmp_path / "ranges")
    kept: list[RangeScores] = []

    def score_and_keep(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        kept.extend(map(scorer, tasks))
        return iter(kept)

    score_slide(prepared, store, score_and_keep, lambda tiles: None)
    scorer.close()
    assert [scores.number for scores in kept] == [0, 1, 2, 3]
    for scores in kept:
        loaded = store.load(0, scores.number)
        np.testing.assert_array_equal(loaded.status, scores.status)
        np.testing.assert_array_equal(loaded.probabilities, scores.probabilities)
        assert loaded.patch_maps is not None
        assert scores.patch_maps is not None
        np.testing.assert_array_equal(loaded.patch_maps, scores.patch_maps)
        np.testing.assert_array_equal(loaded.thumbnails, scores.thumbnails)
        assert (loaded.failures, loaded.scored_by) == (scores.failures, scores.scored_by)
    assert sorted(path.suffix for path in (tmp_path / "ranges").iterdir()) == [".npz"] * 4


def test_a_file_that_changes_while_it_is_read_gives_no_result(prepared: PreparedSlide) -> None:
    confirm_digest(prepared)
    write_tiff(file_of(prepared), simulated_tissue(300, 200, seed=2), 4.6)
    with pytest.raises(InputChanged, match="changed while it was read"):
        confirm_digest(prepared)


def test_a_file_that_changes_and_is_put_back_while_it_is_read_gives_no_result(
    prepared: PreparedSlide, model: ModelFolder
) -> None:
    flip_bit(file_of(prepared), -100)
    flip_bit(file_of(prepared), -100)
    assert digest_slide(prepared.address).sha256 == prepared.digest.sha256
    with pytest.raises(InputChanged, match="changed while it was read"):
        confirm_digest(prepared)
    again = prepare_slide(prepared.address, model, SMALL_RANGES)
    confirm_digest(again)
    assert binding(again) != binding(prepared), "what was scored meanwhile is not used again"


def test_each_tile_gets_the_scores_of_its_own_pixels(tmp_path: Path, model: ModelFolder) -> None:
    """The tiny model is a formula: held against numpy, with a blank tile in the midst of the batches."""
    pixels = simulated_tissue(320, 256)
    pixels[128:192, 128:192] = 120
    slide = write_tiff(tmp_path / "slide.tif", pixels, 4.6, compression="zstd")
    prepared, store = prepare_slide(address_of(slide), model, SMALL_RANGES), RangeStore(tmp_path / "ranges")
    (image,) = prepared.images
    scorer = RangeScorer(OnnxClassifier(model, threads=1))
    score_slide(prepared, store, lambda tasks: map(scorer, tasks), lambda tiles: None)
    scorer.close()
    normalised = (pixels - image.window.mean) / image.window.std
    means = normalised.reshape(16, 16, 20, 16).mean(axis=(1, 3))
    expected = np.stack([1 / (1 + np.exp(1 - STEEPNESS * sign * means)) for sign in (1, -1)])
    blank = []
    for number in range(image.plan.ranges):
        scores = store.load(0, number)
        for row, tile in enumerate(planned_tiles(image.plan, number)):
            x, y = tile.model_box.x // STRIDE_PX, tile.model_box.y // STRIDE_PX
            patches = expected[:, y : y + 4, x : x + 4]
            if scores.status[row] == BLANK:
                blank.append((tile.box.x, tile.box.y))
                assert not scores.probabilities[row].any()
                continue
            assert scores.patch_maps is not None
            np.testing.assert_allclose(scores.patch_maps[row], patches, atol=1e-3)
            np.testing.assert_allclose(scores.probabilities[row], patches.mean(axis=(1, 2)), atol=1e-5)
    assert blank == [(128, 128)]


def test_a_slide_is_never_read_through_another_files_descriptor(
    tmp_path: Path, prepared: PreparedSlide, model: ModelFolder
) -> None:
    scorer = RangeScorer(OnnxClassifier(model, threads=1))
    task = RangeTask(prepared.address, prepared.images[0].plan, prepared.images[0].window, 0)
    before = scorer(task)
    with pytest.raises(SlideNotFound):
        scorer(
            replace(
                task, slide=SlideAddress("gone.tif", (FileAddress("gone.tif", str(tmp_path / "gone.tif")),))
            )
        )
    others = [
        write_tiff(tmp_path / f"{n}.tif", simulated_tissue(300, 200, seed=n)).open("rb") for n in (7, 8)
    ]
    after = scorer(task)
    assert np.array_equal(before.probabilities, after.probabilities)
    for other in others:
        other.close()
    scorer.close()


def test_a_slide_that_was_closed_reads_nothing_any_more(prepared: PreparedSlide) -> None:
    slide = open_slide(prepared.address)
    box = BoxPx(0, 0, 64, 64)
    slide.read_box(0, 0, box)
    slide.close()
    with file_of(prepared).open("rb") as other:  # which may have got the number of the closed descriptor
        slide.close()
        with pytest.raises(ValueError, match="closed slide"):
            slide.read_box(0, 0, box)
        assert other.read(2) == b"II"


@pytest.mark.parametrize("change", ["uint8", "uint16", "counts", "float"])
def test_the_same_texture_is_scored_whatever_its_bit_depth_and_gain(
    change: str, tmp_path: Path, model: ModelFolder
) -> None:
    grey = simulated_tissue(256, 192)
    grey[64:128, 128:192] = 100
    pixels = {
        "uint8": grey,
        "uint16": grey.astype(np.uint16),
        "counts": grey.astype(np.uint16) // 4,
        "float": grey.astype(np.float32) / 1000,
    }[change]
    found = prepare_slide(address_of(write_tiff(tmp_path / "slide.tif", pixels, 4.6)), model, ReadRequest())
    scorer = RangeScorer(OnnxClassifier(model, threads=1))
    store = RangeStore(tmp_path / "ranges")
    score_slide(found, store, lambda tasks: map(scorer, tasks), lambda tiles: None)
    tallied = tally_image(found, found.images[0], store)
    scorer.close()
    assert (tallied.counts.scored, tallied.counts.blank) == (11, 1)
    scores = store.load(0, 0)
    tiles = planned_tiles(found.images[0].plan, 0)
    (blank,) = np.flatnonzero(scores.status == BLANK)
    assert (tiles[blank].box.x, tiles[blank].box.y) == (128, 64)


def _scores_of_nothing() -> RangeScores:
    empty = np.zeros((1, 2), np.float32)
    return RangeScores(0, 0, np.zeros(1, np.uint8), empty, None, np.zeros((1, 4, 4), np.uint8), {}, 1)


def test_threads_of_one_process_may_save_the_same_range_at_once(tmp_path: Path) -> None:
    store = RangeStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.save, [_scores_of_nothing()] * 64))
    assert store.load(0, 0).status.tolist() == [0]
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_a_checkpoint_that_finds_no_room_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        RangeStore(tmp_path).save(_scores_of_nothing())
    assert list(tmp_path.iterdir()) == []
