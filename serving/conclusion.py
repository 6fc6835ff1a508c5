"""Turn the scored ranges of a read into its published result folders: the aggregator's work."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultraread.errors import UltraReadError
from ultraread.models.registry import ModelFolder
from ultraread.serving.findings import CaseFindings, SlideFindings
from ultraread.serving.read_slide import PreparedSlide, confirm_digest
from ultraread.serving.results.case import case_findings, write_case
from ultraread.serving.results.folder import ConcludedSlide, clear, conclude_slide, publish
from ultraread.serving.score_tiles import RangeStore
from ultraread.serving.store.jobs import EndState, ReadResult
from ultraread.serving.store.tables import ReadState

THREADS = 2


@dataclass(frozen=True, slots=True)
class SlideToConclude:
    """A prepared slide, where its ranges lie, and the error that kept it from being scored."""

    slide_id: str
    prepared: PreparedSlide
    ranges: Path
    error: UltraReadError | None


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

    Raises the first slide's error where no slide gave a result.
    """
    unfinished = read.folder.with_name(f".{read.folder.name}")
    clear(unfinished)
    unfinished.mkdir(parents=True)
    concluded, failed = _conclude_slides(read, unfinished)
    if not concluded:
        raise failed[0][1]
    result: SlideFindings | CaseFindings = concluded[0].findings
    whole = not failed and all(one.findings.state == "succeeded" for one in concluded)
    if read.is_case:
        result = _write_case(read, concluded, failed, unfinished)
    publish(unfinished, read.folder)
    state: EndState = ReadState.SUCCEEDED if whole else ReadState.PARTIAL
    return state, ReadResult(_params(read, concluded), _metrics(read, result))


Failed = list[tuple[str, UltraReadError]]
"""sha256 of the slide, and why it gave no result."""


def _conclude_slides(read: ReadToConclude, folder: Path) -> tuple[list[ConcludedSlide], Failed]:
    """A few slides at a time: encoding their pictures is most of the work, and runs beside Python."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="conclude") as pool:
        ended = list(pool.map(lambda slide: _conclude_slide(slide, folder, read.told), read.slides))
    concluded = [one for one in ended if isinstance(one, ConcludedSlide)]
    digests = (slide.prepared.digest.sha256 for slide in read.slides)
    failed = [
        (sha256, one) for sha256, one in zip(digests, ended, strict=True) if isinstance(one, UltraReadError)
    ]
    return concluded, failed


def _conclude_slide(
    slide: SlideToConclude, folder: Path, told: dict[str, Any]
) -> ConcludedSlide | UltraReadError:
    """Write one slide's folder; the error where it gives no result."""
    try:
        if slide.error is not None:
            raise slide.error
        confirm_digest(slide.prepared)
        return conclude_slide(slide.prepared, RangeStore(slide.ranges), folder / slide.slide_id, told)
    except UltraReadError as error:
        clear(folder / slide.slide_id)
        return error


def _write_case(
    read: ReadToConclude, concluded: Sequence[ConcludedSlide], failed: Failed, folder: Path
) -> CaseFindings:
    prepared = concluded[0].prepared
    codes = [(sha256, error.code) for sha256, error in failed]
    case = case_findings(concluded, codes, prepared.model, prepared.request.specimen)
    write_case(case, folder)
    return case


def _params(read: ReadToConclude, concluded: Sequence[ConcludedSlide]) -> dict[str, str]:
    """What MLflow shows as parameters: digests, plan and scale, no names."""
    model: ModelFolder = concluded[0].prepared.model
    image = concluded[0].findings.slide.images[0]
    digests = ",".join(slide.prepared.digest.sha256 for slide in read.slides)
    return {
        "model": model.card.ref,
        "card_sha256": model.card_sha256,
        "slide_sha256": digests,
        "slides": str(len(read.slides)),
        "nm_per_px": f"{image.nm_per_px:g}",
        "nm_per_px_origin": str(image.nm_per_px_origin),
        "nm_per_px_reason": image.nm_per_px_reason,
        "findings_digest": _digest(read),
    }


def _metrics(read: ReadToConclude, result: SlideFindings | CaseFindings) -> dict[str, float]:
    """Coverage, durations, and score and area fraction of each finding."""
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


def _digest(read: ReadToConclude) -> str:
    """sha256 of the file that states the read's findings."""
    from ultraread.datasets.corpora import sha256_of_file

    case = read.folder / "case.json"
    first = next(iter(sorted(read.folder.glob("*/findings.json"))))
    return sha256_of_file(case if case.is_file() else first)
