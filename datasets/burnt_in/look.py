"""What somebody drew into the pixels of an image: text and scale bars, with where they stand.

Cheap pixels decide first (`ink`, `bar`); only crops around what they find are read by OCR.
Text and bars stand in the outer parts of a picture: only strips along its four sides are looked at.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultraread.datasets.burnt_in.bar import DrawnBar, find_bars
from ultraread.datasets.burnt_in.ink import Ink, Line, around, find_letters, find_lines, ink_of, plate_around
from ultraread.datasets.burnt_in.label import length_nm
from ultraread.datasets.burnt_in.text import ReadText, read_line, read_text
from ultraread.datasets.geometry import BoxPx, SizePx
from ultraread.datasets.scale import (
    DEFAULT_TOLERANCE,
    ScaleOrigin,
    StatedScale,
    are_apart,
    is_possible,
)
from ultraread.datasets.slide import ImageInfo, Slide, TileUnreadable

STRIP_FRACTION = 0.15
"""Depth of a strip, of the image's height or width."""
MAX_LOOK_PX = 64_000_000
"""Area of the level that is looked at. Of a larger image a smaller level is, and without one it is not
looked at: its strips would not fit into memory, and who writes such montages states their scale in tags."""
MAX_LINES = 24
"""Rows of letters that are read in one strip, those with most letters first: bounds time on noise."""
TEXT_GAP = 3.0
LABEL_GAP = 1.5
"""Between neighbouring letters, in their heights: of lines, whose dashes and dots are no letters here, and of
a label, which is to be read without what stands beside it."""
LINE_PX = 36
"""Height to which a row of letters is brought for OCR."""
LINE_MARGIN = 0.35
LINE_CROPS_PX = (40, 56)
"""Around a row of letters that is read as it is, in its heights; and the heights to which it is brought."""
LABEL_REACH = 0.08
LABEL_CROPS_PX = (128, 192)
"""How far from a bar its label is looked for, of the image's height, and the heights to which that crop is
brought."""
MIN_LETTERS = 4
"""Of a row that is read although no bar is near."""
MIN_CONFIDENCE = 0.7
MIN_CHARACTERS = 3
"""Of text that is no label: below them it is stain. Chosen on stack1 of the fly data."""

Grey = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BurntInText:
    """A line of text as OCR reads it; it may identify a patient. The box is in level-0 pixels."""

    box: BoxPx
    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class BurntInBar:
    """A scale bar: `length_px` is its core, `length_nm` what its label says, None where that is unreadable.

    `uncertainty_px`, of the length: half a pixel at each end, and the strokes across its ends, if it has
    them: people draw bars from stroke to stroke as well as over both.
    """

    box: BoxPx
    length_px: float
    length_nm: float | None
    text: str
    uncertainty_px: float = 1.0

    @property
    def scale(self) -> StatedScale | None:
        """The pixel size that the bar states; None without a readable label or where no bar can mean it.

        Its tolerance is that of any scale that an instrument states without a calibration (the bar was drawn
        from the same magnification), and the uncertainty of the length in pixels on top.
        """
        if self.length_nm is None:
            return None
        nm_per_px = self.length_nm / self.length_px
        tolerance = DEFAULT_TOLERANCE + self.uncertainty_px / self.length_px
        reason = f"burnt-in bar of {self.length_nm:g} nm over {self.length_px:.1f} px"
        stated = StatedScale(nm_per_px, nm_per_px, ScaleOrigin.BURNT_IN_BAR, round(tolerance, 4), reason)
        return stated if is_possible(stated) else None


@dataclass(frozen=True, slots=True)
class Look:
    """What is burnt into one image.

    `plates` are opaque rectangles that text and bars stand on; `not_looked_at` says why nothing was looked
    for, where that is so.
    """

    texts: tuple[BurntInText, ...] = ()
    bars: tuple[BurntInBar, ...] = ()
    plates: tuple[BoxPx, ...] = ()
    not_looked_at: str = ""

    @property
    def scale(self) -> StatedScale | None:
        """The most exact of the bars' scales; None where there is none, or where two contradict."""
        found = [scale for bar in self.bars if (scale := bar.scale)]
        if any(are_apart(one, other) for one, other in combinations(found, 2)):
            return None
        return min(found, key=lambda scale: scale.tolerance, default=None)

    @property
    def boxes(self) -> tuple[BoxPx, ...]:
        """Where pixels are not of the specimen (level-0 pixels)."""
        drawn = [text.box for text in self.texts] + [bar.box for bar in self.bars]
        return (*drawn, *self.plates)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Look":
        texts = [BurntInText(**(each | {"box": BoxPx(**each["box"])})) for each in told["texts"]]
        bars = [BurntInBar(**(each | {"box": BoxPx(**each["box"])})) for each in told["bars"]]
        plates = [BoxPx(**box) for box in told.get("plates", ())]
        return cls(tuple(texts), tuple(bars), tuple(plates), told.get("not_looked_at", ""))


