"""Scoring of slides that harm their decoder: tiles fail, reads fail, the queue flows."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from harmful import taught, write_harmful
from simulated import simulated_tissue, write_tiff
from tiny_model import tiny_model

from ultraread.datasets.scale import operator_scale
from ultraread.datasets.slide_address import address_of
from ultraread.errors import DecodeCrash, DecodeTimeout
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import ModelFolder
from ultraread.serving.decoding.limits import DecodeLimits
from ultraread.serving.decoding.pool import DecodingPool
from ultraread.serving.read_slide import PreparedSlide, ReadRequest, prepare_slide
from ultraread.serving.score_tiles import FAILED, RangeScorer, RangeScores, RangeTask

LIMITS = DecodeLimits(memory_bytes=2**28, tile_s=2.0, deaths=2)
CODES = {"hang": "slide_decode_timeout", "abort": "slide_decode_crash", "fill": "slide_decode_crash"}
EVERYWHERE = tuple((x, y) for x in range(32, 256, 64) for y in range(32, 256, 64))
REQUEST = ReadRequest(stated_scale=operator_scale(4.6, "a test"), contrast_confirmed="a test", range_tiles=16)


@pytest.fixture(autouse=True)
def _taught(monkeypatch: pytest.MonkeyPatch) -> None:
    taught(monkeypatch)


@pytest.fixture
def lenient(tmp_path: Path) -> ModelFolder:
    """Of 16 tiles, 4 may fail."""
    return tiny_model(tmp_path / "model", max_failed_fraction=0.25)


@pytest.fixture
def scorer(lenient: ModelFolder) -> Iterator[RangeScorer]:
    with closing(DecodingPool(LIMITS)) as pool, closing(_scorer(lenient, pool)) as scorer:
        yield scorer


def _scorer(model: ModelFolder, pool: DecodingPool) -> RangeScorer:
    return RangeScorer(OnnxClassifier(model, threads=1), decoding=pool)


def _prepared(slide: Path, model: ModelFolder) -> PreparedSlide:
    with closing(DecodingPool(LIMITS)) as pool:
        return prepare_slide(address_of(slide), model, REQUEST, open_one=pool.open)


def _task(slide: Path, as_planned_on: PreparedSlide) -> RangeTask:
    (image,) = as_planned_on.images
    return RangeTask(address_of(slide), image.plan, image.window, 0)


def _scored(scorer: RangeScorer, slide: Path, plan: PreparedSlide) -> RangeScores:
    return scorer(_task(slide, plan))


@pytest.fixture
def plan(lenient: ModelFolder, tmp_path: Path) -> PreparedSlide:
    return _prepared(write_harmful(tmp_path / "harmless.tif", "nothing"), lenient)


@pytest.mark.parametrize("does", CODES)
def test_a_tile_that_harms_its_decoder_is_failed_with_the_code_and_the_others_are_scored(
    does: str, scorer: RangeScorer, plan: PreparedSlide, tmp_path: Path
) -> None:
    whole = _scored(scorer, tmp_path / "harmless.tif", plan)
    harmed = _scored(scorer, write_harmful(tmp_path / "slide.tif", does, places=((100, 100),)), plan)
    (index, reason), *others = harmed.failures.items()
    assert others == []
    assert reason.startswith(f"{CODES[does]}: ")
    assert [n for n, status in enumerate(harmed.status) if status == FAILED] == [index]
    rest = [n for n in range(16) if n != index]
    assert (harmed.probabilities[rest] == whole.probabilities[rest]).all()


@pytest.mark.parametrize(("does", "error"), [("hang", DecodeTimeout), ("abort", DecodeCrash)])
def test_a_slide_that_harms_again_and_again_is_given_up(
    does: str, error: type[Exception], scorer: RangeScorer, plan: PreparedSlide, tmp_path: Path
) -> None:
    poison = write_harmful(tmp_path / "slide.tif", does, places=EVERYWHERE)
    with pytest.raises(error):
        _scored(scorer, poison, plan)
    assert not _scored(scorer, tmp_path / "harmless.tif", plan).failures


def test_no_tile_may_fail_where_the_card_allows_none(plan: PreparedSlide, tmp_path: Path) -> None:
    strict = tiny_model(tmp_path / "strict", max_failed_fraction=0.0)
    slide = write_harmful(tmp_path / "slide.tif", "abort", places=((100, 100),))
    with (
        closing(DecodingPool(LIMITS)) as pool,
        closing(_scorer(strict, pool)) as scorer,
        pytest.raises(DecodeCrash),
    ):
        _scored(scorer, slide, plan)


def _decoders() -> list[psutil.Process]:
    """The children of nurseries; other children of the tests are servers that others talk to."""
    nurseries = [one for one in psutil.Process().children() if "decoding.nursery" in " ".join(one.cmdline())]
    return [each for nursery in nurseries for each in nursery.children(recursive=True)]


def test_processes_that_something_else_kills_cost_no_tile(lenient: ModelFolder, tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", simulated_tissue(256, 256), 4.6)
    prepared = _prepared(slide, lenient)
    with closing(DecodingPool(LIMITS)) as pool, closing(_scorer(lenient, pool)) as scorer:
        first = _scored(scorer, slide, prepared)
        decoders = _decoders()
        assert decoders
        for each in decoders:
            each.kill()
        again = _scored(scorer, slide, prepared)
    assert not again.failures
    assert (again.probabilities == first.probabilities).all()


def test_preparing_a_slide_that_harms_its_decoder_refuses_it_with_the_code(
    lenient: ModelFolder, tmp_path: Path
) -> None:
    with pytest.raises(DecodeCrash):
        _prepared(write_harmful(tmp_path / "slide.tif", "abort", places=EVERYWHERE), lenient)


def test_tiles_are_the_same_however_many_processes_read_them(lenient: ModelFolder, tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "slide.tif", simulated_tissue(300, 280), 4.6, compression="zstd")
    prepared = _prepared(slide, lenient)
    classify = OnnxClassifier(lenient, threads=1)
    results = []
    for decoders in (1, 3):
        with closing(RangeScorer(classify, decoders)) as scorer:
            results.append(_scored(scorer, slide, prepared))
    one, three = results
    assert (one.probabilities == three.probabilities).all()
    assert (one.thumbnails == three.thumbnails).all()
