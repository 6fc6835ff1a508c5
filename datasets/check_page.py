"""The check as a page: `check.md` with its tables, and one picture a field, the classes laid over it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ultraread.datasets.check import Independence, Report, Severity
from ultraread.datasets.field_look import FieldLook
from ultraread.errors import OutputExists

PAGE = "check.md"
PICTURES = "pictures"
COLOURS: dict[str, tuple[int, int, int]] = {
    "orange": (230, 159, 0),
    "sky blue": (86, 180, 233),
    "bluish green": (0, 158, 115),
    "yellow": (240, 228, 66),
    "blue": (0, 114, 178),
    "vermilion": (213, 94, 0),
    "reddish purple": (204, 121, 167),
}
"""Told apart by eyes that see no red or no green (Okabe and Ito 2008). An eighth class starts again."""
OPACITY = 0.55
BETWEEN_PX = 4
WHAT_UNIT_MEANS = {
    Independence.SPECIMEN: (
        "Unit of independence: **specimen**. No specimen may stand in two splits, so figures on the test "
        "split are about specimens that the model has not seen."
    ),
    Independence.BLOCK: (
        "Unit of independence: **block**. Two blocks of one specimen may stand in two splits. Figures on the "
        "test split then show memory of one specimen; they do not say how the model does on another."
    ),
}


def write_page(report: Report, folder: Path) -> Path:
    """Write the page and its pictures into `folder`, and return the page. Nothing is written over."""
    page = folder / PAGE
    if page.exists():
        raise OutputExists(f"{page} is there already")
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    for path, picture in _pictures(report):
        Image.fromarray(picture).save(folder / path)
    page.write_text("\n".join(_lines(report)) + "\n")
    return page


def side_by_side(look: FieldLook) -> NDArray[np.uint8]:
    """(h, 2 w + gap, 3): the field as it is, and with its classes laid over, in the order of their codes."""
    grey = np.repeat(look.thumbnail[..., None], 3, axis=2)
    between = np.full((grey.shape[0], BETWEEN_PX, 3), 255, np.uint8)
    return np.concatenate([grey, between, _overlaid(grey, look.cover)], axis=1)


def _overlaid(grey: NDArray[np.uint8], cover: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Classes of much area first, so that small ones stay seen."""
    shown = grey.astype(np.float32)
    for channel in sorted(range(len(cover)), key=lambda channel: -int(cover[channel].sum())):
        opacity = (OPACITY / 255 * cover[channel].astype(np.float32))[..., None]
        shown = shown * (1 - opacity) + opacity * np.array(_colour(channel)[1], np.float32)
    return shown.round().astype(np.uint8)


def _pictures(report: Report) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for number, look in enumerate(report.looks, 1):
        yield _field_picture(number), side_by_side(look)
    for channel in range(len(report.codes)):
        yield _class_picture(channel), np.full((16, 32, 3), _colour(channel)[1], np.uint8)


def _lines(report: Report) -> Iterator[str]:
    yield from (f"# Check of `{_plain(report.manifest.name)}`", "", _verdict(report), "")
    yield from (WHAT_UNIT_MEANS[report.by], "")
    yield from (
        "Same pictures are found in other contrast, size and orientation, but not as parts of each other.",
    )
    yield from ("", f"Manifest sha256 `{report.manifest.sha256}`.", "", "## Findings", "")
    yield from _table(
        ("severity", "what", "code"), [(one.severity, _plain(one.what), one.code) for one in report.findings]
    )
    yield from ("", "## Classes", "")
    yield from _table(
        ("class", "split", "fields that label it", "fraction of their area"),
        [
            (share.code, share.split, str(share.fields), percent(share.area_fraction))
            for share in report.shares
        ],
    )
    yield from ("", "## Scales", "")
    yield from _table(
        ("split", "fields", "smallest nm/px", "largest nm/px", "ratio"),
        [
            (
                one.split,
                str(one.fields),
                f"{one.min_nm_per_px:g}",
                f"{one.max_nm_per_px:g}",
                f"{one.ratio:.2f}",
            )
            for one in report.scales
        ],
    )
    yield from ("", "## Legend", "")
    yield from _table(("colour", "class"), [_legend_row(*one) for one in enumerate(report.codes)])
    yield from ("", "## Fields", "")
    yield from _table(
        ("field", "split", "from", "nm/px", "classes", "as it is, and with its labels"),
        [_field_row(*one) for one in enumerate(report.looks, 1)],
    )


def _verdict(report: Report) -> str:
    leaks, invalid = len(report.of(Severity.LEAK)), len(report.of(Severity.INVALID))
    fields = f"{len(report.manifest.fields)} fields"
    if leaks or invalid:
        return f"**Refused**, of {fields}. Leaks: {leaks}. Invalid: {invalid}."
    return f"Nothing found that refuses it, in {fields}."


def _legend_row(channel: int, code: str) -> tuple[str, str]:
    name, _ = _colour(channel)
    return f"![{name}]({_class_picture(channel)}) {name}", code


def _field_row(number: int, look: FieldLook) -> tuple[str, ...]:
    field = look.field
    origin = f"{field.specimen}, block {field.block}, section {field.section}, {field.laboratory}"
    classes = ", ".join(f"{code} {percent(look.fractions[code])}" for code in sorted(look.fractions))
    picture = f"![field {number}]({_field_picture(number)})"
    return (
        f"`{_plain(field.name)}`", field.split, _plain(origin), f"{field.nm_per_px:g}",
        classes or "unlabelled", picture,
    )  # fmt: skip


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        yield "None."
        return
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def percent(fraction: float | None) -> str:
    """A fraction as people read it; nothing where there is none."""
    return "" if fraction is None else f"{100 * fraction:.2f} %"


def _colour(channel: int) -> tuple[str, tuple[int, int, int]]:
    return list(COLOURS.items())[channel % len(COLOURS)]


def _field_picture(number: int) -> str:
    return f"{PICTURES}/field-{number:04d}.png"


def _class_picture(channel: int) -> str:
    return f"{PICTURES}/class-{channel + 1}.png"


def _plain(text: str) -> str:
    """Names come from files: nothing in them may be markup of the page."""
    for mark, harmless in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        ("|", "&#124;"),
        ("`", "'"),
        ("\n", " "),
        ("\r", " "),
    ):
        text = text.replace(mark, harmless)
    return text
