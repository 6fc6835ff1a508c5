"""Work through the queue: claim a read, score its slides over the replicas, conclude, finish once."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from structlog.contextvars import bound_contextvars

from ultraread.datasets.calibration import Calibrations
from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.identity.found import Identity
from ultraread.datasets.open_slide import OpenSlide, open_slide
from ultraread.datasets.scale import operator_scale
from ultraread.datasets.slide_address import SlideAddress
from ultraread.datasets.slide_digest import FileDigest, SlideDigest
from ultraread.errors import (
    DatabaseUnreachable,
    ModelOutputInvalid,
    ModelUnknown,
    ReadCancelled,
    ReadDeadlinePassed,
    StorageFull,
    StorageUnreachable,
    UltraReadError,
    Unavailable,
)
from ultraread.models.registry import ModelFolder
from ultraread.serving import metrics
from ultraread.serving.conclusion import ReadToConclude, SlideToConclude
from ultraread.serving.heartbeat import NOT_NOW, Heartbeat, Stopping, outlast
from ultraread.serving.live_models import ServedModel
from ultraread.serving.provenance import Stopwatch
from ultraread.serving.read_slide import ReadRequest, binding, prepare_slide, score_slide
from ultraread.serving.results.folder import clear
from ultraread.serving.score_tiles import RangeScores, RangeStore
from ultraread.serving.settings import Settings
from ultraread.serving.storage.durable import full_storage_coded
from ultraread.serving.storage.slide_store import open_slide_store
from ultraread.serving.store.calibrations import calibrations_of
from ultraread.serving.store.checkpoints import RangeDigests
from ultraread.serving.store.jobs import ClaimedRead, EndState, Jobs, LostLease, Progress, ReadResult
from ultraread.serving.store.looks import looks_of
from ultraread.serving.store.records import find_all, pinned_specimens
from ultraread.serving.store.tables import ReadRow, SlideRow

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
"""Between tries to write where there was no room; each is twice as long as the one before."""

Conclude = Callable[[ReadToConclude], tuple[EndState, ReadResult]]
"""Writes the result folders; returns the read's state and what MLflow shows of it."""

TakeModel = Callable[[str, str], ServedModel]
"""Name and version of a model to its live classifiers, started where they are not. Raises ModelRefused."""


@dataclass(frozen=True, slots=True)
class ReadRunner:
    """Runs one read at a time; several runners may share a store."""

    settings: Settings
    jobs: Jobs
    take_model: TakeModel
    conclude: Conclude
    owner: str
    open_one: OpenSlide = open_slide
    quarantine: Callable[[str, ModelOutputInvalid], None] = lambda _ref, _invalid: None
    """Hears of a version whose answers cannot be: nothing more is to be read with it."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Once it is set, no read is claimed, and the present one is given back after its range."""

    def run_next(self) -> bool:
        """Run the read whose turn it is; False where there is none."""
        if self.stop.is_set():
            return False
        for ended in self.jobs.sweep(self.owner):
            clear(self.settings.reads_dir / ended)
        claim = self.jobs.claim(self.owner)
        if claim is None:
            return False
        with bound_contextvars(read_id=claim.read.id):
            self._run(claim)
        return True

    def _run(self, claim: ClaimedRead) -> None:
        log.info("read %s claimed, attempt %d", claim.read.id, claim.read.attempts)
        if claim.epoch > 1:
            metrics.READS_TAKEN_OVER.add()
        try:
            with Heartbeat(self.jobs, claim, self.settings.heartbeat_s, self.stop) as heartbeat:
                self._work_through(claim, heartbeat)
        except LostLease:
            log.warning("read %s belongs to another runner now", claim.read.id)
        except Stopping:
            log.info("read %s given back", claim.read.id)
            self._hand_over(claim, self.jobs.release)
        except StorageFull as full:
            self._fail(claim, full)
        except (StorageUnreachable, DatabaseUnreachable) as outage:
            log.warning("read %s paused: %s", claim.read.id, outage.what)
            self._hand_over(claim, self.jobs.pause)
        except Unavailable as outage:  # the lease ends, and whoever can goes on; the attempt counts
            log.warning("read %s paused: %s", claim.read.id, outage.what)
        except UltraReadError as error:
            self._fail(claim, error)
        except Exception:
            log.exception("read %s failed", claim.read.id)
            self._fail(claim, UltraReadError("the read failed inside UltraRead", "See the service's log."))

    def _work_through(self, claim: ClaimedRead, heartbeat: Heartbeat) -> None:
        """Where there is no room, wait for some and go on from the last range: the read stays ours meanwhile.

        Raises StorageFull where there was none for `storage_patience_s`.
        """
        since, ranges_done, wait_s = time.monotonic(), 0, FIRST_WAIT_S
        while True:
            one = _OneRead(self, claim, heartbeat)
            try:
                with full_storage_coded("the read"):
                    return one.run()
            except StorageFull as full:
                if one.ranges_done > ranges_done:
                    since, ranges_done, wait_s = time.monotonic(), one.ranges_done, FIRST_WAIT_S
                if time.monotonic() - since >= self.settings.storage_patience_s:
                    raise
                log.warning("read %s waits for room: %s", claim.read.id, full.what)
                heartbeat.wait(wait_s)
                wait_s = min(LONGEST_WAIT_S, 2 * wait_s)

    def _hand_over(self, claim: ClaimedRead, how: Callable[[ClaimedRead], None]) -> None:
        """Without the database the lease ends by itself."""
        with suppress(LostLease, *NOT_NOW):
            outlast(lambda: how(claim), self.stop)

    def _fail(self, claim: ClaimedRead, error: UltraReadError) -> None:
        with suppress(LostLease, *NOT_NOW):
            outlast(lambda: self.jobs.fail(claim, error), self.stop)
            clear(self.settings.reads_dir / claim.read.id)


