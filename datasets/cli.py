"""`ultraread info`: what a slide holds, as a table or JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def info(
    slide: Annotated[Path, typer.Argument(help="TIFF, OME-TIFF, PNG or JPEG.")], as_json: AsJson = False
) -> None:
    """Tell format, images, size, levels, bit depth, scale with origin, and modality.

    Example: ultraread info field.tif
    """
    told = describe(slide)
    if as_json:
        typer.echo(json.dumps(told))
        return
    from ultraread.datasets.identity.called import called

    table = Table(title=f"{escape(called(slide))}: {told['format']}", title_justify="left")
    for column in ("image", "size (px)", "levels", "bit depth", "modality", "scale (nm/px)"):
        table.add_column(column)
    for image in told["images"]:
        size = f"{image['width_px']} x {image['height_px']}"
        table.add_row(
            str(image["index"]), size, str(len(image["levels"])), str(image["bit_depth"]),
            image["modality"], _scales(image["scales"]),
        )  # fmt: skip
    Console().print(table)


def describe(path: Path) -> dict[str, Any]:
    """What `info` tells, as plain data."""
    from ultraread.datasets.admission import modality_of
    from ultraread.datasets.open_slide import open_slide
    from ultraread.datasets.slide_address import address_of
    from ultraread.datasets.slide_digest import digest_slide

    address = address_of(path)
    with open_slide(address) as slide:
        images = [
            {
                "index": image.index,
                "width_px": image.size.width,
                "height_px": image.size.height,
                "levels": [asdict(level) for level in image.levels],
                "bit_depth": image.bit_depth,
                "samples_per_px": image.samples_per_px,
                "modality": modality_of(slide, image),
                "modality_is_stated": image.modality_is_stated,
                "scales": [asdict(scale) for scale in image.scales],
            }
            for image in slide.info.images
        ]
        return {"sha256": digest_slide(address).sha256, "format": slide.info.format, "images": images}


def _scales(scales: list[dict[str, Any]]) -> str:
    if not scales:
        return "none stated: a read needs --nm-per-px and --reason"
    return "\n".join(
        f"{scale['x_nm_per_px']:.4g} ± {100 * scale['tolerance']:g} % ({scale['origin']})" for scale in scales
    )
