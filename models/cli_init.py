"""`ultraread models init`: put a network that somebody brings into a model folder; say what is missing."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ultraread.datasets.slide import Modality
from ultraread.errors import RequestInvalid

if TYPE_CHECKING:
    from ultraread.models.missing import Missing


class ActivationOption(StrEnum):
    """What makes probabilities of the outputs."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    NONE = "none"


def init(
    model: Annotated[Path, typer.Argument(help="ONNX file of a tile classifier: image to class scores.")],
    out: Annotated[Path, typer.Option(help="Model folder to make; it must not exist.")],
    name: Annotated[str, typer.Option(help="Lower case, digits and hyphens.")],
    version: Annotated[str, typer.Option(help="Three numbers.")] = "0.1.0",
    wsinfer_config: Annotated[Path | None, typer.Option(help="config.json of a WSInfer zoo model.")] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="CODE=name; one a class, in the order of the outputs.")
    ] = None,
    activation: Annotated[
        ActivationOption | None, typer.Option(help="softmax, of a single class sigmoid, unless stated.")
    ] = None,
    mean: Annotated[str, typer.Option(help="Of grey from 0 to 1; one value, or one a channel.")] = "",
    std: Annotated[str, typer.Option(help="Likewise.")] = "",
    tile: Annotated[
        int | None, typer.Option(min=1, help="Side in px, where the file leaves it open.")
    ] = None,
    nm_per_px: Annotated[float | None, typer.Option(help="Pixel size that the network wants, in nm.")] = None,
    nm_per_px_range: Annotated[str, typer.Option(help="LOW,HIGH: pixel sizes that it reads, in nm.")] = "",
    specimen: Annotated[list[str] | None, typer.Option(help="What it was trained on; repeatable.")] = None,
    modality: Annotated[Modality, typer.Option(help="Kind of image that it is for.")] = Modality.TEM,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Wrap an ONNX tile classifier into a model folder with card and golden pair; say what is still missing.

    Example: ultraread models init net.onnx --out mine --name mine --nm-per-px 4.6 --class MY-GOLGI=golgi
    """
    from ultraread.models.missing import missing_of
    from ultraread.models.own_model import Stated, make_model_folder
    from ultraread.models.wsinfer_config import load_wsinfer_config

    stated = Stated(
        name=name,
        version=version,
        classes=tuple(_class(text) for text in classes or ()),
        activation=activation.value if activation else None,
        mean=_numbers(mean, "--mean"),
        std=_numbers(std, "--std"),
        tile_px=tile,
        nm_per_px=nm_per_px,
        nm_per_px_range=_range(nm_per_px_range),
        specimens=tuple(specimen or ()),
        modality=modality,
        config=load_wsinfer_config(wsinfer_config) if wsinfer_config else None,
    )
    made = make_model_folder(model, out, stated)
    _tell(made.card.ref, out, missing_of(made), as_json=as_json)


def print_missing(missing: Sequence["Missing"]) -> None:
    """A table of what the card does not say yet; nothing where it says all."""
    if not missing:
        return
    table = Table(title="What is still missing", title_justify="left")
    for heading in ("what", "in card.json", "needed"):
        table.add_column(heading, overflow="fold")
    for gap in missing:
        table.add_row(gap.what, gap.fields, gap.needed)
    Console().print(table)


def _tell(ref: str, out: Path, missing: Sequence["Missing"], *, as_json: bool) -> None:
    following = _next_commands(out)
    if as_json:
        gaps = [asdict(gap) for gap in missing]
        typer.echo(json.dumps({"model": ref, "folder": str(out), "missing": gaps, "next": following}))
        return
    typer.echo(f"{ref} lies in {out}. It runs here, and every finding of it is indeterminate.")
    print_missing(missing)
    typer.echo("Fill card.json, then:")
    for command in following:
        typer.echo(f"  {command}")


def _next_commands(out: Path) -> list[str]:
    return [
        f"ultraread models validate {out}",
        f"ultraread read SLIDE --out results --model {out}",
        f"ultraread evaluate {out} --manifest MANIFEST",
        f"ultraread models register {out}",
    ]


def _class(text: str) -> tuple[str, str]:
    code, equals, name = text.partition("=")
    if not equals:
        raise RequestInvalid(f"{text} is no class", "Write it as --class CODE=name.")
    return code.strip(), name.strip()


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(one) for one in text.split(",")) if text else ()
    except ValueError as failure:
        raise RequestInvalid(
            f"{option} {text} is no list of numbers", "Separate them by commas."
        ) from failure


def _range(text: str) -> tuple[float, float] | None:
    values = _numbers(text, "--nm-per-px-range")
    if values and len(values) != 2:
        raise RequestInvalid(f"--nm-per-px-range {text} is no range", "Write it as LOW,HIGH.")
    return (values[0], values[1]) if values else None