def look_at(slide: Slide, image: ImageInfo) -> Look:
    """Return what is burnt into an image. A strip that cannot be decoded is left out, as tiles are."""
    level = _level(image)
    if level is None:
        return Look(
            not_looked_at=f"the image has more than {MAX_LOOK_PX / 1e6:.0f} megapixels and no smaller level"
        )
    found = Look()
    for strip in _strips(image.levels[level]):
        try:
            ink = ink_of(slide.read_box(image.index, level, strip))
        except TileUnreadable:
            continue
        if ink is not None:
            found = _joined(found, _moved(_look(ink, image.levels[level]), strip))
    return _at_full_size(found, image, level)


def look_at_all(slide: Slide, note: Callable[[int], None] = lambda images: None) -> tuple[Look, ...]:
    """What is burnt into each image of a slide, in order; `note` hears of each that was looked at."""
    return tuple(_noted(look_at(slide, image), note) for image in slide.info.images)


def _noted(look: Look, note: Callable[[int], None]) -> Look:
    note(1)
    return look


def is_looked_at(image: ImageInfo) -> bool:
    """False for an image too large to be looked at: see MAX_LOOK_PX."""
    return _level(image) is not None


def _level(image: ImageInfo) -> int | None:
    return next((n for n, size in enumerate(image.levels) if size.area_px <= MAX_LOOK_PX), None)


def _strips(size: SizePx) -> Iterator[BoxPx]:
    """Above and below over the whole width, left and right between them."""
    deep, wide = max(1, round(STRIP_FRACTION * size.height)), max(1, round(STRIP_FRACTION * size.width))
    yield BoxPx(0, 0, size.width, deep)
    yield BoxPx(0, size.height - deep, size.width, deep)
    if size.height > 2 * deep:
        yield BoxPx(0, deep, wide, size.height - 2 * deep)
        yield BoxPx(size.width - wide, deep, wide, size.height - 2 * deep)


def _look(ink: Ink, size: SizePx) -> Look:
    """One strip, in its own pixels."""
    letters, bars = find_letters(ink, size.height), find_bars(ink, size.width, size.height)
    texts = [
        text for line in _of_text(find_lines(letters, TEXT_GAP)) for text in _texts_of(ink.grey, line.box)
    ]
    clean = _without(ink.grey, [bar.box for bar in bars])
    words = find_lines(letters, LABEL_GAP)
    read = [_labelled(clean, bar, words, size) for bar in bars]
    texts += [text for _, of_bar in read for text in of_bar]
    return _with_plates(Look(_each_once(texts), tuple(bar for bar, _ in read)), ink)


def _with_plates(look: Look, ink: Ink) -> Look:
    plates = (plate_around(ink, box) for box in look.boxes)
    return replace(look, plates=tuple(dict.fromkeys(plate for plate in plates if plate)))


def _of_text(lines: Sequence[Line]) -> Sequence[Line]:
    return [line for line in lines if line.letters >= MIN_LETTERS][:MAX_LINES]


def _labelled(
    clean: Grey, drawn: DrawnBar, words: Sequence[Line], size: SizePx
) -> tuple[BurntInBar, list[BurntInText]]:
    """The bar with what its label says, and every reading of the label.

    `clean` is the strip without its bars. Rows of letters near the bar are read as they are; where none of
    them is a label, OCR looks for the label itself. Readings that contradict each other are no label.
    """
    near = _beside(drawn.box, size, clean.shape)
    labels = [text for line in words if _overlap(line.box, near) for text in _readings(clean, line.box)]
    labels = [text for text in labels if length_nm(text.text)] or _searched(clean, near)
    stated = {length_nm(text.text) for text in labels}
    bar = BurntInBar(
        drawn.box,
        drawn.length_px,
        stated.pop() if len(stated) == 1 else None,
        max(labels, key=lambda text: text.confidence).text if labels else "",
        drawn.uncertainty_px,
    )
    return bar, labels


def _readings(grey: Grey, line: BoxPx) -> list[BurntInText]:
    """A row of letters read at two sizes."""
    crop = _grown(line, LINE_MARGIN, LINE_MARGIN, grey.shape)
    pixels = grey[crop.y : crop.bottom, crop.x : crop.right]
    return [_text(read_line(pixels, height / crop.height), crop) for height in LINE_CROPS_PX]


def _searched(grey: Grey, near: BoxPx) -> list[BurntInText]:
    pixels = grey[near.y : near.bottom, near.x : near.right]
    found = [read for height in LABEL_CROPS_PX for read in read_text(pixels, height / near.height)]
    return [_text(read, near) for read in found if length_nm(read.text)]


