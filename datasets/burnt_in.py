"""What somebody drew into the pixels of an image: text and scale bars, with where they stand."""

from dataclasses import asdict, dataclass
from typing import Any

from ultraread.datasets.geometry import BoxPx
from ultraread.datasets.slide import ImageInfo, Slide


@dataclass(frozen=True, slots=True)
class BurntInText:
    """A line of text as OCR reads it; it may identify a patient. The box is in level-0 pixels."""

    box: BoxPx
    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class BurntInBar:
    """A scale bar: `length_px` is its core, `length_nm` what its label says, None where that is unreadable."""

    box: BoxPx
    length_px: float
    length_nm: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Look:
    """What is burnt into one image."""

    texts: tuple[BurntInText, ...] = ()
    bars: tuple[BurntInBar, ...] = ()

    @property
    def boxes(self) -> tuple[BoxPx, ...]:
        """Where pixels are not of the specimen (level-0 pixels)."""
        return tuple(each.box for each in (*self.texts, *self.bars))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Look":
        texts = [BurntInText(**(each | {"box": BoxPx(**each["box"])})) for each in told["texts"]]
        bars = [BurntInBar(**(each | {"box": BoxPx(**each["box"])})) for each in told["bars"]]
        return cls(tuple(texts), tuple(bars))


def look_at(slide: Slide, image: ImageInfo) -> Look:
    """Return what is burnt into an image."""
    return Look()