@dataclass(slots=True)
class _OneRead:
    """A claimed read on its way from slides to a finished row."""

    runner: ReadRunner
    claim: ClaimedRead
    heartbeat: Heartbeat
    clock: Stopwatch = field(default_factory=Stopwatch)
    digests: Mapping[str, RangeDigests] = field(default_factory=dict)
    """Of every slide the ranges that earlier owners scored."""
    tiles_total: int = 0
    tiles_done: int = 0
    ranges_done: int = 0

    def run(self) -> None:
        served = self._served()
        slides = self._prepare(served.model)
        self.clock.lap("prepare_s")
        prepared = {slide.slide_id: slide.prepared for slide in slides if slide.prepared}
        self.tiles_total = sum(slide.tiles for slide in prepared.values())
        bound = {slide_id: binding(slide) for slide_id, slide in prepared.items()}
        self._outlast(lambda: self.runner.jobs.bind(self.claim, bound))
        self.digests = self._outlast(lambda: self.runner.jobs.checkpoints_of(self.claim))
        scored = tuple(self._score(slide, served) for slide in slides)
        self.clock.lap("score_s")
        self.heartbeat.check()
        clear(self._result)  # of a try that there was no room to end
        state, result = self.runner.conclude(self._to_conclude(scored))
        try:
            self._outlast(lambda: self.runner.jobs.finish(self.claim, state, result))
        except LostLease:
            clear(self._result)
            raise
        self._clear_all_but_the_result()

    @property
    def _read(self) -> ReadRow:
        return self.claim.read

    @property
    def _work(self) -> Path:
        return self.runner.settings.reads_dir / self._read.id / "work"

    @property
    def _result(self) -> Path:
        return self.runner.settings.result_dir(self._read.id, self.claim.epoch)

    def _served(self) -> ServedModel:
        """Exactly the version that the read was asked with: name, version and digests."""
        served = self.runner.take_model(self._read.model_name, self._read.model_version)
        pinned = (self._read.model_onnx_sha256, self._read.model_card_sha256)
        if (served.model.onnx_sha256, served.model.card_sha256) != pinned:
            raise ModelUnknown(f"{served.model.card.ref} is not the model that the read was asked with")
        return served

    def _prepare(self, model: ModelFolder) -> list[SlideToConclude]:
        """Every slide of the read, in its order, prepared or with the error that it cannot be read for."""
        with self.runner.jobs.store.of_site(self._read.site).reading() as session:
            slides = find_all(session, SlideRow, self._read.slide_ids)
            specimens = pinned_specimens(session, self._read)
            calibrations = calibrations_of(session, self._read.request, self._read.site)
            slide_store = open_slide_store(self.runner.settings)
            addresses = [slide_store.address(session, slide) for slide in slides]
        request = request_of(self._read, specimens, calibrations, self.runner.settings.range_tiles)
        found = zip(slides, addresses, strict=True)
        return [self._prepare_one(slide, address, model, request) for slide, address in found]

    def _prepare_one(
        self, row: SlideRow, address: SlideAddress, model: ModelFolder, request: ReadRequest
    ) -> SlideToConclude:
        self.heartbeat.check()
        slide = SlideToConclude(row.id, row.sha256, self._work / row.id)
        digest = SlideDigest(row.sha256, tuple(FileDigest(**file) for file in row.files))
        try:
            identity = Identity.from_json(row.identity)
            prepared = prepare_slide(
                address, model, request, digest, identity, looks_of(row), open_one=self.runner.open_one
            )
            return replace(slide, prepared=prepared)
        except Unavailable:
            raise
        except UltraReadError as error:
            return replace(slide, error=error)

    def _score(self, slide: SlideToConclude, served: ServedModel) -> SlideToConclude:
        """Score a slide; one that turns out unreadable does not end a read of several."""
        if slide.prepared is None:
            return slide
        store = RangeStore(slide.ranges, self.digests.get(slide.slide_id, {}))
        keep = partial(self._keep, slide.slide_id)
        try:
            score_slide(slide.prepared, store, served.score_ranges, self._note, keep)
        except (ReadCancelled, ReadDeadlinePassed, Unavailable):
            raise
        except ModelOutputInvalid as invalid:
            self.runner.quarantine(served.model.card.ref, invalid)
            raise
        except UltraReadError as error:
            return replace(slide, error=error)
        return replace(slide, digests=store.digests)

    def _keep(self, slide_id: str, scores: RangeScores, sha256: str) -> None:
        """From now on the range counts."""
        tiles = len(scores.status)
        progress = Progress(self.tiles_total, self.tiles_done + tiles, self.ranges_done + 1)
        where = (slide_id, scores.image, scores.number)
        checkpointed = self.runner.jobs.checkpointed
        told = self._outlast(lambda: checkpointed(self.claim, *where, sha256, tiles, progress))
        self.heartbeat.heard(told)

    def _note(self, tiles: int) -> None:
        self.tiles_done += tiles
        self.ranges_done += 1
        self.heartbeat.check()

    def _outlast(self, write: Callable[[], T]) -> T:
        return outlast(write, self.runner.stop)

    def _to_conclude(self, slides: tuple[SlideToConclude, ...]) -> ReadToConclude:
        return ReadToConclude(
            read_id=self._read.id,
            slides=slides,
            folder=self._result,
            is_case=self._read.case_id is not None,
            told={"read_id": self._read.id, "case_id": self._read.case_id, "times": self.clock.told()},
        )

    def _clear_all_but_the_result(self) -> None:
        """Checkpoints, and what owners that lost their lease left behind."""
        for path in self._result.parent.iterdir():
            if path != self._result:
                clear(path)


def request_of(
    read: ReadRow, specimens: list[str], calibrations: Calibrations | None, range_tiles: int
) -> ReadRequest:
    """What the caller asked; a specimen counts where all records agree on it."""
    scale, region = read.request.get("scale"), read.request.get("region")
    return ReadRequest(
        stated_scale=operator_scale(scale["nm_per_px"], scale["reason"], scale["tolerance"])
        if scale
        else None,
        region=BoxPx(**region) if region else None,
        specimen=specimens[0] if len(set(specimens)) == 1 else "",
        range_tiles=range_tiles,
        calibrations=calibrations,
        contrast_confirmed=read.request.get("contrast_confirmed") or "",
    )
