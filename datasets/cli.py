"""`ultraread info`: what a slide holds, as a table or JSON."""

import json
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ultraread.datasets.slide_address import SlidePlace, address_of, place_of

if TYPE_CHECKING:
    from ultraread.datasets.burnt_in.look import Look
    from ultraread.datasets.slide import ImageInfo, Slide

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
SlideArgument = Annotated[
    SlidePlace,
    typer.Argument(
        help="An image file, a folder of them, or an s3:// address.", parser=place_of, metavar="SLIDE"
    ),
]


def info(slide: SlideArgument, as_json: AsJson = False) -> None:
    """Tell format, files, digest, images, levels, pixels, storage, modality, every scale, and the instrument.

    Example: ultraread info field.tif
    """
    told = describe(slide)
    if as_json:
        typer.echo(json.dumps(told))
        return
    from ultraread.datasets.identity.called import called

    console = Console()
    console.print(_of_slide(escape(called(slide)), told))
    for numbers, image in _kinds_of(told["images"]):
        console.print(_of_images(numbers, image))


def describe(slide: SlidePlace | str) -> dict[str, Any]:
    """What `info` tells, as plain data; of identity only how much was found, never what."""
    from ultraread.datasets.burnt_in.look import look_at
    from ultraread.datasets.identity.find import find_identity, names_of
    from ultraread.datasets.open_slide import open_slide
    from ultraread.datasets.slide_digest import digest_slide

    address = address_of(slide)
    with open_slide(address) as opened:
        looks = [look_at(opened, image) for image in opened.info.images]
        images = [
            _described(opened, image, look) for image, look in zip(opened.info.images, looks, strict=True)
        ]
        found = find_identity(opened.info, names_of(address), looks)
        digest = digest_slide(address)
        return {
            "sha256": digest.sha256,
            "format": opened.info.format,
            "files": len(address.files),
            "bytes": sum(file.bytes for file in digest.files),
            "left_out": list(opened.info.left_out),
            "identifying": {"found": len(found.found), "in_names": found.is_in_names},
            "images": images,
        }


def _described(slide: "Slide", image: "ImageInfo", look: "Look") -> dict[str, Any]:
    """Of the acquisition what identifies nobody."""
    from ultraread.datasets.admission import modality_of
    from ultraread.datasets.identity.find import told_of

    return {
        "index": image.index,
        "width_px": image.size.width,
        "height_px": image.size.height,
        "levels": [asdict(level) for level in image.levels],
        "bit_depth": image.bit_depth,
        "samples_per_px": image.samples_per_px,
        "stored_as": image.stored_as,
        "compression": image.compression,
        "stored_tile": asdict(image.stored_tile) if image.stored_tile else None,
        "modality": modality_of(slide, image),
        "modality_is_stated": image.modality_is_stated,
        "scales": [asdict(scale) for scale in (*image.scales, look.scale) if scale],
        "burnt_in": {"texts": len(look.texts), "bars": len(look.bars), "not_looked_at": look.not_looked_at},
        "acquisition": asdict(told_of(image.acquisition)),
    }


def _of_slide(name: str, told: dict[str, Any]) -> Table:
    table = Table(title=f"{name}: {told['format']}", title_justify="left", show_header=False, box=None)
    table.add_row("files", f"{told['files']}, {told['bytes']:,} bytes")
    table.add_row("sha256", told["sha256"])
    table.add_row("images", str(len(told["images"])))
    if told["left_out"]:
        table.add_row("left out", f"{', '.join(told['left_out'])} (no image of the specimen)")
    for line in dict.fromkeys(_instrument(image["acquisition"]) for image in told["images"]):
        if line:
            table.add_row("instrument", escape(line))
    table.add_row("burnt in", _burnt_in([image["burnt_in"] for image in told["images"]]))
    table.add_row("identity", _identity(told["identifying"]))
    if not all(image["scales"] for image in told["images"]):
        table.add_row("scale", "none stated: a read needs --nm-per-px X --reason TEXT")
    return table


def _kinds_of(images: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """One for each run of images that differ in nothing, with their numbers: `0-19`."""
    kinds = []
    for _, group in groupby(images, key=lambda image: image | {"index": None}):
        run = list(group)
        first, last = run[0]["index"], run[-1]["index"]
        kinds.append((str(first) if first == last else f"{first}-{last}", run[0]))
    return kinds


def _of_images(numbers: str, image: dict[str, Any]) -> Table:
    """Names beside values, which wrap and are never cut."""
    table = Table(title=f"image {numbers}", title_justify="left", show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")
    levels = f"{len(image['levels'])} level{'s' if len(image['levels']) > 1 else ''}"
    table.add_row("size", f"{image['width_px']} x {image['height_px']} px, {levels}")
    table.add_row("pixels", f"{image['bit_depth']} bit, {'RGB' if image['samples_per_px'] == 3 else 'grey'}")
    table.add_row("stored", _stored(image))
    table.add_row("modality", f"{image['modality']} ({'stated' if image['modality_is_stated'] else 'taken'})")
    for scale in image["scales"]:
        table.add_row("nm/px", f"{_scale(scale)}, {scale['origin']}")
    if not image["scales"]:
        table.add_row("nm/px", "none")
    return table


def _stored(image: dict[str, Any]) -> str:
    tile = image["stored_tile"]
    tiled = f", {tile['width']} x {tile['height']}" if tile else ""
    return f"{image['stored_as']}, {image['compression']}{tiled}"


def _instrument(acquisition: dict[str, Any]) -> str:
    magnification, kv = acquisition["magnification"], acquisition["accelerating_kv"]
    told = (
        acquisition["microscope"],
        acquisition["camera"],
        f"{magnification:g} x" if magnification else "",
        f"{kv:g} kV" if kv else "",
        acquisition["acquired"],
    )
    return ", ".join(part for part in told if part)


def _burnt_in(found: list[dict[str, Any]]) -> str:
    texts, bars = (sum(each[kind] for each in found) for kind in ("texts", "bars"))
    missed = next((f"; {each['not_looked_at']}" for each in found if each["not_looked_at"]), "")
    return f"{texts} lines of text, {bars} scale bars{missed}"


def _identity(found: dict[str, Any]) -> str:
    if not found["found"]:
        return "nothing found in tags, names and pixels"
    return (
        f"{found['found']} tags, names and texts may identify somebody: `ultraread deidentify` writes a copy "
        "without"
    )


def _scale(scale: dict[str, Any]) -> str:
    x, y = scale["x_nm_per_px"], scale["y_nm_per_px"]
    size = f"{x:.4g}" if x == y else f"{x:.4g} x {y:.4g}"
    return f"{size} ± {100 * scale['tolerance']:.3g} %"
