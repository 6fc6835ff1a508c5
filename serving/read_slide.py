"""One read of one slide, stage by stage: prepare, score, conclude. The command line and the service run these
same functions; only who scores the ranges differs.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.admission import AdmittedImage, OutOfScopeImage, admit
from ultraread.datasets.burnt_in.look import Look, look_at_all
from ultraread.datasets.calibration import Calibrations
from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.identity.find import find_identity, names_of
from ultraread.datasets.identity.found import NOTHING_FOUND, Identity
from ultraread.datasets.identity.policy import STRIP_BY_DEFAULT, IdentityStatement, under
from ultraread.datasets.open_slide import OpenSlide, open_slide
from ultraread.datasets.other_scales import other_scales
from ultraread.datasets.quality.assess import ImageQuality
from ultraread.datasets.quality.contrast import SAMPLE_TILES, contrast_of
from ultraread.datasets.scale import StatedScale
from ultraread.datasets.slide import Slide
from ultraread.datasets.slide_address import SlideAddress, stamped
from ultraread.datasets.slide_digest import SlideDigest, digest_in_blocks, digest_slide
from ultraread.datasets.stored_file import is_remote
from ultraread.datasets.tile_plan import TilePlan
from ultraread.datasets.tile_stream import TileReader, stream
from ultraread.errors import InputChanged, NegativeImage, TooManyFailedTiles
from ultraread.models.card import FullRange, ModelCard
from ultraread.models.preprocess import Window, full_range_window, measure_window
from ultraread.models.registry import ModelFolder
from ultraread.serving.binding import STAMPS
from ultraread.serving.score_tiles import (
    KeepRange,
    RangeSink,
    RangeStore,
    RangeTask,
    ScoreRanges,
    planned_tiles,
)
from ultraread.serving.storage.durable import full_storage_coded
from ultraread.serving.tally import ImageTally, TalliedImage, TileCounts

RANGE_TILES = 128
"""Tiles a range: fewer cost more dispatch, more repeat more work after a crash."""


StartLooking = Callable[[int], Callable[[int], None]]
"""Called with the number of images to be searched for burnt-in text; returns what is told of each."""


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What a caller asks beyond slide and model."""

    stated_scale: StatedScale | None = None
    region: BoxPx | None = None
    specimen: str = ""
    range_tiles: int = RANGE_TILES
    calibrations: Calibrations | None = None
    contrast_confirmed: str = ""
    """The operator's reason why an image that looks inverted is none."""


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An admitted image with its plan and its intensity window."""

    admitted: AdmittedImage
    plan: TilePlan
    window: Window
    burnt_in: tuple[BoxPx, ...] = ()
    """Text and bars that somebody drew over the specimen (level-0 pixels)."""


@dataclass(frozen=True, slots=True)
class PreparedSlide:
    """Everything that a read of this slide depends on, fixed before the first tile is scored."""

    address: SlideAddress
    digest: SlideDigest
    format: str
    images: tuple[PreparedImage, ...]
    model: ModelFolder
    request: ReadRequest
    out_of_scope: tuple[OutOfScopeImage, ...] = ()
    identity: Identity = NOTHING_FOUND
    looks: tuple[Look, ...] = ()
    """What is burnt into each image of the slide, in order."""

    @property
    def tiles(self) -> int:
        return sum(len(image.plan) for image in self.images)


def prepare_slide(
    address: SlideAddress,
    model: ModelFolder,
    request: ReadRequest,
    filed: SlideDigest | None = None,
    identity: Identity | IdentityStatement = STRIP_BY_DEFAULT,
    looks: Sequence[Look] = (),
    start_looking: StartLooking = lambda images: lambda done: None,
    open_one: OpenSlide = open_slide,
) -> PreparedSlide:
    """Open, admit and plan. Raises the InputRefused that applies; nothing is written.

    `filed` is the digest taken at filing; without it the files are digested here, those of an object store
    before anything of them counts: what is fetched later is held against that. `identity` is what was found
    at filing, or the policy under which it is looked for here. `looks` were made at filing, one an
    image; without them they are made here, and `start_looking` is told of it.
    """
    address = stamped(address)
    if filed is None and any(is_remote(file.location) for file in address.files):
        with open_one(address):
            pass  # what is no image is refused before all of it is fetched
        filed, address = digest_in_blocks(address)
    with open_one(address) as slide:
        seen = tuple(looks) or look_at_all(slide, start_looking(len(slide.info.images)))
        held = _held(slide, address, seen, identity)
        others = other_scales(seen, request.calibrations)
        admitted = admit(slide, model.demands, request.stated_scale, request.region, others)
        images = tuple(
            replace(_prepare_image(slide, image, model, request), burnt_in=seen[image.info.index].boxes)
            for image in admitted.images
        )
        digest = filed or digest_slide(address)
        return PreparedSlide(
            address, digest, slide.info.format, images, model, request, admitted.out_of_scope, held, seen
        )


def binding(prepared: PreparedSlide) -> dict[str, Any]:
    """What checkpoints are bound to; of a slide that was damaged and put back meanwhile, no range is kept."""
    stamps = json.dumps([file.stamp and astuple(file.stamp) for file in prepared.address.files])
    return {
        "slide_sha256": prepared.digest.sha256,
        STAMPS: hashlib.sha256(stamps.encode()).hexdigest(),
        "onnx_sha256": prepared.model.onnx_sha256,
        "card_sha256": prepared.model.card_sha256,
        "images": [{**asdict(image.plan), **asdict(image.window)} for image in prepared.images],
    }


def score_slide(
    prepared: PreparedSlide,
    store: RangeStore,
    score_ranges: ScoreRanges,
    note: Callable[[int], None],
    keep: KeepRange = lambda scores, sha256: None,
) -> None:
    """Score every range that the store does not hold yet; `note` hears the tiles of each, old and new.

    Before that, `keep` hears of each new one.
    """
    for image in prepared.images:
        for number in range(image.plan.ranges):
            if store.has(image.plan.image, number):
                first, after = image.plan.range_bounds(number)
                note(after - first)
    for scores in score_ranges(_missing_ranges(prepared, store)):
        with full_storage_coded("a checkpoint"):
            sha256 = store.save(scores)
        keep(scores, sha256)
        note(len(scores.status))


def tally_image(
    prepared: PreparedSlide,
    image: PreparedImage,
    store: RangeStore,
    sinks: Iterable[RangeSink] = (),
    quality: ImageQuality | None = None,
) -> TalliedImage:
    """Add up the ranges of one image, in plan order; each of `sinks` sees them in the same single pass.

    What `quality` masks counts for no finding that it suppresses.
    Raises TooManyFailedTiles above the card's limit.
    """
    card = prepared.model.card
    tally = ImageTally(image.plan, card, quality)
    for number in range(image.plan.ranges):
        scores, tiles = store.load(image.plan.image, number), planned_tiles(image.plan, number)
        for sink in (tally.add, *sinks):
            sink(scores, tiles)
    _refuse_if_too_damaged(tally.counts, card.max_failed_fraction)
    return tally.done(prepared.digest.sha256, image.admitted.scale)


def confirm_digest(prepared: PreparedSlide) -> None:
    """Raise InputChanged if the slide is another, or was another meanwhile: nothing is published then."""
    is_another = digest_slide(prepared.address).sha256 != prepared.digest.sha256
    if is_another or stamped(prepared.address) != prepared.address:
        raise InputChanged("the slide changed while it was read")


def _held(
    slide: Slide, address: SlideAddress, looks: Sequence[Look], identity: Identity | IdentityStatement
) -> Identity:
    if isinstance(identity, Identity):
        return identity
    return under(find_identity(slide.info, names_of(address), looks), identity)


def _refuse_if_too_damaged(counts: TileCounts, max_failed_fraction: float) -> None:
    if not counts.complete:
        raise InputChanged(f"{counts} do not add up")
    if counts.failed > max_failed_fraction * counts.planned:
        raise TooManyFailedTiles(
            f"{counts.failed} of {counts.planned} tiles cannot be decoded; "
            f"{100 * max_failed_fraction:g} % are allowed"
        )


def refuse_inverted(slide: Slide, admitted: AdmittedImage, model: ModelFolder, confirmed: str) -> None:
    """Raise NegativeImage where an image looks like a negative, and nobody `confirmed` that it is none."""
    plan = _plan(admitted, model.card, RANGE_TILES)
    _refuse_inverted(list(_first_tiles(slide, plan, SAMPLE_TILES)), admitted, confirmed)


def _prepare_image(
    slide: Slide, admitted: AdmittedImage, model: ModelFolder, request: ReadRequest
) -> PreparedImage:
    plan, rule = _plan(admitted, model.card, request.range_tiles), model.card.normalisation
    first: list[NDArray[np.float32]] = []
    if isinstance(rule, FullRange):
        window = full_range_window(admitted.info.bit_depth)
        first += _first_tiles(slide, plan, SAMPLE_TILES)
    else:
        once = replace(plan, margin_px=0)  # margins would count the same pixels twice
        window = measure_window(_kept(_first_tiles(slide, once, rule.sample_tiles), first))
    _refuse_inverted(first, admitted, request.contrast_confirmed)
    return PreparedImage(admitted, plan, window)


def _plan(admitted: AdmittedImage, card: ModelCard, range_tiles: int) -> TilePlan:
    return TilePlan(
        image=admitted.info.index,
        region=admitted.region,
        zoom=admitted.zoom,
        tile_px=card.core_px,
        range_tiles=range_tiles,
        margin_px=card.margin_px,
    )


def _first_tiles(slide: Slide, plan: TilePlan, count: int) -> Iterator[NDArray[np.float32]]:
    """The first tiles with structure, coarse to fine: they are spread over the whole image."""
    reader = TileReader(slide, plan)
    with ThreadPoolExecutor(1) as pool:
        tiles = stream(reader, plan.tiles(), pool, ahead=4)
        usable = (tile.grey for tile in tiles if tile.grey is not None and not tile.is_blank)
        yield from islice(usable, count)


def _kept(
    tiles: Iterable[NDArray[np.float32]], first: list[NDArray[np.float32]]
) -> Iterator[NDArray[np.float32]]:
    """The tiles as they come; `first` keeps those that contrast is judged by."""
    for tile in tiles:
        if len(first) < SAMPLE_TILES:
            first.append(tile)
        yield tile


def _refuse_inverted(tiles: list[NDArray[np.float32]], admitted: AdmittedImage, confirmed: str) -> None:
    """A negative would be read as its opposite; one that only looks so may be confirmed with a reason."""
    if not confirmed and contrast_of(tiles).is_inverted:
        raise NegativeImage(f"image {admitted.info.index} looks like a negative")


def _missing_ranges(prepared: PreparedSlide, store: RangeStore) -> Iterator[RangeTask]:
    for image in prepared.images:
        for number in range(image.plan.ranges):
            if not store.has(image.plan.image, number):
                yield RangeTask(prepared.address, image.plan, image.window, number)
