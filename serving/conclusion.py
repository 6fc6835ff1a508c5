"""Turn the scored ranges of a read into its published result folders: the aggregator's work."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultraread.errors import UltraReadError, Unavailable
from ultraread.serving.findings import CaseFindings, SlideFindings, digest_of
from ultraread.serving.read_slide import PreparedSlide, confirm_digest
from ultraread.serving.results.case import FailedField, case_findings, write_case
from ultraread.serving.results.folder import ConcludedSlide, clear, conclude_slide, publish
from ultraread.serving.score_tiles import RangeStore
from ultraread.serving.storage.durable import full_storage_coded
from ultraread.serving.storage.listing import files_below
from ultraread.serving.store.checkpoints import RangeDigests
from ultraread.serving.store.jobs import EndState, ReadResult
from ultraread.serving.store.tables import ReadState

THREADS = 2


@dataclass(frozen=True, slots=True)
class SlideToConclude:
    """A slide of the read, where its ranges lie, and the error that kept it from being prepared or scored."""

    slide_id: str
    sha256: str
    ranges: Path
    prepared: PreparedSlide | None = None
    error: UltraReadError | None = None
    digests: RangeDigests | None = None
    """What the files of its ranges have to be."""


@dataclass(frozen=True, slots=True)
class ReadToConclude:
    """All that the aggregator needs; `folder` is where the result will stand, `told` goes to provenance."""

    read_id: str
    slides: tuple[SlideToConclude, ...]
    folder: Path
    is_case: bool
    told: dict[str, Any]


def conclude_read(read: ReadToConclude) -> tuple[EndState, ReadResult]:
    """Write and publish every slide's folder, and case.json; return state and what MLflow shows.

    Raises the first slide's error where no slide gave a result; nothing is left of it then.
    """
    unfinished = read.folder.with_name(f".{read.folder.name}")
    clear(unfinished)
    try:
        with full_storage_coded("the result"):
            unfinished.mkdir(parents=True)
            return _conclude(read, unfinished)
    finally:
        clear(unfinished)


def _conclude(read: ReadToConclude, unfinished: Path) -> tuple[EndState, ReadResult]:
    concluded, failed = _conclude_slides(read, unfinished)
    model, specimen = concluded[0].prepared.model, concluded[0].prepared.request.specimen
    result: SlideFindings | CaseFindings = concluded[0].findings
    if read.is_case or len(read.slides) > 1:
        result = case_findings(concluded, failed, model, specimen)
    if read.is_case and isinstance(result, CaseFindings):
        write_case(result, unfinished)
    files = files_below(unfinished, f"{read.read_id}/{read.folder.name}")
    publish(unfinished, read.folder)
    state: EndState = ReadState.SUCCEEDED if result.state == "succeeded" else ReadState.PARTIAL
    return state, ReadResult(_params(read, concluded, result), _metrics(read, result), files)


def _conclude_slides(read: ReadToConclude, folder: Path) -> tuple[list[ConcludedSlide], list[FailedField]]:
    """A few slides at a time: encoding their pictures is most of the work, and runs beside Python."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="conclude") as pool:
        ended = list(pool.map(lambda slide: _conclude_slide(slide, folder, read.told), read.slides))
    concluded = [one for one in ended if isinstance(one, ConcludedSlide)]
    pairs = list(zip(read.slides, ended, strict=True))
    errors = [(slide, one) for slide, one in pairs if isinstance(one, UltraReadError)]
    if not concluded:
        raise errors[0][1]
    return concluded, [_failed_field(slide, error) for slide, error in errors]


def _failed_field(slide: SlideToConclude, error: UltraReadError) -> FailedField:
    return FailedField(slide.sha256, error.code, slide.prepared.tiles if slide.prepared else 0)


def _conclude_slide(
    slide: SlideToConclude, folder: Path, told: dict[str, Any]
) -> ConcludedSlide | UltraReadError:
    """Write one slide's folder; the error where it gives no result."""
    if slide.error is not None or slide.prepared is None:
        return slide.error or UltraReadError(f"slide {slide.slide_id} was not prepared")
    try:
        ranges = RangeStore(slide.ranges, slide.digests)
        ranges.refuse_damaged()
        confirm_digest(slide.prepared)
        return conclude_slide(slide.prepared, ranges, folder / slide.slide_id, told)
    except Unavailable:
        raise
    except UltraReadError as error:
        clear(folder / slide.slide_id)
        return error


def _params(
    read: ReadToConclude, concluded: Sequence[ConcludedSlide], result: SlideFindings | CaseFindings
) -> dict[str, str]:
    """What MLflow shows as parameters: digests and scale; no names, and no free text that might hold one."""
    model = concluded[0].prepared.model
    shown = [i for one in concluded for i in one.findings.slide.images if not i.out_of_scope]
    return {
        "model": model.card.ref,
        "card_sha256": model.card_sha256,
        "slide_sha256": ",".join(slide.sha256 for slide in read.slides),
        "slides": str(len(read.slides)),
        "nm_per_px": f"{shown[0].nm_per_px:g}" if shown else "",
        "nm_per_px_origin": str(shown[0].nm_per_px_origin) if shown else "",
        "findings_digest": digest_of(result.model_dump(mode="json")),
    }


def _metrics(read: ReadToConclude, result: SlideFindings | CaseFindings) -> dict[str, float]:
    """Coverage, durations, and score and area fraction of each finding; of several slides, over all."""
    coverage = result.coverage
    metrics = {
        "tiles_planned": float(coverage.tiles_planned),
        "tiles_scored": float(coverage.tiles_scored),
        "tiles_failed": float(coverage.tiles_failed),
        "coverage_fraction": coverage.fraction,
    }
    metrics |= {name: seconds for name, seconds in read.told["times"].items() if name.endswith("_s")}
    for finding in result.findings:
        if finding.score is not None:
            metrics[f"{finding.code}.score"] = finding.score
        metrics |= {f"{finding.code}.{one.name}": one.value for one in finding.measurements}
    return metrics
