"""Score one range of a plan where the slide lies: decode in processes, classify, hand back numbers only."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.quality.tile_look import (
    SPECTRUM_TILES,
    StoredRange,
    TileLooks,
    empty_looks,
    look_at_tile,
    look_closely,
    patch_side,
    stored_range,
)
from ultraread.datasets.slide_address import SlideAddress
from ultraread.datasets.tile_plan import PlannedTile, TilePlan
from ultraread.datasets.tile_stream import TilePixels, block_means, stream
from ultraread.errors import CheckpointDamaged
from ultraread.models.card import ModelCard
from ultraread.models.classifier import Scores
from ultraread.models.preprocess import Window, for_showing, normalise, window_to_show
from ultraread.serving.decoding.bounded_slide import BoundedTiles, Ring
from ultraread.serving.decoding.pool import DecodingPool

log = logging.getLogger(__name__)

SCORED, BLANK, FAILED = np.uint8(0), np.uint8(1), np.uint8(2)
PICTURE_PX = 1024
"""Longest side of a picture of a slide; it is made of block means that are taken while scoring."""


class Classifier(Protocol):
    """What scores a batch."""

    card: ModelCard

    def __call__(self, tiles: NDArray[np.float32]) -> Scores: ...


@dataclass(frozen=True, slots=True)
class RangeTask:
    """Range `number` of the plan of one image: only coordinates travel to where it is scored."""

    slide: SlideAddress
    plan: TilePlan
    window: Window
    number: int


@dataclass(frozen=True, slots=True)
class RangeScores:
    """What one range gave, in plan order.

    status (N,) uint8 (SCORED, BLANK, FAILED); probabilities (N, C) float32; patch_maps (N, C, h, w) float16
    or None; thumbnails (N, t, t) uint8; strangeness (N,) float32, the model's out-of-domain score, or None;
    looks: what quality control keeps of each tile.
    Rows of tiles that were not scored are zero. `failures` says why, by place in the plan; `scored_by` is the
    process id.
    """

    image: int
    number: int
    status: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    patch_maps: NDArray[np.float16] | None
    thumbnails: NDArray[np.uint8]
    failures: dict[int, str]
    scored_by: int
    strangeness: NDArray[np.float32] | None = None
    looks: TileLooks | None = None


class RangeScorer:
    """Scores ranges with one classifier; the slide of the last range stays open for the next one.

    Each of `decoders` threads has a process to decode in. Their pixels lie in a ring of shared memory, which
    holds what is read ahead and is used again and again.
    """

    def __init__(self, classify: Classifier, decoders: int = 1, decoding: DecodingPool | None = None) -> None:
        self._classify = classify
        self._decoders = decoders
        self._decoding = decoding or DecodingPool()
        self._end_decoding = self._decoding.close if decoding is None else lambda: None
        self._threads = ThreadPoolExecutor(decoders, thread_name_prefix="decode")
        self._ahead = 2 * classify.card.batch_size
        self._ring = Ring(self._ahead + 1, classify.card.tile_px)
        self._address: SlideAddress | None = None
        self._tiles: BoundedTiles | None = None

    def __call__(self, task: RangeTask) -> RangeScores:
        """Raises NonFinitePixels and ModelOutputInvalid; tiles that cannot be decoded are named instead.

        Raises DecodeTimeout or DecodeCrash where more tiles end so than the card allows to fail.
        """
        read_tile = self._open(task.slide)
        card, tiles = self._classify.card, planned_tiles(task.plan, task.number)
        depth = read_tile.info.images[task.plan.image].bit_depth
        of = stored_range(task.window.mean, task.window.std, depth)
        collected = _Collected(task, len(tiles), card, of)
        most_failed = int(card.max_failed_fraction * len(task.plan))

        def read(numbered: tuple[int, PlannedTile]) -> TilePixels:
            place, tile = numbered
            pixels = read_tile(task.plan, tile, place, most_failed)
            collected.look(place, pixels)
            return pixels

        for place, pixels in enumerate(stream(read, enumerate(tiles), self._threads, self._ahead)):
            collected.note(place, pixels)
            if pixels.grey is not None and not pixels.is_blank:
                collected.gather(place, pixels.grey)
            if collected.gathered == card.batch_size:
                collected.score(self._classify)
        collected.score(self._classify)
        return collected.done()

    def close(self) -> None:
        """Close the slide, end the decoding threads and their processes."""
        self._threads.shutdown(cancel_futures=True)
        if self._tiles is not None:
            self._tiles.close()
        self._end_decoding()
        self._ring.close()

    def _open(self, address: SlideAddress) -> BoundedTiles:
        if self._tiles is not None and address == self._address:
            return self._tiles
        if self._tiles is not None:
            self._tiles.close()
        self._address = self._tiles = None  # what is closed must not be found again if the next does not open
        self._tiles = self._decoding.tiles(address, self._ring, self._decoders)
        self._address = address
        return self._tiles


class _Collected:
    """The arrays of one range while they fill."""

    def __init__(self, task: RangeTask, tiles: int, card: ModelCard, of: StoredRange) -> None:
        self._task = task
        self._of = of
        self._patch_side = quality_side(card)
        closely = min(max(0, SPECTRUM_TILES - task.plan.range_bounds(task.number)[0]), tiles)
        self._looks = empty_looks(tiles, self._patch_side, closely)
        self._clip = card.normalisation.clip
        self._shown_window = window_to_show(task.window, card.normalisation)
        classes, patch_map = len(card.classes), card.outputs.patch_map
        side = card.core_px // patch_map.stride_px if patch_map else 0
        self._shown_stride = picture_stride(task.plan)
        shown = card.core_px // self._shown_stride
        self._status = np.full(tiles, SCORED, np.uint8)
        self._probabilities = np.zeros((tiles, classes), np.float32)
        self._patch_maps = np.zeros((tiles, classes, side, side), np.float16) if patch_map else None
        self._thumbnails = np.zeros((tiles, shown, shown), np.uint8)
        self._strangeness = np.zeros(tiles, np.float32) if card.outputs.out_of_domain else None
        self._failures: dict[int, str] = {}
        seen = task.plan.seen_px
        self._batch = np.empty((card.batch_size, seen, seen), np.float32)
        self._places: list[int] = []

    @property
    def gathered(self) -> int:
        """Tiles that wait to be scored."""
        return len(self._places)

    def look(self, place: int, pixels: TilePixels) -> None:
        """Fill this tile's row of the looks; threads fill rows of their own."""
        if pixels.grey is None:
            return
        core = self._core(pixels.grey)
        look_at_tile(self._looks, place, core, self._patch_side, self._of)
        if place < len(self._looks.spectra) and pixels.grid is not None and not pixels.is_blank:
            look_closely(self._looks, place, core, pixels.grid)

    def note(self, place: int, pixels: TilePixels) -> None:
        if pixels.grey is None:
            self._status[place] = FAILED
            self._failures[pixels.tile.index] = pixels.failure
            return
        if pixels.is_blank:
            self._status[place] = BLANK
        means = block_means(self._core(pixels.grey), self._shown_stride)
        self._thumbnails[place] = for_showing(means, self._shown_window)

    def _core(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        margin, side = self._task.plan.margin_px, self._task.plan.tile_px
        return grey[margin : margin + side, margin : margin + side]

    def gather(self, place: int, grey: NDArray[np.float32]) -> None:
        """Copy a tile into the batch: its place in the ring is another tile's soon."""
        self._batch[len(self._places)] = grey
        self._places.append(place)

    def score(self, classify: Classifier) -> None:
        """Classify what was gathered, if anything was."""
        if not self._places:
            return
        places, self._places = self._places, []
        scores = classify(normalise(self._batch[: len(places)], self._task.window, self._clip))
        self._probabilities[places] = scores.probabilities
        if self._patch_maps is not None and scores.patch_map is not None:
            self._patch_maps[places] = scores.patch_map
        if self._strangeness is not None and scores.out_of_domain is not None:
            self._strangeness[places] = scores.out_of_domain

    def done(self) -> RangeScores:
        return RangeScores(
            self._task.plan.image,
            self._task.number,
            self._status,
            self._probabilities,
            self._patch_maps,
            self._thumbnails,
            self._failures,
            os.getpid(),
            self._strangeness,
            self._looks,
        )


class RangeStore:
    """Checkpoints: one file a range, whole or absent, so that an interrupted read goes on from here.

    With `digests` (image and number of a range to the sha256 of its file), only files that they name count.
    """

    def __init__(self, folder: Path, digests: Mapping[tuple[int, int], str] | None = None) -> None:
        self._folder = folder
        self._digests = None if digests is None else dict(digests)
        self._confirmed: set[tuple[int, int]] = set()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def digests(self) -> dict[tuple[int, int], str]:
        """Of all ranges that were given or saved."""
        return dict(self._digests or {})

    def save(self, scores: RangeScores) -> str:
        """Write, fsync, rename; return the sha256. Two threads may save the same range at once."""
        arrays: dict[str, Any] = {
            "status": scores.status,
            "probabilities": scores.probabilities,
            "thumbnails": scores.thumbnails,
        }
        optional = {"patch_maps": scores.patch_maps, "strangeness": scores.strangeness}
        arrays |= {name: array for name, array in optional.items() if array is not None}
        if scores.looks is not None:
            arrays |= {f"look_{name}": array for name, array in scores.looks.arrays().items()}
        told = json.dumps({"failures": scores.failures, "scored_by": scores.scored_by})
        packed = BytesIO()
        np.savez(packed, told=np.array(told), **arrays)
        data = packed.getbuffer()
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._path(scores.image, scores.number)
        unfinished = path.with_suffix(f".{uuid4().hex}.tmp")
        try:
            with unfinished.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)  # on a full disk, retries must not pile up
        self._note(scores.image, scores.number, sha256)
        return sha256

    def has(self, image: int, number: int) -> bool:
        """Whether the range is there; one whose bytes are not those that were written is not."""
        if self._digests is None or (image, number) in self._confirmed:
            return self._path(image, number).is_file()
        return self._is_whole(image, number)

    def refuse_damaged(self) -> None:
        """Raise CheckpointDamaged where a file changed since it was written, or is gone."""
        for image, number in self._digests or ():
            if not self._is_whole(image, number):
                raise CheckpointDamaged(f"range {number} of image {image} is not as it was written")

    def _is_whole(self, image: int, number: int) -> bool:
        path, stated = self._path(image, number), (self._digests or {}).get((image, number))
        if stated is None or not path.is_file():
            return False
        if hashlib.sha256(path.read_bytes()).hexdigest() != stated:
            log.warning("checkpoint %s is not as it was written: its range is scored again", path)
            return False
        self._confirmed.add((image, number))
        return True

    def _note(self, image: int, number: int, sha256: str) -> None:
        if self._digests is not None:
            self._digests[image, number] = sha256
            self._confirmed.add((image, number))

    def load(self, image: int, number: int) -> RangeScores:
        with np.load(self._path(image, number), allow_pickle=False) as arrays:
            told = json.loads(str(arrays["told"]))
            return RangeScores(
                image,
                number,
                arrays["status"],
                arrays["probabilities"],
                arrays.get("patch_maps"),
                arrays["thumbnails"],
                {int(index): reason for index, reason in told["failures"].items()},
                int(told["scored_by"]),
                arrays.get("strangeness"),
                _looks_in(arrays),
            )

    def load_looks(self, image: int, number: int) -> tuple[TileLooks | None, NDArray[np.uint8]]:
        """Looks and thumbnails of a range alone: the rest stays on disk."""
        with np.load(self._path(image, number), allow_pickle=False) as arrays:
            return _looks_in(arrays), arrays["thumbnails"]

    def _path(self, image: int, number: int) -> Path:
        return self._folder / f"{image:05d}-{number:07d}.npz"


