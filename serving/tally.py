"""Running sums over tiles, bounded in size: what a slide of any length needs for its findings.

Tile probabilities are kept as histograms weighted by area, so that a score over the highest tiles, and its
bootstrap, cost the same for 16 tiles as for millions.
"""

import heapq
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.scale import Scale
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.models.card import ModelCard, PatchMap
from ultraread.serving.findings import MAX_EVIDENCE
from ultraread.serving.score_tiles import BLANK, FAILED, SCORED, RangeScores

BINS = 1024
MAX_GROUPS = 64
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over tiles for each of G resampled groups and C classes, in model pixels.

    area (G,): valid area of scored tiles; structure (G, C): area covered by the class;
    weight (G, C, BINS): area of tiles by their probability; weighted: the same times the probability.
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
    return Sums(np.zeros(0), np.zeros((0, classes)), of_bins, of_bins)


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
    """One image after all its ranges: what findings of a slide or a case are made of."""

    slide_sha256: str
    image: int
    scale: Scale
    counts: TileCounts
    sums: Sums
    witnesses: tuple[tuple[Witness, ...], ...]

    def condensed(self) -> "TalliedImage":
        """The same with its groups added up: enough for a case, and a sixty-fourth of the memory."""
        return replace(self, sums=self.sums.total())


class ImageTally:
    """Adds up the ranges of one image, in plan order."""

    def __init__(self, plan: TilePlan, card: ModelCard) -> None:
        self._plan = plan
        self._patch_map = card.outputs.patch_map
        self._strange_above = card.out_of_domain.threshold if card.out_of_domain else np.inf
        self._groups = min(MAX_GROUPS, len(plan))
        classes = len(card.classes)
        self._area = np.zeros(self._groups)
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
        return TalliedImage(slide_sha256, self._plan.image, scale, self.counts, sums, best)

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
        self._area[group] += area
        for index, (probability, place) in enumerate(zip(exact, bins, strict=True)):
            self._weight[group, index, place] += area
            self._weighted[group, index, place] += area * probability
            witness = Witness(float(probability), -tile.index, self._plan.image, tile.box)
            _keep_best(self._witnesses[index], witness)
        if patches is not None and self._patch_map is not None:
            inside = patch_areas(tile.model_box, self._patch_map, patches.shape[-1])
            self._structure[group] += (patches.astype(np.float64) * inside).sum(axis=(1, 2))


def patch_areas(model_box: BoxPx, patch_map: PatchMap, side: int) -> Floats:
    """(side, side): model pixels of each patch that lie inside the image; padding counts nothing."""
    starts = patch_map.stride_px * np.arange(side)
    across = np.clip(model_box.width - starts, 0, patch_map.stride_px)
    down = np.clip(model_box.height - starts, 0, patch_map.stride_px)
    return np.multiply.outer(down, across).astype(np.float64)


def _keep_best(heap: list[Witness], witness: Witness) -> None:
    if len(heap) < MAX_EVIDENCE:
        heapq.heappush(heap, witness)
    elif witness > heap[0]:
        heapq.heapreplace(heap, witness)
