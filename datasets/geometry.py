"""Sizes and boxes in pixels. Order is always x, y, width, height; arrays are (height, width)."""

from dataclasses import dataclass
from typing import NewType

NmPerPx = NewType("NmPerPx", float)


@dataclass(frozen=True, slots=True)
class SizePx:
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def area_px(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class BoxPx:
    """A half-open box: x in [x, x + width), y in [y, y + height)."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def area_px(self) -> int:
        return self.width * self.height

    def lies_in(self, size: SizePx) -> bool:
        inside = self.x >= 0 and self.y >= 0 and self.right <= size.width and self.bottom <= size.height
        return inside and self.width > 0 and self.height > 0


def whole(size: SizePx) -> BoxPx:
    """The box that covers the whole image."""
    return BoxPx(0, 0, size.width, size.height)
