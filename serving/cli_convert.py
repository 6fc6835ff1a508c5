"""`ultraread convert`: a slide as OME-TIFF or DICOM WSI."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultraread.datasets.convert.targets import Compression, Target
from ultraread.datasets.identity.policy import PolicyOption, PolicyReason, identity_stated
from ultraread.datasets.scale import DEFAULT_TOLERANCE
from ultraread.datasets.slide_address import address_of
from ultraread.serving import cli_options as options

if TYPE_CHECKING:
    from ultraread.datasets.convert.slide import Converted


def convert(
    slide: options.Slide,
    out: Annotated[Path, typer.Argument(help="File to write; for DICOM a folder. It must not exist.")],
    to: Annotated[Target, typer.Option("--to", help="What to write.")] = Target.OME_TIFF,
    compression: Annotated[
        Compression | None,
        typer.Option("--compression", help="Of OME-TIFF; deflate unless stated. Only jpeg loses detail."),
    ] = None,
    image: Annotated[
        list[int] | None, typer.Option("--image", help="Only this image; may be repeated. All unless stated.")
    ] = None,
    nm_per_px: options.NmPerPx = None,
    reason: options.Reason = "",
    tolerance: options.Tolerance = DEFAULT_TOLERANCE,
    identity: PolicyOption = None,
    identity_reason: PolicyReason = "",
    as_json: options.AsJson = False,
) -> None:
    """Write a slide as tiled, pyramidal OME-TIFF or as DICOM WSI, with its scale and the source's digest.

    Without loss unless --compression jpeg is asked for. No tag and no name is copied, and burnt-in text that
    may identify somebody is painted over, unless --identity keep.

    Example: ultraread convert field.dm3 field.ome.tif
    """
    from ultraread.datasets.convert.slide import Wanted
    from ultraread.datasets.convert.slide import convert as convert_slide

    wanted = Wanted(
        target=to,
        compression=compression,
        images=tuple(image or ()),
        stated_scale=options.stated_scale(nm_per_px, reason, tolerance),
        identity=identity_stated(identity, identity_reason),
    )
    with options.progress_bars() as progress:

        def start(rows: int) -> Any:  # noqa: ANN401  # what rows that are done are told to
            task = progress.add_task("converting", total=rows)
            return lambda done: progress.advance(task, done)

        converted = convert_slide(address_of(slide), out, wanted, start)
    typer.echo(json.dumps(_told(converted, out)) if as_json else _in_words(converted, out))


def _told(converted: "Converted", out: Path) -> dict[str, Any]:
    return {
        "out": str(out),
        "sha256": converted.written.sha256,
        "bytes": sum(file.bytes for file in converted.written.files),
        "files": [{"sha256": file.sha256, "bytes": file.bytes} for file in converted.written.files],
        "source_sha256": converted.source.sha256,
        "compression": converted.compression,
        "lossless": converted.is_lossless,
        "masked_boxes": converted.masked_boxes,
        "images": [_told_image(image.info.index, image.scale) for image in converted.images],
    }


def _told_image(index: int, scale: Any) -> dict[str, Any]:  # noqa: ANN401  # StatedScale, or None
    if scale is None:
        return {"index": index, "scale": None}
    told = {
        "x_nm_per_px": scale.x_nm_per_px,
        "y_nm_per_px": scale.y_nm_per_px,
        "origin": scale.origin.value,
        "tolerance": scale.tolerance,
        "reason": scale.reason,
    }
    return {"index": index, "scale": told}


def _in_words(converted: "Converted", out: Path) -> str:
    told = _told(converted, out)
    how = "without loss" if converted.is_lossless else "with loss"
    lines = [
        f"{out}: {told['bytes']:,} bytes, {len(converted.images)} images, {converted.compression}, {how}",
        *(f"file sha256 {file.sha256}" for file in converted.written.files),
        f"slide sha256 {converted.written.sha256} (as info and every result tell it)",
        f"source sha256 {converted.source.sha256}",
    ]
    unscaled = [str(image.info.index) for image in converted.images if image.scale is None]
    if unscaled:
        lines.append(f"no scale is known of image {', '.join(unscaled)}: none was written")
    if converted.masked_boxes:
        lines.append(f"{converted.masked_boxes} boxes of burnt-in text were painted over")
    return "\n".join(lines)
