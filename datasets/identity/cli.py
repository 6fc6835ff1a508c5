"""`ultraread deidentify`: a copy that identifies nobody, and a report of what was found where."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultraread.datasets.identity.found import IdentityItem, IdentityPolicy
from ultraread.datasets.identity.policy import IdentityStatement
from ultraread.datasets.slide_address import SlidePlace, address_of, place_of
from ultraread.errors import RequestInvalid

if TYPE_CHECKING:
    from ultraread.datasets.identity.deidentify import Deidentified


def deidentify(
    slide: Annotated[
        SlidePlace,
        typer.Argument(
            help="An image file, a folder of them, or an s3:// address.", parser=place_of, metavar="SLIDE"
        ),
    ],
    out: Annotated[Path, typer.Argument(help="OME-TIFF to write (.ome.tif); its name is yours to choose.")],
    policy: Annotated[
        IdentityPolicy, typer.Option("--policy", help="strip, or refuse where anything is found.")
    ] = IdentityPolicy.STRIP,
    show_masked: Annotated[
        bool,
        typer.Option("--show-masked", help="Show first letters of what was found (J*** D**): for your eyes."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Write a copy without names, dates and numbers that identify somebody; tell what was found where.

    The original is not changed. The copy is opened again and searched before it gets its name.

    Example: ultraread deidentify field.tif clean.ome.tif
    """
    from ultraread.datasets.identity.deidentify import deidentify as write_copy

    if policy == IdentityPolicy.KEEP:
        raise RequestInvalid("a copy that keeps identity is none", "`ultraread convert` writes such copies.")
    done = write_copy(address_of(slide), out, IdentityStatement(policy, is_stated=True))
    found = [_told(item, show_masked) for item in done.found.found]
    if as_json:
        typer.echo(
            json.dumps({"out": str(out), "images": done.images, "rounds": done.rounds, "found": found})
        )
        return
    _print(out, done, found)


def masked_value(value: str) -> str:
    """`Jane Doe` as `J*** D**`: enough to recognise, too little to pass on."""
    return re.sub(r"\w+", lambda word: word[0][0] + "*" * (len(word[0]) - 1), value)[:80]


def _told(item: IdentityItem, show_masked: bool) -> dict[str, Any]:
    return item.as_json() | ({"masked_value": masked_value(item.value)} if show_masked else {})


def _print(out: Path, done: "Deidentified", found: list[dict[str, Any]]) -> None:
    if found:
        _print_found(found)
    else:
        typer.echo("In the original nothing was found.")
    typer.echo(f"{out}: {done.images} images, searched again: nothing found.")


def _print_found(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = (
        "where",
        "kind",
        "image",
        "box (px)",
        *(("value, masked",) if "masked_value" in found[0] else ()),
    )
    table = Table(*columns, title="Found in the original", title_justify="left")
    for each in found:
        box = "" if each["box"] is None else "{x},{y} {width} x {height}".format(**each["box"])
        image = "" if each["image"] is None else str(each["image"])
        table.add_row(
            each["where"], each["kind"], image, box, *([each["masked_value"]] if len(columns) > 4 else [])
        )
    Console().print(table)
