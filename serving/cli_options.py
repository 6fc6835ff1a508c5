"""Options and progress bars that several commands share; options parse once into types that are trusted."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.scale import StatedScale, operator_scale
from ultraread.datasets.slide_address import SlidePlace, place_of
from ultraread.errors import RequestInvalid

WHAT_SLIDES = "Image files, folders of them, or s3:// addresses."
Slide = Annotated[SlidePlace, typer.Argument(help=WHAT_SLIDES, parser=place_of, metavar="SLIDE")]
Slides = Annotated[list[SlidePlace], typer.Argument(help=WHAT_SLIDES, parser=place_of, metavar="SLIDE...")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results; one folder a slide is made in it.")]
Model = Annotated[str, typer.Option("--model", help="name, name/version or the path of a model folder.")]
NmPerPx = Annotated[
    float | None, typer.Option("--nm-per-px", help="Pixel size in nm, where the file states none.")
]
Reason = Annotated[
    str, typer.Option("--reason", help="Where a stated pixel size is from; every output shows it.")
]
Tolerance = Annotated[
    float, typer.Option("--tolerance", help="Relative tolerance of a stated pixel size: 0.05 is 5 %.")
]
Microscope = Annotated[
    str, typer.Option("--microscope", help="As the calibration records call it; else what the file says.")
]
Camera = Annotated[
    str, typer.Option("--camera", help="As the calibration records call it; else what the file says.")
]
Magnification = Annotated[
    float | None, typer.Option("--magnification", min=0, help="Where the file does not say it.")
]
StatedInstrumentOptions = tuple[str, str, float | None]
"""Microscope, camera and magnification."""
Region = Annotated[
    str | None, typer.Option("--region", metavar="X,Y,W,H", help="Part to read, in level-0 pixels.")
]
ContrastConfirmed = Annotated[
    str,
    typer.Option("--contrast-confirmed", help="Why an image that looks like a negative is none; read it."),
]
Specimen = Annotated[
    str, typer.Option("--specimen", help="What the tissue is; findings out of the model's scope say so.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File with the token to show; else ULTRAREAD_TOKEN, or owner.token of this machine's service.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines; errors too.")]


def stated_scale(nm_per_px: float | None, reason: str, tolerance: float) -> StatedScale | None:
    """The operator's scale; None where none is stated. Raises RequestInvalid for one without a reason."""
    if nm_per_px is None:
        if reason:
            raise RequestInvalid(
                "--reason without --nm-per-px", "State the pixel size that the reason is for."
            )
        return None
    return operator_scale(nm_per_px, reason, tolerance)


def parse_region(text: str | None) -> BoxPx | None:
    """X,Y,W,H as a box. Raises RequestInvalid where it is none."""
    if text is None:
        return None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError as failure:
        raise RequestInvalid(f"--region {text} is not X,Y,W,H", "Give four whole numbers.") from failure
    return BoxPx(x, y, width, height)


def progress_bars(*more: ProgressColumn) -> Progress:
    """Bars on stderr, gone at the end; nothing at all where nobody watches. `more` stands before the time."""
    name = TextColumn("{task.description}", markup=False)
    told = Console(stderr=True)
    columns = (name, BarColumn(), *more, TimeRemainingColumn())
    return Progress(*columns, console=told, transient=True, disable=not told.is_terminal)