def _beside(bar: BoxPx, size: SizePx, shape: tuple[int, ...]) -> BoxPx:
    reach = max(40, round(LABEL_REACH * size.height))
    left, right = max(0, bar.x - bar.width), min(shape[1], bar.right + bar.width)
    top, bottom = max(0, bar.y - reach), min(shape[0], bar.bottom + reach)
    return BoxPx(left, top, right - left, bottom - top)


def _without(grey: Grey, boxes: Sequence[BoxPx]) -> Grey:
    """The strip with its bars in the grey of what is above and below them: their ends look like letters."""
    clean = grey.copy()
    for box in boxes:
        rows, columns = slice(max(0, box.y - 2), box.bottom + 2), slice(max(0, box.x - 3), box.right + 3)
        above, below = (
            grey[max(0, box.y - 4) : box.y - 2, columns],
            grey[box.bottom + 2 : box.bottom + 4, columns],
        )
        beside = np.concatenate((above.ravel(), below.ravel()))
        clean[rows, columns] = np.median(beside) if beside.size else 0.5
    return clean


def _texts_of(grey: Grey, line: BoxPx) -> list[BurntInText]:
    """What is written in and around a row of letters, which may be part of a longer line."""
    crop = _grown(line, 4, 1, grey.shape)
    found = read_text(grey[crop.y : crop.bottom, crop.x : crop.right], LINE_PX / line.height)
    return [_text(read, crop) for read in found if _is_text(read)]


def _grown(line: BoxPx, sideways: float, up_and_down: float, shape: tuple[int, ...]) -> BoxPx:
    """Margins in heights of the line."""
    across, along = round(sideways * line.height), round(up_and_down * line.height)
    left, top = max(0, line.x - across), max(0, line.y - along)
    right, bottom = min(shape[1], line.right + across), min(shape[0], line.bottom + along)
    return BoxPx(left, top, right - left, bottom - top)


def _is_text(read: ReadText) -> bool:
    characters = sum(each.isalnum() for each in read.text)
    return read.confidence >= MIN_CONFIDENCE and characters >= MIN_CHARACTERS


def _text(read: ReadText, crop: BoxPx) -> BurntInText:
    return BurntInText(_shifted(read.box, crop), read.text, round(read.confidence, 3))


def _each_once(texts: Sequence[BurntInText]) -> tuple[BurntInText, ...]:
    """Of readings of the same place the longest, over all that the readings cover."""
    kept: list[BurntInText] = []
    for text in sorted(texts, key=lambda one: (-len(one.text), -one.confidence)):
        same = next((n for n, other in enumerate(kept) if _overlap(text.box, other.box)), None)
        if same is None:
            kept.append(text)
        else:
            kept[same] = replace(kept[same], box=around([kept[same].box, text.box]))
    return tuple(sorted(kept, key=lambda one: (one.box.y, one.box.x)))


def _overlap(one: BoxPx, other: BoxPx) -> bool:
    """At least a third of the smaller lies in the other."""
    width = min(one.right, other.right) - max(one.x, other.x)
    height = min(one.bottom, other.bottom) - max(one.y, other.y)
    return width > 0 and height > 0 and 3 * width * height >= min(one.area_px, other.area_px)


def _joined(one: Look, other: Look) -> Look:
    return Look(one.texts + other.texts, one.bars + other.bars, one.plates + other.plates)


def _moved(look: Look, strip: BoxPx) -> Look:
    texts = (replace(text, box=_shifted(text.box, strip)) for text in look.texts)
    bars = (replace(bar, box=_shifted(bar.box, strip)) for bar in look.bars)
    return Look(tuple(texts), tuple(bars), tuple(_shifted(plate, strip) for plate in look.plates))


def _shifted(box: BoxPx, by: BoxPx) -> BoxPx:
    return BoxPx(box.x + by.x, box.y + by.y, box.width, box.height)


def _at_full_size(look: Look, image: ImageInfo, level: int) -> Look:
    """From pixels of the level to those of level 0."""
    if level == 0:
        return look
    across = image.size.width / image.levels[level].width
    bars = (
        replace(
            bar,
            box=_enlarged(bar.box, across),
            length_px=bar.length_px * across,
            uncertainty_px=bar.uncertainty_px * across,
        )
        for bar in look.bars
    )
    texts = (replace(text, box=_enlarged(text.box, across)) for text in look.texts)
    return Look(tuple(texts), tuple(bars), tuple(_enlarged(plate, across) for plate in look.plates))


def _enlarged(box: BoxPx, by: float) -> BoxPx:
    left, top = int(box.x * by), int(box.y * by)
    return BoxPx(left, top, int(np.ceil(box.right * by)) - left, int(np.ceil(box.bottom * by)) - top)
