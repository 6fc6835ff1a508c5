"""Scores of ranges made by hand, through the real plan and tally: for tests of what is made of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tiny_model import STRIDE_PX, tiny_card

from ultraread.datasets.geometry import BoxPx, NmPerPx
from ultraread.datasets.scale import Scale, ScaleOrigin
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.models.card import ModelCard
from ultraread.serving.read_slide import PreparedSlide
from ultraread.serving.score_tiles import SCORED, RangeScores, RangeStore, planned_tiles
from ultraread.serving.tally import ImageTally, TalliedImage

CARD = ModelCard.model_validate(tiny_card())
SIDE = CARD.tile_px // STRIDE_PX
Scores = Callable[[PlannedTile], tuple[float, float]]
Patches = Callable[[PlannedTile], NDArray[np.float16]]


@dataclass(frozen=True, slots=True)
class Read:
    """A read that has ended: what it wrote, and what it was made of."""

    folder: Path
    prepared: PreparedSlide
    store: RangeStore


def plan_of(width_px: int, height_px: int, range_tiles: int = 128, zoom: float = 1.0) -> TilePlan:
    return TilePlan(0, BoxPx(0, 0, width_px, height_px), zoom, CARD.tile_px, range_tiles)


def even_patches(tile: PlannedTile) -> NDArray[np.float16]:
    """(2, side, side): a quarter of each patch is `bright`, half of it `dark`; padding too."""
    return np.stack([np.full((SIDE, SIDE), share, np.float16) for share in (0.25, 0.5)])


def made_by_hand(
    plan: TilePlan,
    scores: Scores = lambda tile: (0.5, 0.5),
    patches: Patches = even_patches,
    status: Callable[[PlannedTile], np.uint8] = lambda tile: SCORED,
) -> Iterator[tuple[RangeScores, list[PlannedTile]]]:
    """Every range of a plan with its tiles, as a sink sees them."""
    for number in range(plan.ranges):
        tiles = planned_tiles(plan, number)
        yield (
            RangeScores(
                image=plan.image,
                number=number,
                status=np.array([status(tile) for tile in tiles], np.uint8),
                probabilities=np.array([scores(tile) for tile in tiles], np.float32),
                patch_maps=np.array([patches(tile) for tile in tiles], np.float16),
                thumbnails=np.zeros((len(tiles), CARD.tile_px, CARD.tile_px), np.uint8),
                failures={},
                scored_by=1,
            ),
            tiles,
        )


def tallied(
    plan: TilePlan,
    scores: Scores = lambda tile: (0.5, 0.5),
    patches: Patches = even_patches,
    status: Callable[[PlannedTile], np.uint8] = lambda tile: SCORED,
    tolerance: float = 0.05,
    slide_sha256: str = "a" * 64,
) -> TalliedImage:
    """One image after all its ranges."""
    tally = ImageTally(plan, CARD)
    for ranges, tiles in made_by_hand(plan, scores, patches, status):
        tally.add(ranges, tiles)
    return tally.done(slide_sha256, Scale(NmPerPx(4.6), ScaleOrigin.OPERATOR, tolerance, "a test"))
