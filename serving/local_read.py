"""Read slides in this process, one folder a slide; what is interrupted goes on with `resume`."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ultraread.datasets.identity.called import NamedSlide, name_slides, sha256_if_there
from ultraread.datasets.identity.policy import STRIP_BY_DEFAULT, IdentityStatement
from ultraread.datasets.open_slide import OpenSlide, open_slide
from ultraread.datasets.slide_address import SlideAddress, SlidePlace, address_of
from ultraread.errors import (
    InputChanged,
    InputRefused,
    IntegrityFailed,
    ModelRefused,
    OutputExists,
    SlideDuplicate,
    StorageFull,
    TooManyFailedTiles,
    UltraReadError,
)
from ultraread.models.registry import ModelFolder
from ultraread.serving.findings import CaseFindings, canonical_bytes
from ultraread.serving.out_folder import refuse_unwritable
from ultraread.serving.provenance import Stopwatch
from ultraread.serving.read_slide import (
    PreparedSlide,
    ReadRequest,
    binding,
    confirm_digest,
    prepare_slide,
    score_slide,
)
from ultraread.serving.results.case import CASE_FILE, FailedField, case_findings, write_case
from ultraread.serving.results.folder import (
    ConcludedSlide,
    clear,
    conclude_slide,
    concluded_before,
    finished_before,
    publish,
)
from ultraread.serving.score_tiles import RangeStore, ScoreRanges
from ultraread.serving.storage.durable import fsync, full_storage_coded, is_full

SHOWN_IMAGES = 10
"""So many are searched for burnt-in text in a second or two."""
StartBar = Callable[[str, int], Callable[[int], None]]
"""Called with a slide's name and its tiles; returns what is told of each range's tiles."""


@dataclass(frozen=True, slots=True)
class SlideOutcome:
    """How one slide of a batch ended: with a folder of results, or with an error."""

    slide: SlidePlace
    folder: Path
    called: str = ""
    """What messages call the slide: its file's name, or its folder's where that name identifies somebody."""
    concluded: ConcludedSlide | None = None
    error: UltraReadError | None = None
    tiles_planned: int = 0

    @property
    def exit_status(self) -> int:
        if self.error is not None:
            return self.error.exit_status
        return 4 if self.concluded and self.concluded.findings.state == "partial" else 0


@dataclass(frozen=True, slots=True)
class LocalReader:
    """Reads a batch: `out` gets one folder a slide, and case.json where the slides are fields of one case."""

    model: ModelFolder
    score_ranges: ScoreRanges
    out: Path
    request: ReadRequest
    resume: bool = False
    in_case: bool = False
    identity: IdentityStatement = STRIP_BY_DEFAULT
    start_bar: StartBar = field(default=lambda name, tiles: lambda done: None)
    open_one: OpenSlide = open_slide

    def read(self, slides: Sequence[SlidePlace]) -> Iterator[SlideOutcome]:
        """Yield each slide's outcome as it ends: one bad slide never ends a batch.

        Raises Unavailable and StorageFull where `out` cannot be written to. It is made when something is
        written into it.
        """
        refuse_unwritable(self.out)
        was_there = self.out.exists()
        tiles: dict[str, int] = {}
        for slide, named in zip(slides, name_slides(slides, self.identity, self.open_one), strict=True):
            outcome = SlideOutcome(slide, self.out / named.folder, named.called)
            try:
                outcome = replace(outcome, concluded=self._read_one(slide, named, tiles))
            except Exception as failure:  # the last net: no slide ends a batch
                is_extra = isinstance(failure, SlideDuplicate)  # its tiles are those of the first
                planned = 0 if is_extra else tiles.get(sha256_if_there(slide), 0)
                outcome = replace(outcome, error=_coded(failure), tiles_planned=planned)
            yield outcome
        if not was_there:
            _drop_if_empty(self.out)

    def conclude_case(self, outcomes: Sequence[SlideOutcome]) -> CaseFindings | None:
        """Write case.json over the slides that gave a result; None where none did."""
        concluded = [outcome.concluded for outcome in outcomes if outcome.concluded]
        if not concluded:
            return None
        failed = [
            FailedField(sha256_if_there(outcome.slide), outcome.error.code, outcome.tiles_planned)
            for outcome in outcomes
            if outcome.error
        ]
        case = case_findings(concluded, failed, self.model, self.request.specimen)
        with full_storage_coded(CASE_FILE):
            write_case(case, self.out)
        for outcome in outcomes:
            clear(self._workspace(outcome.folder.name))
        return case

    def refuse_finished_case(self) -> None:
        """Raise OutputExists where the case has been concluded before."""
        if self.in_case and (self.out / CASE_FILE).exists():
            raise OutputExists(f"{self.out / CASE_FILE} exists")

    def _read_one(self, slide: SlidePlace, named: NamedSlide, tiles: dict[str, int]) -> ConcludedSlide:
        """Read one slide; `tiles` notes by sha256 what was planned on it, and so which slides were seen."""
        final, workspace = self.out / named.folder, self._workspace(named.folder)
        if self.in_case and sha256_if_there(slide) in tiles:
            raise SlideDuplicate(f"{named.called} is a slide that the case holds already")
        if final.exists() and not self.resume:
            raise OutputExists(f"{final} exists")
        clock = Stopwatch()
        prepared = self._prepared(address_of(slide), final.name)
        clock.lap("prepare_s")
        tiles[prepared.digest.sha256] = prepared.tiles
        if final.exists():
            finished = finished_before(prepared, final)
            if not self.in_case:
                return finished
        if not self.resume:
            clear(workspace)
        try:
            concluded = self._score_and_publish(prepared, final, workspace, clock)
        except (InputRefused, ModelRefused, TooManyFailedTiles):
            clear(workspace)  # to go on from here would end in the same way
            raise
        if not self.in_case:
            clear(workspace)
        return concluded

    def _prepared(self, slide: SlideAddress, name: str) -> PreparedSlide:
        """The search for burnt-in text is shown where it takes more than a moment."""

        def start_looking(images: int) -> Callable[[int], None]:
            if images < SHOWN_IMAGES:
                return lambda done: None
            return self.start_bar(f"{name}: looking for text and bars", images)

        return prepare_slide(
            slide,
            self.model,
            self.request,
            identity=self.identity,
            start_looking=start_looking,
            open_one=self.open_one,
        )

    def _score_and_publish(
        self, prepared: PreparedSlide, final: Path, workspace: Path, clock: Stopwatch
    ) -> ConcludedSlide:
        store = _bound_store(workspace, prepared)
        score_slide(prepared, store, self.score_ranges, self.start_bar(final.name, prepared.tiles))
        clock.lap("score_s")
        if final.exists():
            return _found_again(prepared, store, final, workspace)
        confirm_digest(prepared)
        clear(workspace / "result")
        with full_storage_coded("the result"):
            concluded = conclude_slide(prepared, store, workspace / "result", {"times": clock.told()})
            publish(workspace / "result", final)
        return concluded

    def _workspace(self, name: str) -> Path:
        return self.out / f".{name}.partial"


def _coded(failure: Exception) -> UltraReadError:
    """What went wrong with one slide, as the error that its reader is told."""
    if isinstance(failure, UltraReadError):
        return failure
    if is_full(failure):
        return StorageFull("there is no room to write")
    if isinstance(failure, OSError) and failure.strerror:
        what = f"the slide could not be read, or its result not be written ({failure.strerror})"
        return UltraReadError(what, "Check the disk, and who may read and write there.")
    return UltraReadError(f"the read failed inside UltraRead: {type(failure).__name__}")


def _bound_store(workspace: Path, prepared: PreparedSlide) -> RangeStore:
    """Open the checkpoints of a read. Raises InputChanged where they belong to something else."""
    bound_to = workspace / "binding.json"
    wanted = json.loads(json.dumps(binding(prepared)))
    if bound_to.is_file() and _binding_in(bound_to) != wanted:
        raise InputChanged("slide, model or settings are not those of the interrupted read")
    workspace.mkdir(parents=True, exist_ok=True)
    unfinished = bound_to.with_suffix(".tmp")
    unfinished.write_text(json.dumps(wanted))
    fsync(unfinished)
    unfinished.replace(bound_to)
    return RangeStore(workspace / "ranges")


def _binding_in(file: Path) -> Any:  # noqa: ANN401  # whatever JSON it holds
    """Raises IntegrityFailed where the file is damaged: what it was bound to cannot be known then."""
    try:
        return json.loads(file.read_text())
    except ValueError as damaged:
        raise IntegrityFailed(f"{file} is damaged", "Read again without --resume.") from damaged


def _found_again(prepared: PreparedSlide, store: RangeStore, final: Path, workspace: Path) -> ConcludedSlide:
    """What the result that stands there already holds. Raises InputChanged where it is another read's."""
    concluded = concluded_before(prepared, store)
    if (final / "findings.json").read_bytes() != canonical_bytes(concluded.findings):
        clear(workspace)
        raise InputChanged(f"{final} is of another slide, model or settings", "Choose another --out.")
    return concluded


def _drop_if_empty(folder: Path) -> None:
    """What was made for a read that was refused after it had begun."""
    with suppress(OSError):
        folder.rmdir()
