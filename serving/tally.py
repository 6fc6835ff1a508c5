"""Running sums over tiles, bounded in size: what a slide of any length needs for its findings.

Tile probabilities are kept as histograms weighted by area, so that a score over the highest tiles, and its
bootstrap, cost the same for 16 tiles as for millions.
"""

import heapq
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.quality.assess import ArtefactNote, ImageQuality
from ultraread.datasets.quality.sketch import cells_of
from ultraread.datasets.scale import Scale
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.models.card import ModelCard
from ultraread.serving.findings import MAX_EVIDENCE
from ultraread.serving.score_tiles import BLANK, FAILED, SCORED, RangeScores, quality_side

BINS = 1024
MAX_GROUPS = 64
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over tiles for each of G resampled groups and C classes, in model pixels.

    area (G, C): area of scored tiles that no artefact takes from the class; structure (G, C): what the class
    covers of it; weight (G, C, BINS): area of tiles by their probability; weighted: times the probability.
    """

    area: Floats
    structure: Floats
    weight: Floats
    weighted: Floats

    def total(self) -> "Sums":
        """All groups as one."""
        return Sums(*(part.sum(axis=0, keepdims=True) for part in self.parts()))

    def parts(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.area, self.structure, self.weight, self.weighted


def empty_sums(classes: int) -> Sums:
    """Sums of no group."""
    of_bins = np.zeros((0, classes, BINS))
    return Sums(np.zeros((0, classes)), np.zeros((0, classes)), of_bins, of_bins)


def stack(sums: list[Sums]) -> Sums:
    """Groups of all, side by side."""
    return Sums(*(np.concatenate(parts) for parts in zip(*(each.parts() for each in sums), strict=True)))


@dataclass(frozen=True, slots=True)
class TileCounts:
    """Tiles planned = scored + blank + failed; checked before any result is called complete.

    `strange` are those of the scored that look unlike the model's training data.
    """

    planned: int = 0
    scored: int = 0
    blank: int = 0
    failed: int = 0
    strange: int = 0

    def __add__(self, other: "TileCounts") -> "TileCounts":
        return TileCounts(
            self.planned + other.planned,
            self.scored + other.scored,
            self.blank + other.blank,
            self.failed + other.failed,
            self.strange + other.strange,
        )

    @property
    def complete(self) -> bool:
        return self.planned == self.scored + self.blank + self.failed


@dataclass(frozen=True, slots=True, order=True)
class Witness:
    """A tile that speaks for a class; sorts by score, earlier places of the plan first among equals."""

    score: float
    minus_place: int
    image: int
    box: BoxPx = field(compare=False)


@dataclass(frozen=True, slots=True)
class TalliedImage:
    """One image after all its ranges: what findings of a slide or a case are made of.

    `scored_px` is the area of scored tiles in model pixels, with what artefacts take from a class. `notes`
    are the artefacts that were found, `picture` (256, 256) tells the image from others.
    """

    slide_sha256: str
    image: int
    scale: Scale
    counts: TileCounts
    sums: Sums
    witnesses: tuple[tuple[Witness, ...], ...]
    scored_px: float
    notes: tuple[ArtefactNote, ...] = ()
    picture: NDArray[np.uint8] | None = None

    def condensed(self) -> "TalliedImage":
        """The same with its groups added up: enough for a case, and a sixty-fourth of the memory."""
        return replace(self, sums=self.sums.total())


class ImageTally:
    """Adds up the ranges of one image, in plan order, less the area of artefacts.

    A tile counts for the score of a class while at least half of it is left, and is evidence only untouched.
    """

    def __init__(self, plan: TilePlan, card: ModelCard, quality: ImageQuality | None = None) -> None:
        self._plan = plan
        self._quality = quality
        self._side = quality_side(card)
        self._codes = [one.code for one in card.classes]
        self._masks = [quality.suppressing(code) if quality else None for code in self._codes]
        self._scored_px = 0.0
        self._patch_map = card.outputs.patch_map
        self._strange_above = card.out_of_domain.threshold if card.out_of_domain else np.inf
        self._groups = min(MAX_GROUPS, len(plan))
        classes = len(card.classes)
        self._area = np.zeros((self._groups, classes))
        self._structure = np.zeros((self._groups, classes))
        self._weight = np.zeros((self._groups, classes, BINS))
        self._weighted = np.zeros((self._groups, classes, BINS))
        self._witnesses: list[list[Witness]] = [[] for _ in range(classes)]
        self.counts = TileCounts(planned=len(plan))

    def add(self, scores: RangeScores, tiles: list[PlannedTile]) -> None:
        """Add one range: each scored tile counts with its area inside the image."""
        scored, blank, failed = (int((scores.status == status).sum()) for status in (SCORED, BLANK, FAILED))
        self.counts += TileCounts(0, scored, blank, failed, self._strange_tiles(scores))
        for row, tile in enumerate(tiles):
            if scores.status[row] == SCORED:
                patches = None if scores.patch_maps is None else scores.patch_maps[row]
                self._add_tile(tile, scores.probabilities[row], patches)

    def done(self, slide_sha256: str, scale: Scale) -> TalliedImage:
        """At most MAX_EVIDENCE witnesses a class, best first."""
        sums = Sums(self._area, self._structure, self._weight, self._weighted)
        best = tuple(tuple(sorted(heap, reverse=True)) for heap in self._witnesses)
        return TalliedImage(
            slide_sha256,
            self._plan.image,
            scale,
            self.counts,
            sums,
            best,
            self._scored_px,
            self._quality.notes(self._codes) if self._quality else (),
            self._quality.picture if self._quality else None,
        )

    def _strange_tiles(self, scores: RangeScores) -> int:
        if scores.strangeness is None:
            return 0
        return int((scores.strangeness[scores.status == SCORED] > self._strange_above).sum())

    def _add_tile(
        self, tile: PlannedTile, probabilities: NDArray[np.float32], patches: NDArray[np.float16] | None
    ) -> None:
        group = tile.index * self._groups // len(self._plan)
        area = float(tile.model_box.area_px)
        exact = probabilities.astype(np.float64)
        bins = np.minimum((exact * BINS).astype(np.int64), BINS - 1)
        self._scored_px += area
        inside = patch_areas(tile.model_box, self._plan.tile_px // self._side, self._side)
        left = [inside if mask is None else inside * ~self._part(mask, tile) for mask in self._masks]
        for index, (probability, place) in enumerate(zip(exact, bins, strict=True)):
            left_px = float(left[index].sum())
            self._area[group, index] += left_px
            if left_px < area / 2:
                continue
            self._weight[group, index, place] += left_px
            self._weighted[group, index, place] += left_px * probability
            if left_px == area:
                witness = Witness(float(probability), -tile.index, self._plan.image, tile.box)
                _keep_best(self._witnesses[index], witness)
        if patches is not None and self._patch_map is not None:
            self._structure[group] += (patches.astype(np.float64) * np.stack(left)).sum(axis=(1, 2))

    def _part(self, mask: NDArray[np.bool_], tile: PlannedTile) -> NDArray[np.bool_]:
        """(side, side) of a mask by cells: what it says of each patch of the tile, also beyond the image."""
        cells, patch_px = cells_of(self._plan, self._side), self._plan.tile_px // self._side
        starts = patch_px * np.arange(self._side)
        rows = np.minimum((tile.model_box.y + starts) // cells.cell_px, cells.rows - 1)
        columns = np.minimum((tile.model_box.x + starts) // cells.cell_px, cells.columns - 1)
        return np.asarray(mask[np.ix_(rows, columns)])


def patch_areas(model_box: BoxPx, patch_px: int, side: int) -> Floats:
    """(side, side): model pixels of each patch that lie inside the image; padding counts nothing."""
    starts = patch_px * np.arange(side)
    across = np.clip(model_box.width - starts, 0, patch_px)
    down = np.clip(model_box.height - starts, 0, patch_px)
    return np.multiply.outer(down, across).astype(np.float64)


def _keep_best(heap: list[Witness], witness: Witness) -> None:
    if len(heap) < MAX_EVIDENCE:
        heapq.heappush(heap, witness)
    elif witness > heap[0]:
        heapq.heapreplace(heap, witness)
