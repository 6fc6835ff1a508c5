"""`ultraread quality`: the artefacts of a slide, without a model."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ultraread.datasets.scale import StatedScale, operator_scale
from ultraread.datasets.slide_address import SlidePlace, place_of
from ultraread.errors import OutputExists, RequestInvalid

if TYPE_CHECKING:
    from ultraread.datasets.burnt_in.look import Look
    from ultraread.datasets.quality.assess import ImageQuality
    from ultraread.datasets.slide import ImageInfo

AtNm = Annotated[
    float | None,
    typer.Option("--at-nm-per-px", help="Look at this scale; without it, at the slide's own pixels."),
]
NmPerPx = Annotated[
    float | None,
    typer.Option("--nm-per-px", help="Pixel size of the slide in nm, where the file states none."),
]
Reason = Annotated[str, typer.Option("--reason", help="Where a stated pixel size is from.")]
Masks = Annotated[
    Path | None, typer.Option("--masks", help="New folder for a picture of each artefact, white where it is.")
]


def quality(
    slide: Annotated[
        SlidePlace,
        typer.Argument(
            help="An image file, a folder of them, or an s3:// address.", parser=place_of, metavar="SLIDE"
        ),
    ],
    at_nm_per_px: AtNm = None,
    nm_per_px: NmPerPx = None,
    reason: Reason = "",
    masks: Masks = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Tell artefacts: which, where, how much of each image, and the findings that they suppress.

    Example: ultraread quality field.tif --masks field-masks
    """
    if masks is not None and masks.exists():
        raise OutputExists(f"{masks} exists", "Choose another --masks, or move the old folder away.")
    found = examine(slide, at_nm_per_px, _stated(at_nm_per_px, nm_per_px, reason))
    told = [_told(one, contrast) for one, contrast in found]
    if masks is not None:
        _write_masks(masks, [one for one, _ in found])
    if as_json:
        typer.echo(json.dumps({"images": told}))
    else:
        from ultraread.datasets.identity.called import called

        _print(called(slide), told)


def examine(
    place: SlidePlace, at_nm_per_px: float | None = None, stated: StatedScale | None = None
) -> "list[tuple[ImageQuality, Any]]":
    """Quality and contrast of each grey image of a slide; images that repeat an earlier one are marked.

    An image's pixel size, for `at_nm_per_px`, is chosen from its tags, its burnt-in bars and `stated`.
    """
    from ultraread.datasets.admission import modality_of
    from ultraread.datasets.burnt_in.look import look_at
    from ultraread.datasets.open_slide import open_slide
    from ultraread.datasets.quality.repeats import marked_repeats
    from ultraread.datasets.quality.survey import survey
    from ultraread.datasets.slide import Modality
    from ultraread.datasets.slide_address import address_of

    with open_slide(address_of(place)) as slide:
        images = [one for one in slide.info.images if modality_of(slide, one) is not Modality.SEMITHIN_LIGHT]
        looks = [look_at(slide, image) for image in images]
        found = [
            survey(slide, image, _zoom(image, look, at_nm_per_px, stated), look.boxes)
            for image, look in zip(images, looks, strict=True)
        ]
    marked = marked_repeats([one for one, _ in found])
    return [(one, contrast) for one, (_, contrast) in zip(marked, found, strict=True)]


def _stated(at_nm_per_px: float | None, nm_per_px: float | None, reason: str) -> StatedScale | None:
    """Raises RequestInvalid for a pixel size without a reason or a use, and for a reason alone."""
    if nm_per_px is None and not reason:
        return None
    if nm_per_px is None or at_nm_per_px is None:
        raise RequestInvalid(
            "a pixel size is needed for --at-nm-per-px only",
            "Give --at-nm-per-px, --nm-per-px and --reason together.",
        )
    return operator_scale(nm_per_px, reason)


def _zoom(image: "ImageInfo", look: "Look", at_nm_per_px: float | None, stated: StatedScale | None) -> float:
    """Raises ScaleMissing where a scale is asked for and nothing states the image's, and ScalesDisagree."""
    from ultraread.datasets.scale import choose_scale

    if at_nm_per_px is None:
        return 1.0
    if at_nm_per_px <= 0:
        raise RequestInvalid("--at-nm-per-px must be above 0", "Give a pixel size in nm.")
    found = [*image.scales, *(scale for scale in (look.scale, stated) if scale)]
    return at_nm_per_px / choose_scale(found).nm_per_px


def _told(quality: "ImageQuality", contrast: Any) -> dict[str, Any]:  # noqa: ANN401  # loaded late
    from ultraread.datasets.quality.artefacts import EVERY, KNOWN, RULES

    return {
        "image": quality.image,
        "looks_inverted": contrast.is_inverted,
        "contrast": asdict(contrast),
        "measures": {name: _number(value) for name, value in quality.measures.items()},
        "artefacts": [
            {
                "artefact": note.artefact,
                "name": RULES[note.artefact].name,
                "area_fraction": note.area_fraction,
                "suppresses": list(note.suppresses),
                "all": RULES[note.artefact].suppresses == EVERY,
                "action": RULES[note.artefact].action,
            }
            for note in quality.notes(sorted(KNOWN))
        ],
    }


def _number(value: float) -> float | None:
    """null where noise hides what is measured."""
    return value if math.isfinite(value) else None


def _write_masks(folder: Path, images: "list[ImageQuality]") -> None:
    """One 8-bit PNG an artefact; a pixel is a cell of `cell_px` pixels that were looked at."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    for quality in images:
        for artefact, mask in quality.masks.items():
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
            picture.save(folder / f"{quality.image}-{artefact.lower()}.png")


def _print(name: str, images: list[dict[str, Any]]) -> None:
    table = Table(title=escape(name), title_justify="left")
    for column in ("image", "artefact", "area (%)", "suppresses"):
        table.add_column(column)
    for image in images:
        for one in image["artefacts"]:
            codes = "every finding" if one["all"] else ", ".join(one["suppresses"]) or "-"
            area = f"{100 * one['area_fraction']:.3g}"
            table.add_row(str(image["image"]), f"{one['name']} ({one['artefact']})", area, codes)
        if not image["artefacts"]:
            table.add_row(str(image["image"]), "none found", "", "")
        if image["looks_inverted"]:
            table.add_row(str(image["image"]), "looks inverted: a read asks for --contrast-confirmed", "", "")
    Console().print(table)
