"""`ultraread read`, `serve` and `doctor`."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from ultraread.datasets.identity.policy import PolicyOption, PolicyReason, identity_stated
from ultraread.datasets.scale import DEFAULT_TOLERANCE
from ultraread.errors import Interrupted, UltraReadError
from ultraread.models.registry import DEFAULT_MODEL, ModelFolder
from ultraread.serving import cli_options as options
from ultraread.serving.cli_calibrations import AsOf, CalibrationsFile, calibrations_stated

if TYPE_CHECKING:
    from ultraread.datasets.slide_address import SlidePlace
    from ultraread.serving.decoding.pool import DecodingPool
    from ultraread.serving.findings import CaseFindings
    from ultraread.serving.local_read import LocalReader, SlideOutcome
    from ultraread.serving.score_tiles import RangeScorer, RangeScores, RangeTask

Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.")]
DECODERS = 1


def read(
    slides: options.Slides,
    out: options.Out,
    model: options.Model = DEFAULT_MODEL,
    nm_per_px: options.NmPerPx = None,
    reason: options.Reason = "",
    tolerance: options.Tolerance = DEFAULT_TOLERANCE,
    region: options.Region = None,
    specimen: options.Specimen = "",
    case: Annotated[str, typer.Option("--case", help="Take the slides as fields of this case.")] = "",
    identity: PolicyOption = None,
    identity_reason: PolicyReason = "",
    calibrations: CalibrationsFile = None,
    microscope: options.Microscope = "",
    camera: options.Camera = "",
    magnification: options.Magnification = None,
    as_of: AsOf = None,
    contrast_confirmed: options.ContrastConfirmed = "",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with an interrupted read; without it, what was scored is thrown away."
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Read slides in this process: one result folder a slide, and case.json with --case.

    Example: ultraread read field.tif --out results --nm-per-px 4.6 --reason "calibration of 2026-10-02"
    """
    from ultraread.models.classifier import fitting
    from ultraread.serving.decoding.pool import DecodingPool
    from ultraread.serving.local_models import find_local_model
    from ultraread.serving.local_read import LocalReader
    from ultraread.serving.read_slide import ReadRequest

    stated = options.stated_scale(nm_per_px, reason, tolerance)
    measured = calibrations_stated(calibrations, as_of, (microscope, camera, magnification))
    box = options.parse_region(region)
    request = ReadRequest(stated, box, specimen, calibrations=measured, contrast_confirmed=contrast_confirmed)
    found = fitting(find_local_model(model))
    with (
        closing(DecodingPool()) as decoding,
        options.progress_bars(MofNCompleteColumn()) as progress,
        _scoring(found, decoding) as score_ranges,
    ):
        reader = LocalReader(
            model=found,
            score_ranges=score_ranges,
            out=out,
            request=request,
            resume=resume,
            in_case=bool(case),
            identity=identity_stated(identity, identity_reason),
            start_bar=lambda name, tiles: _bar(progress, name, tiles),
            open_one=decoding.open,
        )
        outcomes, findings = _read_all(reader, slides, as_json)
    _tell(outcomes, case, findings, as_json)
    if not as_json:
        _tell_renamed(outcomes)
    status = max((outcome.exit_status for outcome in outcomes), default=0)
    raise typer.Exit(status)


def print_error(error: UltraReadError, subject: str = "") -> None:
    """`error[code]: what happened. What to do.` on stderr."""
    of = f"{subject}: " if subject and not error.what.startswith(subject) else ""
    typer.echo(f"error[{error.code}]: {of}{error.what}. {error.remedy}", err=True)


@contextmanager
def _scoring(
    model: ModelFolder, decoding: "DecodingPool"
) -> "Iterator[Callable[[Iterable[RangeTask]], Iterator[RangeScores]]]":
    """Score in this process, opening the model at the first range: what is refused before costs no start."""
    opened: list[RangeScorer] = []

    def score(tasks: "Iterable[RangeTask]") -> "Iterator[RangeScores]":
        from ultraread.models.classifier import OnnxClassifier
        from ultraread.serving.machine import own_cpus
        from ultraread.serving.score_tiles import RangeScorer as Scorer

        if not opened:
            opened.append(Scorer(OnnxClassifier(model, threads=own_cpus()), DECODERS, decoding))
        yield from map(opened[0], tasks)

    try:
        yield score
    finally:
        for scorer in opened:
            scorer.close()


def _read_all(
    reader: "LocalReader", slides: "Sequence[SlidePlace]", as_json: bool
) -> "tuple[list[SlideOutcome], CaseFindings | None]":
    reader.refuse_finished_case()
    outcomes = []
    try:
        for outcome in reader.read(slides):
            outcomes.append(outcome)
            if outcome.error is not None and not as_json:
                print_error(outcome.error, outcome.called)
        return outcomes, reader.conclude_case(outcomes) if reader.in_case else None
    except KeyboardInterrupt:
        raise Interrupted("stopped; what was scored is kept") from None


def _tell(
    outcomes: "Sequence[SlideOutcome]", case: str, findings: "CaseFindings | None", as_json: bool
) -> None:
    if as_json:
        typer.echo(json.dumps({"slides": [_told(one) for one in outcomes], "case": _dumped(findings)}))
        return
    from ultraread.serving.report import print_findings, scale_in_words

    console = Console()
    for one in outcomes:
        if one.concluded and findings is None:
            found = one.concluded.findings.model_dump(mode="json")
            scale = scale_in_words(found["slide"])
            print_findings(console, found, one.called, scale, [f"Result folder: {one.folder}"])
    if findings is not None:
        read = next(one.concluded for one in outcomes if one.concluded)
        scale = scale_in_words(read.findings.model_dump(mode="json")["slide"])
        where = [f"Case file: {outcomes[0].folder.parent / 'case.json'}"]
        title = f"case {case}: {sum(not one.error_code for one in findings.fields)} fields"
        print_findings(console, findings.model_dump(mode="json"), title, scale, where)


def _tell_renamed(outcomes: "Sequence[SlideOutcome]") -> None:
    """Which argument became which folder where its name is not shown: by its place, since it may identify."""
    for number, one in enumerate(outcomes, start=1):
        if one.called != one.slide.name:
            where = one.folder if one.concluded else one.called
            typer.echo(f"argument {number} of {len(outcomes)} -> {where}", err=True)


def _told(outcome: "SlideOutcome") -> dict[str, Any]:
    found = outcome.concluded
    return {
        "slide": str(outcome.slide) if outcome.called == outcome.slide.name else outcome.called,
        "folder": str(outcome.folder) if found else None,
        "state": found.findings.state if found else None,
        "findings": _dumped(found.findings) if found else None,
        "error": outcome.error.problem() if outcome.error else None,
    }


def _dumped(findings: Any) -> Any:  # noqa: ANN401  # any pydantic result, or None
    return findings.model_dump(mode="json") if findings is not None else None


def _bar(progress: Progress, name: str, tiles: int) -> Callable[[int], None]:
    task = progress.add_task(name, total=tiles)
    return lambda done: progress.advance(task, done)