ScoreRanges = Callable[[Iterable[RangeTask]], Iterable[RangeScores]]
"""Scores tasks and yields what is done, in any order: in this process, or spread over replicas."""

KeepRange = Callable[[RangeScores, str], None]
"""Hears of a range whose file is durable, with the file's sha256."""

RangeSink = Callable[[RangeScores, list[PlannedTile]], None]
"""Sees each range with its tiles once, in plan order: a tally, a table, a picture, a map."""


def quality_side(card: ModelCard) -> int:
    """Patches a side that quality control cuts a tile into: those of the patch map, where there is one."""
    patch_map = card.outputs.patch_map
    return card.core_px // patch_map.stride_px if patch_map else patch_side(card.core_px)


def _looks_in(arrays: Any) -> TileLooks | None:  # noqa: ANN401  # numpy names no public type for its archives
    names = [each.name for each in fields(TileLooks)]
    if f"look_{names[0]}" not in arrays:
        return None
    return TileLooks(**{name: arrays[f"look_{name}"] for name in names})


def picture_stride(plan: TilePlan) -> int:
    """Model pixels a picture pixel: the smallest divisor of the tile that keeps within PICTURE_PX."""
    longest = max(plan.size.width, plan.size.height)
    divisors = (stride for stride in range(1, plan.tile_px + 1) if plan.tile_px % stride == 0)
    return next((stride for stride in divisors if longest <= PICTURE_PX * stride), plan.tile_px)


def planned_tiles(plan: TilePlan, number: int) -> list[PlannedTile]:
    """The tiles of range `number`, in plan order: row n of its RangeScores belongs to tile n."""
    return list(plan.tiles(*plan.range_bounds(number)))
